//! Plain reads of keys that hold a sentinel: each is a miss, unless sentinels are asked for.

use remcache::blocking;
use remcache::value::Codec;
use remcache::{Cache, Outcomes};

use super::paused_fetch::{LoadResult, PausedFetch};
use super::*;

/// Checks that no read returns the sentinel of the key.
async fn assert_misses(client: &Client, address: &str, protocol: ProtocolSetting, what: &str) {
    let what = format!("{protocol}: {what}");
    assert_eq!(client.get("key").await.unwrap(), None, "{what}");
    assert_eq!(client.get_and_touch("key", LONG).await.unwrap(), None, "{what}");
    assert!(!client.exists("key").await.unwrap(), "{what}");
    let many = client.get_many(["key", "other"]).await;
    assert_eq!((many.found().count(), many.missing().count()), (0, 2), "{what}");
    assert_eq!(client.get_and_touch_many(["key"], LONG).await.missing().count(), 1, "{what}");
    let cache = Cache::new(client, "", Codec::text());
    assert_eq!(cache.get("key").await.unwrap(), None, "{what}");
    assert_eq!(cache.get_with_cas("key").await.unwrap(), None, "{what}");
    assert_eq!(cache.get_and_touch("key", LONG).await.unwrap(), None, "{what}");
    assert_eq!(cache.get_many(["key"]).await.missing().count(), 1, "{what}");

    let found = client.get("key").with_sentinels().await.unwrap().unwrap();
    assert!(found.is_sentinel(), "{what}");
    let many: Outcomes<_, _> = client.get_many(["key"]).with_sentinels().await;
    assert!(many.into_found().all(|(_, item)| item.is_sentinel()), "{what}");

    let address = address.to_owned();
    let blocking = tokio::task::spawn_blocking(move || {
        let client =
            blocking::Client::from_config(patient_config().protocol(protocol).server(&address).unwrap()).unwrap();
        (client.get("key").wait().unwrap(), client.exists("key").wait().unwrap())
    });
    assert_eq!(blocking.await.unwrap(), (None, false), "{what}");
}

#[tokio::test]
async fn placeholders_negative_results_and_tombstones_are_misses() {
    on_all_servers(async |address, protocol| {
        let client = client_at(address, protocol);
        let loading = PausedFetch::start(&client, patient_policy().negative_ttl(LONG)).await;
        assert_misses(&client, address, protocol, "a placeholder").await;
        assert_eq!(loading.finish(LoadResult::Nothing).await, Ok(None), "{protocol}");
        assert_misses(&client, address, protocol, "a negative result").await;
        client.delete("key").tombstone(LONG).await.unwrap();
        assert_misses(&client, address, protocol, "a tombstone").await;
        assert_eq!(client.take("key").await.unwrap(), None, "{protocol}");
    })
    .await;
}

#[tokio::test]
async fn a_counter_is_created_where_a_sentinel_is() {
    on_all_servers(async |address, protocol| {
        let client = client_at(address, protocol);
        client.delete("key").tombstone(LONG).await.unwrap();
        for expected in [5, 7] {
            let counter = client.increment_or_create("key", 2, 5, LONG).await.unwrap();
            assert_eq!(counter.value, expected, "{protocol}");
        }
        client.set("key", "a value").await.unwrap();
        let error = client.increment_or_create("key", 2, 5, LONG).await.unwrap_err();
        assert_eq!(error.kind(), remcache::ErrorKind::NonNumericValue, "{protocol}");
    })
    .await;
}

/// A loader that always returns a value replaces a negative result, which is a miss to it.
#[tokio::test]
async fn a_fetch_that_requires_a_value_replaces_a_negative_result() {
    on_all_servers(async |address, protocol| {
        let client = client_at(address, protocol);
        let nothing = || async { Ok::<_, Error>(None::<&str>) };
        let policy = patient_policy().negative_ttl(LONG);
        assert_eq!(client.fetch_optional("key", policy, nothing).await.unwrap(), None, "{protocol}");
        let value = || async { Ok::<_, Error>("a value") };
        assert_eq!(client.fetch("key", policy, value).await.unwrap(), "a value", "{protocol}");
        assert_eq!(stored(&client).await.unwrap(), "a value", "{protocol}");
        assert_eq!(fetch(&client, policy, "another").await.unwrap(), "a value", "{protocol}");
    })
    .await;
}
