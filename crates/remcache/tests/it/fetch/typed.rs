//! `fetch` of a typed cache: codecs, chunks and in-process copies.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use remcache::cache::LocalCache;
use remcache::value::{ByteString, Codec};
use remcache::{Cache, Error, ErrorKind};

use crate::fetch::paused_fetch::{Failed, PausedFetch, two_clients};
use crate::fetch::{LONG, client_at, on_all_servers, patient_policy};
use crate::support::wait_until;

#[tokio::test]
async fn values_go_through_the_codec() {
    on_all_servers(async |address, protocol| {
        let (one, other) = two_clients(address, protocol);
        let [one, other] = [&one, &other].map(|client| Cache::<Vec<u32>>::new(client, "numbers", Codec::json()));
        let load = || async { Ok::<_, Error>(Some(vec![1, 2, 3])) };
        assert_eq!(one.fetch_optional("k", patient_policy(), load).await.unwrap(), Some(vec![1, 2, 3]), "{protocol}");
        let never = || async { panic!("the value is stored") };
        let found: Result<_, Error> = other.fetch::<Vec<u32>, _, _, _>("k", patient_policy(), never).await;
        assert_eq!(found.unwrap(), vec![1, 2, 3], "{protocol}");
        assert_eq!(other.get("k").await.unwrap(), Some(vec![1, 2, 3]), "{protocol}");
    })
    .await;
}

#[tokio::test]
async fn placeholders_and_tombstones_are_misses_to_a_cache() {
    on_all_servers(async |address, protocol| {
        let client = client_at(address, protocol);
        let cache = Cache::<String>::new(&client, "", Codec::json());
        let paused = PausedFetch::start(&client, patient_policy()).await;
        assert_eq!(cache.get("key").await.unwrap(), None, "{protocol}: a lease");
        assert_eq!(cache.get_many(["key"]).await.missing().count(), 1, "{protocol}: a lease");
        drop(paused);
        let nothing = || async { Ok::<Option<String>, Error>(None) };
        let policy = patient_policy().negative_ttl(LONG);
        client.delete("none").await.unwrap();
        assert_eq!(cache.fetch_optional("none", policy, nothing).await.unwrap(), None, "{protocol}");
        assert_eq!(cache.get("none").await.unwrap(), None, "{protocol}: a negative result");
        client.delete("gone").tombstone(LONG).await.unwrap();
        assert_eq!(cache.get("gone").await.unwrap(), None, "{protocol}: a tombstone");
        client.delete("key").await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn codec_errors_are_returned_to_the_caller() {
    on_all_servers(async |address, protocol| {
        let client = client_at(address, protocol);
        let cache = Cache::<u32>::new(&client, "", Codec::json());
        client.set("theirs", "pickled").flags(1).await.unwrap();
        let load = || async { Ok::<_, Error>(Some(1)) };
        let error = cache.fetch_optional("theirs", patient_policy(), load).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Decode, "{protocol}: {error}");
        let maps = Cache::<std::collections::BTreeMap<[u8; 2], u8>>::new(
            &client,
            "",
            Codec::custom(
                1,
                |_| Err(remcache::value::ValueError::Malformed { format: "a map", reason: "unsupported".into() }),
                |_| Ok(std::collections::BTreeMap::new()),
            ),
        );
        let load = || async { Ok::<_, Failed>(Some(std::collections::BTreeMap::new())) };
        assert!(maps.fetch_optional("map", patient_policy(), load).await.unwrap_err().0.contains("map"), "{protocol}");
        assert_eq!(client.get("map").await.unwrap(), None, "{protocol}: the lease is released");
    })
    .await;
}

/// Returns a cache of text in chunks of a hundred bytes.
fn chunked(client: &remcache::Client) -> Cache<ByteString, str> {
    Cache::new(client, "text", Codec::text()).chunked(100)
}

#[tokio::test]
async fn long_values_are_stored_in_chunks_and_reloaded_if_a_chunk_is_missing() {
    on_all_servers(async |address, protocol| {
        let client = client_at(address, protocol);
        let cache = chunked(&client);
        let loads = Arc::new(AtomicUsize::new(0));
        let fetch = async || {
            let loads = Arc::clone(&loads);
            let load = move || async move {
                loads.fetch_add(1, Ordering::SeqCst);
                Ok::<_, Error>(Some("long ".repeat(100)))
            };
            cache.fetch_optional("k", patient_policy(), load).await.unwrap().unwrap()
        };
        for _ in 0..2 {
            assert_eq!(fetch().await, "long ".repeat(100).as_str(), "{protocol}");
        }
        assert_eq!(loads.load(Ordering::SeqCst), 1, "{protocol}");
        let manifest = client.get("text:k").await.unwrap().unwrap();
        let suffix = std::str::from_utf8(&manifest.value).unwrap().split('-').nth(2).unwrap().to_owned();
        assert!(client.delete(format!("text:k:3:{suffix}")).await.unwrap().is_applied(), "{protocol}");
        for _ in 0..2 {
            assert_eq!(fetch().await, "long ".repeat(100).as_str(), "{protocol}");
        }
        assert_eq!(loads.load(Ordering::SeqCst), 2, "{protocol}");
    })
    .await;
}

#[tokio::test]
async fn in_process_copies_are_used_first_and_dropped_on_a_change() {
    on_all_servers(async |address, protocol| {
        let client = client_at(address, protocol);
        let cache = Cache::new(&client, "near", Codec::text()).local_cache(LocalCache::new(1 << 20, LONG));
        let fetch = async |text: &'static str| {
            let load = move || async move { Ok::<_, Error>(Some(text)) };
            cache.fetch_optional("k", patient_policy(), load).await.unwrap().unwrap()
        };
        assert_eq!(fetch("one").await, "one", "{protocol}");
        client.set("near:k", "theirs").await.unwrap();
        assert_eq!(fetch("two").await, "one", "{protocol}: the copy");
        cache.delete("k").await.unwrap();
        assert_eq!(fetch("three").await, "three", "{protocol}");
        assert!(cache.invalidate("k", LONG).await.unwrap().is_applied(), "{protocol}");
        assert_eq!(fetch("four").await, "three", "{protocol}: the stale value from the server");
        wait_until("the reload is stored", async || client.get("near:k").await.unwrap().unwrap().value == "four").await;
        assert_eq!(fetch("five").await, "three", "{protocol}: the copy of the stale value");
        assert!(cache.delete("k").await.unwrap().is_applied(), "{protocol}");
        assert_eq!(fetch("six").await, "six", "{protocol}");
    })
    .await;
}
