//! The operations of the store.

use std::time::Duration;

use cached::{ConcurrentCacheBase, ConcurrentCachedAsync, SerializeCachedAsync};
use remcache_testkit::Memcached;

use crate::{client, patient_store};

fn text(text: &str) -> String {
    text.to_owned()
}

#[tokio::test]
async fn values_are_stored_found_and_removed() {
    let server = Memcached::start(&[]);
    let store = patient_store(&server, "test");
    let key = text("key");
    assert_eq!(store.async_cache_get(&key).await.unwrap(), None);
    assert_eq!(store.async_cache_set(key.clone(), text("one")).await.unwrap(), None);
    assert_eq!(store.async_cache_set(key.clone(), text("two")).await.unwrap(), Some(text("one")));
    store.async_cache_set_ref(&key, &text("three")).await.unwrap();
    assert_eq!(store.async_cache_get(&key).await.unwrap(), Some(text("three")));
    assert!(store.async_cache_contains(&key).await.unwrap());
    assert_eq!(store.async_cache_remove(&key).await.unwrap(), Some(text("three")));
    assert_eq!(store.async_cache_remove(&key).await.unwrap(), None);
    store.async_cache_set_ref(&key, &text("four")).await.unwrap();
    assert_eq!(store.async_cache_remove_entry(&key).await.unwrap(), Some((key.clone(), text("four"))));
    assert!(!store.async_cache_delete(&key).await.unwrap());
    assert_eq!(store.cache_size().unwrap(), None);
    let loaded = store.async_cache_get_or_set_with(key.clone(), || async { text("five") }).await.unwrap();
    assert_eq!((loaded, store.async_cache_get(&key).await.unwrap()), (text("five"), Some(text("five"))));
}

#[tokio::test]
async fn keys_and_store_names_can_be_any_text() {
    let server = Memcached::start(&[]);
    let stores = ["a", "b", "with space", ""].map(|name| patient_store(&server, name));
    let keys = [text(""), text("key"), text("with space"), text("ü"), "x".repeat(1000)];
    for (number, store) in stores.iter().enumerate() {
        for key in &keys {
            store.async_cache_set_ref(key, &format!("{number} {key}")).await.unwrap();
        }
    }
    for (number, store) in stores.iter().enumerate() {
        for key in &keys {
            assert_eq!(store.async_cache_get(key).await.unwrap(), Some(format!("{number} {key}")));
        }
    }
    stores[0].async_cache_clear().await.unwrap();
    for key in &keys {
        assert!(!stores[0].async_cache_contains(key).await.unwrap());
        assert!(stores[1].async_cache_contains(key).await.unwrap());
    }
}

#[tokio::test]
async fn values_expire() {
    let server = Memcached::start(&[]);
    let store = patient_store(&server, "test").ttl(Duration::from_secs(1));
    store.async_cache_set_ref(&text("key"), &text("value")).await.unwrap();
    while store.async_cache_contains(&text("key")).await.unwrap() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn a_value_of_another_format_counts_as_missing() {
    let server = Memcached::start(&[]);
    let store = patient_store(&server, "test");
    client(&server).set("test:key", "not JSON").await.unwrap();
    assert_eq!(store.async_cache_get(&text("key")).await.unwrap(), None);
    assert_eq!(store.async_cache_set(text("key"), text("value")).await.unwrap(), None);
    assert_eq!(store.async_cache_get(&text("key")).await.unwrap(), Some(text("value")));
}

#[tokio::test]
async fn a_value_above_the_item_size_limit_is_chunked_or_not_stored() {
    let server = Memcached::start(&[]);
    let store = patient_store(&server, "test");
    let long = "x".repeat(1_500_000);
    store.async_cache_set_ref(&text("key"), &long).await.unwrap();
    assert_eq!(store.async_cache_get(&text("key")).await.unwrap(), None);
    let store = store.chunked(500_000);
    store.async_cache_set_ref(&text("key"), &long).await.unwrap();
    assert!(store.async_cache_get(&text("key")).await.unwrap() == Some(long));
}
