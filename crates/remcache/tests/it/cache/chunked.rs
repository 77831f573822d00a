//! Values in chunks: complete or not at all.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use remcache::config::ProtocolSetting;
use remcache::value::Codec;
use remcache::{Cache, Client, ErrorKind, WriteOutcome};
use remcache_testkit::{Memcached, seed};

use crate::cache::client_of;
use crate::support::patient_config;

fn value(seed: u8, length: usize) -> Bytes {
    (0..length).map(|n| seed.wrapping_add((n % 251) as u8)).collect()
}

fn cache_of(client: &Client) -> Cache<Bytes> {
    Cache::new(client, "big", Codec::bytes()).chunked(100_000)
}

/// Returns the keys of the chunks of a value.
async fn chunk_keys(client: &Client, key: &str) -> Vec<String> {
    let manifest = client.get(key).await.unwrap().unwrap();
    let text = String::from_utf8(manifest.value.to_vec()).unwrap();
    let numbers: Vec<&str> = text.split('-').collect();
    let count: usize = numbers[1].parse().unwrap();
    (0..count).map(|index| format!("{key}:{index}:{}", numbers[2])).collect()
}

async fn count_stored(client: &Client, keys: &[String]) -> usize {
    client.get_many(keys).await.found().count()
}

#[tokio::test]
async fn a_value_above_the_item_limit_round_trips() {
    let server = Memcached::start(&[]);
    let client = client_of(&server);
    let long = value(1, 3_000_001);
    let unchunked = Cache::new(&client, "big", Codec::bytes());
    assert_eq!(unchunked.set("key", &long).await.unwrap_err().kind(), ErrorKind::ValueTooLarge, "chunking is opt-in");
    let cache = cache_of(&client);
    for length in [0, 1, 99_999, 100_000, 100_001, 200_000, 3_000_001] {
        let long = value(1, length);
        assert!(cache.set("key", &long).await.unwrap().is_applied());
        assert_eq!(cache.get("key").await.unwrap(), Some(long), "{length}");
    }
    assert_eq!(chunk_keys(&client, "big:key").await.len(), 31);
    let error = unchunked.get("key").await.unwrap_err();
    assert!(error.to_string().contains("in chunks"), "{error}");
}

#[tokio::test]
async fn the_manifest_has_the_flag_and_layout_of_mcrouter() {
    let server = Memcached::start(&[]);
    let client = client_of(&server);
    cache_of(&client).set("key", &value(1, 250_000)).await.unwrap();
    let item = client.get("big:key").await.unwrap().unwrap();
    assert_eq!(item.flags & 0x8000, 0x8000);
    assert!(item.value.starts_with(b"1-3-"), "{:?}", item.value);
    let keys = chunk_keys(&client, "big:key").await;
    assert!(keys[0].starts_with("big:key:0:"), "{keys:?}");
    assert_eq!(client.get(&keys[2]).await.unwrap().unwrap().value.len(), 50_000);
}

#[tokio::test]
async fn a_missing_chunk_is_a_miss() {
    let server = Memcached::start(&[]);
    let client = client_of(&server);
    let cache = cache_of(&client);
    cache.set("key", &value(1, 500_000)).await.unwrap();
    let keys = chunk_keys(&client, "big:key").await;
    client.delete(&keys[3]).await.unwrap();
    assert_eq!(cache.get("key").await.unwrap(), None);
    assert_eq!(cache.get_many(["key"]).await.missing().count(), 1);
}

#[tokio::test]
async fn a_modified_chunk_is_an_error() {
    let server = Memcached::start(&[]);
    let client = client_of(&server);
    let cache = cache_of(&client);
    cache.set("key", &value(1, 500_000)).await.unwrap();
    let keys = chunk_keys(&client, "big:key").await;
    client.set(&keys[3], value(9, 100_000)).await.unwrap();
    let error = cache.get("key").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Decode);
    assert!(error.to_string().contains("big:key"), "{error}");
}

#[tokio::test]
async fn unreferenced_chunks_are_deleted() {
    let server = Memcached::start(&[]);
    let client = client_of(&server);
    let cache = cache_of(&client);
    cache.set("key", &value(1, 500_000)).await.unwrap();
    let first = chunk_keys(&client, "big:key").await;
    cache.set("key", &value(2, 500_000)).await.unwrap();
    let second = chunk_keys(&client, "big:key").await;
    assert_eq!(count_stored(&client, &first).await, 0, "overwritten chunks are deleted");
    assert_eq!(count_stored(&client, &second).await, 5);

    assert_eq!(cache.add("key", &value(3, 500_000)).await.unwrap(), WriteOutcome::Exists);
    let stats = crate::support::stat(&client.servers()[0], "curr_items").await;
    assert_eq!(stats, 6, "a refused add leaves no chunks");

    assert!(cache.delete("key").await.unwrap().is_applied());
    assert_eq!(count_stored(&client, &second).await, 0, "chunks are deleted with their key");
}

#[tokio::test]
async fn multi_key_calls_with_chunked_values() {
    let server = Memcached::start(&[]);
    let client = client_of(&server);
    let cache = cache_of(&client);
    let (short, long) = (value(1, 10), value(2, 500_000));
    let stored = cache.set_many([("short", &short), ("long", &long)]).await;
    assert_eq!(stored.applied().count(), 2);
    let many = cache.get_many(["long", "short", "absent"]).await;
    let found: Vec<_> = many.found().map(|(_, value)| value.clone()).collect();
    assert_eq!(found, [long, short]);
    assert_eq!(cache.delete_many(["long", "short", "absent"]).await.applied().count(), 2);
}

/// Two writers overwrite each other while a reader reads, each with a different protocol: it sees one value or the
/// other, or a miss.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_never_sees_a_partial_value() {
    use ProtocolSetting::{Binary, Meta, Text};
    let seed = seed();
    for [one, other, reading] in [[Binary, Meta, Text], [Meta, Text, Binary], [Text, Binary, Meta]] {
        let server = Memcached::start(&[]);
        let cache_on =
            |protocol| cache_of(&Client::with_config([server.addr()], patient_config().protocol(protocol)).unwrap());
        let done = Arc::new(AtomicBool::new(false));
        let writers = [(1_u8, one), (2, other)].map(|(number, protocol)| {
            let cache = cache_on(protocol);
            let mut rng = fastrand::Rng::with_seed(seed.value() ^ u64::from(number));
            tokio::spawn(async move {
                for _ in 0..20 {
                    let length = rng.usize(50_000..600_000);
                    cache.set("key", &value(number, length)).await.unwrap();
                }
            })
        });
        let reader = tokio::spawn({
            let (cache, done) = (cache_on(reading), Arc::clone(&done));
            async move {
                let mut seen = 0;
                while !done.load(Ordering::Relaxed) || seen == 0 {
                    if let Some(read) = cache.get("key").await.unwrap() {
                        assert_eq!(read, value(read[0], read.len()), "parts of both values");
                        seen += 1;
                    }
                }
            }
        });
        for writer in writers {
            writer.await.unwrap();
        }
        done.store(true, Ordering::Relaxed);
        reader.await.unwrap();
    }
}

#[tokio::test]
async fn an_implausible_manifest_is_rejected() {
    let server = Memcached::start(&[]);
    let client = client_of(&server);
    for text in ["1-4000000000-1-4000000000-1", "1-18446744073709551615-1-18446744073709551615-1"] {
        client.set("big:key", text).flags(0x7265_8000).await.unwrap();
        let error = cache_of(&client).get("key").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ValueTooLarge, "{error}");
    }
}
