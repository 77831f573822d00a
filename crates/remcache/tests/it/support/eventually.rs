//! Waiting for what has to happen some time, without saying when.

use std::time::{Duration, Instant};

/// Waits until the condition holds.
///
/// # Panics
/// When it has not held for so long that it never will.
pub(crate) async fn eventually(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let start = Instant::now();
    while !condition().await {
        assert!(start.elapsed() < NEVER, "{what}: not within {NEVER:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Generous: it is met only by what will never happen.
const NEVER: Duration = Duration::from_secs(30);
