//! The servers' own logs (`watch`), each on a connection of its own.

use std::time::Duration;

use bytes::Bytes;
use remcache::Error;
use remcache::ServerHandle;
use remcache::server::ItemStream;
use tokio::time::timeout;

use crate::exit::{Exit, words};
use crate::outcome_counts::OutcomeCounts;
use crate::output::number;
use crate::session::Session;

/// Why the log of a server did not start, or ended.
#[derive(Debug)]
pub(super) struct LogFailure {
    pub(super) message: String,
    pub(super) exit: Exit,
}

impl LogFailure {
    pub(super) fn count(&self, counts: &mut OutcomeCounts) {
        counts.failures(&self.message, self.exit, 1);
    }
}

impl From<Error> for LogFailure {
    fn from(error: Error) -> Self {
        Self { message: words(&error), exit: Exit::of(&error) }
    }
}

/// Returns the time within which a server has to start its log.
pub(super) fn start_timeout(session: &Session) -> Duration {
    session.options.connect_timeout + session.options.timeout
}

/// Starts the log of a server: the events of the streams, whose names are separated by spaces.
///
/// A server that does not confirm the request in time is an error. Otherwise one that accepts connections
/// and never responds would look like one on which nothing happens.
pub(super) async fn start(
    server: &ServerHandle,
    streams: &str,
    limit: Duration,
) -> Result<ItemStream<Bytes>, LogFailure> {
    let mut log = server.watch(streams);
    match timeout(limit, log.open()).await {
        Ok(opened) => opened.map(|()| log).map_err(LogFailure::from),
        Err(_) => Err(LogFailure {
            message: format!(
                "{}: the log did not start within {}: a server with the binary protocol only (-S, -B binary) has no log",
                server.name(),
                number::duration(limit)
            ),
            exit: Exit::Unreachable,
        }),
    }
}
