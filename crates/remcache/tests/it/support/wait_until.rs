//! Waiting for a condition without assuming how fast the machine is.

use std::time::{Duration, Instant};

/// Polls a condition until it holds.
///
/// # Panics
/// If the condition does not hold within [`PATIENCE`].
pub(crate) async fn wait_until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let start = Instant::now();
    while !condition().await {
        assert!(start.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Long enough for the most heavily loaded machine.
const PATIENCE: Duration = Duration::from_secs(120);
