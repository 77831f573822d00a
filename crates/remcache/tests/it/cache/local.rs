//! In-process copies: the requests they save, and the stale values they must not return.

use std::time::Duration;

use remcache::cache::LocalCache;
use remcache::config::ProtocolSetting;
use remcache::value::Codec;
use remcache::{Cache, Client, Error};
use remcache_testkit::Memcached;

use crate::cache::client_of;
use crate::support::{patient_config, stat, wait_until};

/// Longer than any test.
const LONG: Duration = Duration::from_secs(3600);

fn local_cache(client: &Client, near: LocalCache) -> Cache<remcache::value::ByteString, str> {
    Cache::new(client, "near", Codec::text()).local_cache(near)
}

async fn gets(client: &Client) -> u64 {
    stat(&client.servers()[0], "cmd_get").await
}

#[tokio::test]
async fn a_copy_saves_requests() {
    let server = Memcached::start(&[]);
    let client = client_of(&server);
    let cache = local_cache(&client, LocalCache::new(1 << 20, LONG));
    cache.set("key", "value").await.unwrap();
    for _ in 0..100 {
        assert_eq!(cache.get("key").await.unwrap().as_deref(), Some("value"));
    }
    assert_eq!(gets(&client).await, 1);
    for _ in 0..10 {
        assert_eq!(cache.get_many(["key"]).await.found().count(), 1);
    }
    assert_eq!(gets(&client).await, 1);
}

/// Copies live for an hour, so every operation that sets a shorter TTL must end them sooner.
#[tokio::test]
async fn a_copy_does_not_outlive_its_item() {
    let server = Memcached::start(&[]);
    let second = Duration::from_secs(1);
    for protocol in [ProtocolSetting::Binary, ProtocolSetting::Meta, ProtocolSetting::Text] {
        let client = Client::with_config([server.addr()], patient_config().protocol(protocol)).unwrap();
        let cache = local_cache(&client, LocalCache::new(1 << 20, LONG));
        let short = cache.clone().ttl(second);
        short.set("default", "value").await.unwrap();
        cache.set("call", "value").ttl(second).await.unwrap();
        cache.set_many([("many", "value")]).ttl(second).await.into_result().unwrap();
        cache.set("touched", "value").await.unwrap();
        cache.touch("touched", second).await.unwrap();
        cache.set("got", "value").await.unwrap();
        cache.get_and_touch("got", second).await.unwrap();
        let load = || async { Ok::<_, Error>("value") };
        cache.fetch("fetched", second, load).await.unwrap();
        let mut keys = vec!["default", "call", "many", "touched", "got", "fetched"];
        if protocol == ProtocolSetting::Meta {
            // On the meta protocol the server also reports the TTL of items that other clients stored.
            client.set("near:theirs", "value").ttl(second).await.unwrap();
            keys.push("theirs");
        }
        for key in keys {
            let _ = cache.get(key).await.unwrap();
            let _ = cache.get_many([key]).await.into_result().unwrap();
            wait_until(key, async || cache.get(key).await.unwrap().is_none()).await;
            assert_eq!(cache.get_many([key]).await.missing().count(), 1, "{protocol}: {key}");
        }
        cache.set("default", "value").await.unwrap();
        let before = gets(&client).await;
        assert!(cache.get("default").await.unwrap().is_some() && cache.get("default").await.unwrap().is_some());
        assert_eq!(gets(&client).await, before + 1, "{protocol}: the item now has no TTL");
    }
}

#[tokio::test]
async fn a_miss_is_not_cached() {
    let server = Memcached::start(&[]);
    let client = client_of(&server);
    let cache = local_cache(&client, LocalCache::new(1 << 20, LONG));
    assert_eq!(cache.get("key").await.unwrap(), None);
    client.set("near:key", "value").await.unwrap();
    assert_eq!(cache.get("key").await.unwrap().as_deref(), Some("value"));
}

#[tokio::test]
async fn writes_of_this_process_are_visible_immediately() {
    let server = Memcached::start(&[]);
    let client = client_of(&server);
    let cache = local_cache(&client, LocalCache::new(1 << 20, LONG));
    let clone = cache.clone();
    for number in 0..50 {
        let text = number.to_string();
        match number % 3 {
            0 => drop(cache.set("key", &text).await.unwrap()),
            1 => drop(cache.set_many([("key", text.as_str())]).await),
            _ => drop(cache.replace("key", &text).await.unwrap()),
        }
        assert_eq!(clone.get("key").await.unwrap().as_deref(), Some(&*text));
        assert_eq!(clone.get_many(["key"]).await.found().next().unwrap().1, &text);
    }
    cache.delete("key").await.unwrap();
    assert_eq!(clone.get("key").await.unwrap(), None);
}

#[tokio::test]
async fn writes_of_others_are_visible_after_the_copy_has_expired() {
    let server = Memcached::start(&[]);
    let client = client_of(&server);
    let cache = local_cache(&client, LocalCache::new(1 << 20, Duration::from_millis(300)));
    cache.set("key", "old").await.unwrap();
    cache.get("key").await.unwrap();
    client.set("near:key", "new").await.unwrap();
    tokio::time::sleep(Duration::from_millis(400)).await;
    assert_eq!(cache.get("key").await.unwrap().as_deref(), Some("new"));
}

#[tokio::test]
async fn concurrent_misses_send_one_request() {
    let server = Memcached::start(&[]);
    let client = client_of(&server);
    client.set("near:key", "value").await.unwrap();
    let cache = local_cache(&client, LocalCache::new(1 << 20, LONG));
    let callers: Vec<_> = (0..100)
        .map(|_| {
            let cache = cache.clone();
            tokio::spawn(async move { cache.get("key").await.unwrap() })
        })
        .collect();
    for caller in callers {
        assert_eq!(caller.await.unwrap().as_deref(), Some("value"));
    }
    assert_eq!(gets(&client).await, 1);
}

#[tokio::test]
async fn only_hot_keys_are_copied_if_configured() {
    let server = Memcached::start(&[]);
    let client = client_of(&server);
    let cache = local_cache(&client, LocalCache::new(1 << 20, LONG).min_reads(5, LONG));
    let _ = cache.set_many([("hot", "1"), ("cold", "2")]).await;
    for _ in 0..4 {
        cache.get("cold").await.unwrap();
    }
    assert_eq!(gets(&client).await, 4);
    for _ in 0..100 {
        cache.get("hot").await.unwrap();
    }
    assert_eq!(gets(&client).await, 4 + 5);
}

/// A get that started before a write must not store a copy of the old value after it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_concurrent_get_does_not_restore_the_old_value() {
    let server = Memcached::start(&[]);
    let client = client_of(&server);
    let cache = local_cache(&client, LocalCache::new(1 << 20, LONG));
    cache.set("key", "0").await.unwrap();
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let readers: Vec<_> = (0..4)
        .map(|_| {
            let (cache, stop) = (cache.clone(), stop.clone());
            tokio::spawn(async move {
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    cache.get("key").await.unwrap();
                    // A get of a copy never waits, so the task has to yield to the others.
                    tokio::task::yield_now().await;
                }
            })
        })
        .collect();
    for number in 1..500 {
        let text = number.to_string();
        cache.set("key", &text).await.unwrap();
        assert_eq!(cache.get("key").await.unwrap().as_deref(), Some(&*text));
    }
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    for reader in readers {
        reader.await.unwrap();
    }
}

#[tokio::test]
async fn errors_are_not_cached() {
    let mut server = Memcached::start(&[]);
    let client = client_of(&server);
    let cache = local_cache(&client, LocalCache::new(1 << 20, LONG));
    server.kill();
    assert!(cache.get("key").await.unwrap_err().is_unavailable());
    server.restart();
    let direct = client_of(&server);
    direct.set("near:key", "value").await.unwrap();
    wait_until("the client reconnects", async || cache.get("key").await.is_ok()).await;
    assert_eq!(cache.get("key").await.unwrap().as_deref(), Some("value"));
}
