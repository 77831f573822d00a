//! Checks whether a server that did not report statistics is up.

use std::time::{Duration, Instant};

use remcache::{Error, ErrorKind, ServerHandle};

/// State of a server whose statistics were requested.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Availability {
    /// It reported its statistics.
    Up,
    /// It responds to other requests, but does not report these statistics: a proxy, or an old server.
    WithoutStats,
    Down,
}

/// Why a server that closes the connection at `stats` may do so.
pub(super) const PROXY_HINT: &str = "it may be a proxy";

impl Availability {
    /// Determines the state of a server from the result of requesting its statistics.
    ///
    /// A proxy such as twemproxy closes the connection when it gets a `stats` command, which looks like a
    /// server that fails. So a server that was reached gets a no-op, for as long as it takes to reconnect.
    pub(super) async fn of<T>(server: &ServerHandle, stats: &Result<T, Error>, limit: Duration) -> Self {
        let Err(error) = stats else { return Self::Up };
        match error.kind() {
            ErrorKind::Disconnected(_) if error.may_have_executed() => Self::of_disconnected(server, limit).await,
            ErrorKind::Disconnected(_) | ErrorKind::TimedOut(_) | ErrorKind::Overloaded => Self::Down,
            ErrorKind::Auth | ErrorKind::Tls => Self::Down,
            _ => Self::WithoutStats,
        }
    }

    async fn of_disconnected(server: &ServerHandle, limit: Duration) -> Self {
        let started = Instant::now();
        while started.elapsed() < limit {
            if server.noop().await.is_ok() {
                return Self::WithoutStats;
            }
            tokio::time::sleep(RETRY_INTERVAL).await;
        }
        Self::Down
    }
}

const RETRY_INTERVAL: Duration = Duration::from_millis(20);
