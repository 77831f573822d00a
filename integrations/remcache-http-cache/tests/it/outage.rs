//! A server that is killed, and one that is stopped.

use std::time::Instant;

use http_cache::CacheManager;
use remcache_http_cache::{MemcachedManager, OnUnavailable};
use remcache_testkit::Memcached;

use crate::{client, patient_manager, response};

async fn check_outage(interrupt: fn(&mut Memcached)) {
    let mut server = Memcached::start(&[]);
    let (stored, policy) = response("body");
    patient_manager(&server).put("key".to_owned(), stored.clone(), policy.clone()).await.expect("no error");
    let manager = MemcachedManager::new(&client(&server));
    interrupt(&mut server);
    let started = Instant::now();
    for _ in 0..2 {
        assert!(manager.get("key").await.expect("no error").is_none());
        let returned = manager.put("key".to_owned(), stored.clone(), policy.clone()).await.expect("no error");
        assert_eq!(returned.body, b"body");
        manager.delete("key").await.expect("no error");
    }
    let fail_closed = manager.on_unavailable(OnUnavailable::FailClosed);
    assert!(fail_closed.get("key").await.is_err());
    assert!(fail_closed.put("key".to_owned(), stored, policy).await.is_err());
    assert!(fail_closed.delete("key").await.is_err());
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
