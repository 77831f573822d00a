//! G16: valid and invalid certificates, correct, wrong and missing passwords, and secrets that are never shown, with
//! real servers.
//!
//! A separate binary: the tests search the log of the whole process, at every level.

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

/// Returns settings with long timeouts, for slow machines, and short delays before reconnecting.
fn fast_reconnect() -> Config {
    Config::new()
        .timeout(Duration::from_secs(30))
        .connect_timeout(Duration::from_secs(10))
        .reconnect_delay(millis(5), millis(20))
}

/// Returns the error of a get.
async fn error_of(client: &Client) -> Error {
    client.get("k").await.expect_err("the connection fails")
}

#[track_caller]
fn assert_error(error: &Error, kind: ErrorKind, words: &[&str]) {
    let text = error.to_string();
    assert_eq!(error.kind(), kind, "{text}");
    assert!(words.iter().all(|word| text.contains(word)), "{text:?} lacks one of {words:?}");
    assert!(error.is_unavailable() && error.server().is_some(), "{text}");
}
