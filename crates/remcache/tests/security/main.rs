//! G16: certificates that hold and that do not, passwords right, wrong and missing, and secrets
//! that are nowhere to be seen. On real servers.
//!
//! A binary of its own: the tests search the log of the whole process, at every level.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../it/support/only_server.rs"]
mod only_server;
#[path = "../it/support/wait_until.rs"]
mod wait_until;

mod certificates;
mod log;
mod passwords;
mod secrets;

use std::time::Duration;

use remcache::{Client, Config, Error, ErrorKind};

fn millis(count: u64) -> Duration {
    Duration::from_millis(count)
}

/// Settings under which a slow machine makes nothing time out, and a client that tries again does so soon.
fn hasty() -> Config {
    Config::new()
        .timeout(Duration::from_secs(30))
        .connect_timeout(Duration::from_secs(10))
        .reconnect_delay(millis(5), millis(20))
}

/// The error of a first request.
async fn error_of(client: &Client) -> Error {
    client.get("k").await.expect_err("there is no connection")
}

#[track_caller]
fn assert_says(error: &Error, kind: ErrorKind, words: &[&str]) {
    let text = error.to_string();
    assert_eq!(error.kind(), kind, "{text}");
    assert!(words.iter().all(|word| text.contains(word)), "{text:?} lacks one of {words:?}");
    assert!(error.is_unavailable() && error.server().is_some(), "{text}");
}
