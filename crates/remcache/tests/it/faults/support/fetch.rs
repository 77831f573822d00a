//! Keys with known values on a server that is not ours, and a fetch of all of them.

use std::time::Duration;

use remcache::Client;
use tokio::time::{Instant, sleep, timeout};

use super::store::truth;
use super::trial::RECOVERY;

/// How many keys there are.
pub(crate) const KEYS: usize = 60;
/// Generous: what takes this long on a busy machine hangs.
pub(crate) const HANG: Duration = Duration::from_secs(120);

/// All keys; one of ten has a large value.
pub(crate) fn keys() -> Vec<String> {
    let key = |number| if number % 10 == 9 { format!("fixed:L{number}") } else { format!("fixed:{number}") };
    (0..KEYS).map(key).collect()
}

/// Stores all keys.
pub(crate) async fn store(client: &Client) {
    let pairs = keys().into_iter().map(|key| (key.clone(), truth(key.as_bytes())));
    assert_eq!(client.set_many(pairs).await.made().count(), KEYS);
}

/// Fetches all keys, some of them in one call: each has its value or an error, and none is a miss.
/// Tells how many have an error.
pub(crate) async fn fetch(client: &Client) -> usize {
    let (many, single) = keys().into_iter().partition(|key| key.len() % 2 == 0);
    let calls = async { tokio::join!(fetch_many(client, many), fetch_single(client, single)) };
    let (one, other) = timeout(HANG, calls).await.expect("no call hangs");
    one + other
}

async fn fetch_many(client: &Client, keys: Vec<String>) -> usize {
    let outcomes = client.get_many(keys).await;
    assert_eq!(outcomes.missing().count(), 0, "an error is no miss");
    for (key, item) in outcomes.found() {
        assert_eq!(item.value, truth(key.as_bytes()));
    }
    for (key, error) in outcomes.failed() {
        assert!(error.is_unavailable(), "{key}: {error:?}");
    }
    outcomes.failed().count()
}

async fn fetch_single(client: &Client, keys: Vec<String>) -> usize {
    let mut failed = 0;
    for key in keys {
        match client.get(&key).await {
            Ok(item) => assert_eq!(item.expect("an error is no miss").value, truth(key.as_bytes())),
            Err(error) => {
                assert!(error.is_unavailable(), "{key}: {error:?}");
                failed += 1;
            }
        }
    }
    failed
}

/// Waits until a client works again.
pub(crate) async fn recover(works: impl AsyncFn() -> bool) {
    let start = Instant::now();
    while !works().await {
        assert!(start.elapsed() < RECOVERY + HANG, "the client does not work again");
        sleep(Duration::from_millis(1)).await;
    }
}
