//! A set of keys with known values, and helpers that store and fetch all of them.

use std::time::Duration;

use remcache::Client;
use tokio::time::{Instant, sleep, timeout};

use super::harness::MAX_RECOVERY;
use super::store::expected_value;

/// The number of keys.
pub(crate) const KEYS: usize = 60;
/// Longer than any call takes on the most heavily loaded machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// Returns all keys; one in ten has a large value.
pub(crate) fn keys() -> Vec<String> {
    let key = |number| if number % 10 == 9 { format!("fixed:L{number}") } else { format!("fixed:{number}") };
    (0..KEYS).map(key).collect()
}

/// Stores all keys.
pub(crate) async fn store(client: &Client) {
    let pairs = keys().into_iter().map(|key| (key.clone(), expected_value(key.as_bytes())));
    assert_eq!(client.set_many(pairs).await.applied().count(), KEYS);
}

/// Fetches all keys, half of them in one call: each has its value or an error, and none is a miss.
/// Returns the number of errors.
pub(crate) async fn fetch_all(client: &Client) -> usize {
    let (many, single) = keys().into_iter().partition(|key| key.len() % 2 == 0);
    let calls = async { tokio::join!(fetch_many(client, many), fetch_single(client, single)) };
    let (many_failed, single_failed) = timeout(PATIENCE, calls).await.expect("no call hangs");
    many_failed + single_failed
}

async fn fetch_many(client: &Client, keys: Vec<String>) -> usize {
    let results = client.get_many(keys).await;
    assert_eq!(results.missing().count(), 0, "an error is not a miss");
    for (key, item) in results.found() {
        assert_eq!(item.value, expected_value(key.as_bytes()));
    }
    for (key, error) in results.failed() {
        assert!(error.is_unavailable(), "{key}: {error:?}");
    }
    results.failed().count()
}

async fn fetch_single(client: &Client, keys: Vec<String>) -> usize {
    let mut failed = 0;
    for key in keys {
        match client.get(&key).await {
            Ok(item) => assert_eq!(item.expect("an error is not a miss").value, expected_value(key.as_bytes())),
            Err(error) => {
                assert!(error.is_unavailable(), "{key}: {error:?}");
                failed += 1;
            }
        }
    }
    failed
}

/// Waits until a client works again.
pub(crate) async fn wait_for_recovery(is_recovered: impl AsyncFn() -> bool) {
    let start = Instant::now();
    while !is_recovered().await {
        assert!(start.elapsed() < MAX_RECOVERY + PATIENCE, "the client does not work again");
        sleep(Duration::from_millis(1)).await;
    }
}
