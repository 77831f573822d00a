//! The operations of the manager.

use std::time::{Duration, SystemTime};

use http_cache::CacheManager;
use remcache_testkit::Memcached;

use crate::{client, patient_manager, response};

#[tokio::test]
async fn responses_are_stored_found_and_deleted() {
    let server = Memcached::start(&[]);
    let manager = patient_manager(&server);
    let key = format!("GET:http://example.com/{}", "long/".repeat(1000));
    assert!(manager.get(&key).await.unwrap().is_none());
    for length in [0, 10, 2_000_000] {
        let (stored, policy) = response(vec![b'x'; length]);
        manager.put(key.clone(), stored.clone(), policy.clone()).await.unwrap();
        let (found, found_policy) = manager.get(&key).await.unwrap().expect("it is stored");
        assert!(found.body == stored.body && found.metadata == stored.metadata && found.url == stored.url);
        assert_eq!((found.status, found.version), (stored.status, stored.version));
        assert_eq!(found.headers.get("cache-control"), stored.headers.get("cache-control"));
        let now = SystemTime::now();
        assert_eq!(found_policy.time_to_live(now), policy.time_to_live(now));
    }
    assert!(manager.get("GET:http://example.com/").await.unwrap().is_none(), "another key");
    manager.delete(&key).await.unwrap();
    assert!(manager.get(&key).await.unwrap().is_none());
    manager.delete(&key).await.unwrap();
}

#[tokio::test]
async fn an_item_that_is_not_a_response_counts_as_missing() {
    let server = Memcached::start(&[]);
    let manager = patient_manager(&server).prefix("p:");
    let (stored, policy) = response("body");
    manager.put("key".to_owned(), stored, policy).await.unwrap();
    let client = client(&server);
    let item = client.servers()[0].metadump().next().await.unwrap().unwrap();
    assert!(item.key.starts_with(b"p:"));
    client.set(&item.key[..], "garbage").await.unwrap();
    assert!(manager.get("key").await.unwrap().is_none());
}

#[tokio::test]
async fn responses_expire() {
    let server = Memcached::start(&[]);
    let manager = patient_manager(&server).ttl(Duration::from_secs(1));
    let (stored, policy) = response("body");
    manager.put("key".to_owned(), stored, policy).await.unwrap();
    while manager.get("key").await.unwrap().is_some() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
