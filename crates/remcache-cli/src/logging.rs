//! The library's log and the connections that it opens, on stderr.

use std::io::{self, Write as _};

use remcache::Client;
use remcache::health::ConnectionState;
use tracing_subscriber::filter::LevelFilter;

use crate::escape::escape;

/// Prints the log events of the library on stderr.
pub(crate) fn start(verbosity: u8, is_colored: bool) {
    let level = match verbosity {
        0 => LevelFilter::OFF,
        1 => LevelFilter::INFO,
        2 => LevelFilter::DEBUG,
        _ => LevelFilter::TRACE,
    };
    let log = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_ansi(is_colored)
        .with_writer(io::stderr)
        .log_internal_errors(false);
    // In tests several sessions share a process, and the first one's log.
    let _ = log.try_init();
}

/// Prints connections on stderr as they are opened; the library itself logs only failures and recoveries.
pub(crate) fn log_connections(client: &Client) {
    let mut events = client.events();
    tokio::spawn(async move {
        while let Some(event) = events.next().await {
            if event.after == ConnectionState::Connected {
                // If stderr is closed, there is no place left to report to.
                let _ = writeln!(io::stderr(), "{}: connected", escape(&event.server));
            }
        }
    });
}
