//! A server that is killed, and one that is stopped.

use std::time::Instant;

use http_cache::CacheManager;
use remcache_http_cache::{MemcachedManager, OnUnavailable};
use remcache_testkit::Memcached;

use crate::{client, patient, response};

async fn check(begin: fn(&mut Memcached)) {
    let mut server = Memcached::start(&[]);
    let (stored, policy) = response("body");
    patient(&server).put("key".to_owned(), stored.clone(), policy.clone()).await.expect("no error");
    let manager = MemcachedManager::new(&client(&server));
    begin(&mut server);
    let started = Instant::now();
    for _ in 0..2 {
        assert!(manager.get("key").await.expect("no error").is_none());
        let returned = manager.put("key".to_owned(), stored.clone(), policy.clone()).await.expect("no error");
        assert_eq!(returned.body, b"body");
        manager.delete("key").await.expect("no error");
    }
    let closed = manager.on_unavailable(OnUnavailable::FailClosed);
    assert!(closed.get("key").await.is_err());
    assert!(closed.put("key".to_owned(), stored, policy).await.is_err());
    assert!(closed.delete("key").await.is_err());
    // The client itself would wait for 300 s.
    assert!(started.elapsed().as_secs() < 100, "took {:?}", started.elapsed());
}

#[tokio::test]
async fn nothing_is_found_if_the_server_is_killed() {
    check(Memcached::kill).await;
}

#[tokio::test]
async fn nothing_is_found_if_the_server_is_stopped() {
    check(|server| server.stop()).await;
}
