//! The operations of the store.

use actix_session::storage::{LoadError, SessionKey, SessionStore};
use actix_web::cookie::time::Duration;
use remcache_actix_session::OnEvicted;
use remcache_testkit::Memcached;

use crate::{client, patient_store, state};

const HOUR: Duration = Duration::HOUR;

#[tokio::test]
async fn a_session_is_saved_loaded_updated_and_deleted() {
    let server = Memcached::start(&[]);
    let store = patient_store(&server);
    let key = store.save(state("ada"), &HOUR).await.unwrap();
    assert_eq!(store.load(&key).await.unwrap(), Some(state("ada")));
    let text = key.as_ref().to_owned();
    let key = store.update(key, state("bob"), &HOUR).await.unwrap();
    assert_eq!((key.as_ref(), store.load(&key).await.unwrap()), (&*text, Some(state("bob"))));
    store.delete(&key).await.unwrap();
    assert_eq!(store.load(&key).await.unwrap(), None);
    store.delete(&key).await.unwrap();
    store.update_ttl(&key, &HOUR).await.unwrap();
}

#[tokio::test]
async fn any_session_key_is_accepted() {
    let server = Memcached::start(&[]);
    let store = patient_store(&server);
    for key in ["", "with space\r\n", &"x".repeat(4000)] {
        let key = SessionKey::try_from(key.to_owned()).unwrap();
        assert_eq!(store.load(&key).await.unwrap(), None);
    }
}

#[tokio::test]
async fn a_missing_session_is_updated_only_if_configured() {
    let server = Memcached::start(&[]);
    let store = patient_store(&server);
    let key = store.save(state("ada"), &HOUR).await.unwrap();
    store.delete(&key).await.unwrap();
    let key = store.update(key, state("ada"), &HOUR).await.unwrap();
    assert_eq!(store.load(&key).await.unwrap(), None);

    let store = store.on_evicted(OnEvicted::Recreate);
    let old = key.as_ref().to_owned();
    let key = store.update(key, state("ada"), &HOUR).await.unwrap();
    assert_ne!(key.as_ref(), old);
    assert_eq!(store.load(&key).await.unwrap(), Some(state("ada")));
}

#[tokio::test]
async fn a_new_ttl_replaces_the_old_one() {
    let server = Memcached::start(&[]);
    let store = patient_store(&server);
    let key = store.save(state("ada"), &HOUR).await.unwrap();
    for days in [31, 90, 5000] {
        store.update_ttl(&key, &Duration::days(days)).await.unwrap();
        assert_eq!(store.load(&key).await.unwrap(), Some(state("ada")), "{days} days");
    }
    // It is a touch: the server has counted it as one, and no store since the first.
    let stats = client(&server);
    let (touches, sets) = (stat(&stats, "cmd_touch").await, stat(&stats, "cmd_set").await);
    assert_eq!((touches, sets), (3, 1));
    store.update_ttl(&key, &-Duration::SECOND).await.unwrap();
    assert_eq!(store.load(&key).await.unwrap(), None);
}

async fn stat(client: &remcache::Client, name: &str) -> u64 {
    let mut stats = client.servers()[0].stats("");
    while let Some(stat) = stats.next().await {
        let (found, value) = stat.expect("statistics");
        if found == name.as_bytes() {
            return String::from_utf8_lossy(&value).parse().expect("a number");
        }
    }
    panic!("no statistic {name}")
}

#[tokio::test]
async fn a_session_expires() {
    let server = Memcached::start(&[]);
    let store = patient_store(&server);
    let key = store.save(state("ada"), &Duration::SECOND).await.unwrap();
    while store.load(&key).await.unwrap().is_some() {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    let key = store.save(state("ada"), &Duration::ZERO).await.unwrap();
    assert_eq!(store.load(&key).await.unwrap(), None);
}

#[tokio::test]
async fn a_session_above_the_item_size_limit_is_a_descriptive_error() {
    let server = Memcached::start(&[]);
    let store = patient_store(&server);
    let large = state(&"x".repeat(1_100_000));
    let error = store.save(large.clone(), &HOUR).await.unwrap_err();
    assert!(format!("{error:?}").contains("item size limit"), "{error:?}");
    let key = store.save(state("ada"), &HOUR).await.unwrap();
    store.update(key, large, &HOUR).await.unwrap_err();
}

#[tokio::test]
async fn an_item_that_is_not_a_session_is_reported() {
    let server = Memcached::start(&[]);
    let store = patient_store(&server).prefix("s:");
    let key = store.save(state("ada"), &HOUR).await.unwrap();
    let client = client(&server);
    let item = client.servers()[0].metadump().next().await.unwrap().unwrap();
    assert!(item.key.starts_with(b"s:") && !item.key.escape_ascii().to_string().contains(key.as_ref()));
    client.set(&item.key[..], "garbage").await.unwrap();
    // The middleware begins an empty session then.
    assert!(matches!(store.load(&key).await, Err(LoadError::Deserialization(_))));
}
