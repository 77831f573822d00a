//! A server that is killed, and one that is stopped.

use std::time::Instant;

use cached::{ConcurrentCachedAsync, SerializeCachedAsync};
use remcache::value::Codec;
use remcache_cached::{MemcachedCache, OnUnavailable};
use remcache_testkit::Memcached;

use crate::client;

async fn check_outage(interrupt: fn(&mut Memcached)) {
    let mut server = Memcached::start(&[]);
    let store: MemcachedCache<u32, u32> = MemcachedCache::new(&client(&server), "test", Codec::json());
    store.async_cache_set_ref(&1, &1).await.expect("no error");
    interrupt(&mut server);
    let started = Instant::now();
    for _ in 0..2 {
        assert_eq!(store.async_cache_get(&1).await.expect("no error"), None);
        store.async_cache_set_ref(&1, &2).await.expect("no error");
        assert_eq!(store.async_cache_remove(&1).await.expect("no error"), None);
        assert_eq!(store.async_cache_get_or_set_with(1, || async { 3 }).await.expect("no error"), 3);
    }
    let fail_closed = store.on_unavailable(OnUnavailable::FailClosed);
    assert!(fail_closed.async_cache_get(&1).await.expect_err("it fails").is_unavailable());
    assert!(fail_closed.async_cache_set_ref(&1, &2).await.expect_err("it fails").is_unavailable());
    assert!(fail_closed.async_cache_delete(&1).await.expect_err("it fails").is_unavailable());
    // The client itself would wait for 300 s.
    assert!(started.elapsed().as_secs() < 100, "took {:?}", started.elapsed());
}

#[tokio::test]
async fn nothing_is_found_if_the_server_is_killed() {
    check_outage(Memcached::kill).await;
}

#[tokio::test]
async fn nothing_is_found_if_the_server_is_stopped() {
    check_outage(|server| server.stop()).await;
}
