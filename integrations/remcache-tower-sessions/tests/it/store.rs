//! The operations of the store.

use std::collections::HashMap;

use remcache_testkit::Memcached;
use remcache_tower_sessions::OnEvicted;
use time::{Duration, OffsetDateTime};
use tower_sessions_core::SessionStore;
use tower_sessions_core::session::{Id, Record};
use tower_sessions_core::session_store::Error;

use crate::{client, patient_store};

pub(crate) fn record(user: &str, lifetime: Duration) -> Record {
    let now = OffsetDateTime::now_utc().replace_nanosecond(0).expect("zero is valid");
    let data = HashMap::from([("user".to_owned(), user.into())]);
    Record { id: Id::default(), data, expiry_date: now + lifetime }
}

#[tokio::test]
async fn a_session_is_created_saved_loaded_and_deleted() {
    let server = Memcached::start(&[]);
    let store = patient_store(&server);
    let mut session = record("ada", Duration::hours(1));
    assert_eq!(store.load(&session.id).await.unwrap(), None);
    store.create(&mut session).await.unwrap();
    assert_eq!(store.load(&session.id).await.unwrap(), Some(session.clone()));
    session.data.insert("theme".to_owned(), "dark".into());
    store.save(&session).await.unwrap();
    assert_eq!(store.load(&session.id).await.unwrap(), Some(session.clone()));
    store.delete(&session.id).await.unwrap();
    assert_eq!(store.load(&session.id).await.unwrap(), None);
    store.delete(&session.id).await.unwrap();
}

#[tokio::test]
async fn a_new_session_never_takes_over_the_id_of_another() {
    let server = Memcached::start(&[]);
    let store = patient_store(&server);
    let mut first = record("ada", Duration::hours(1));
    store.create(&mut first).await.unwrap();
    let mut second = Record { id: first.id, ..record("bob", Duration::hours(1)) };
    store.create(&mut second).await.unwrap();
    assert_ne!(first.id, second.id);
    assert_eq!(store.load(&first.id).await.unwrap(), Some(first));
    assert_eq!(store.load(&second.id).await.unwrap(), Some(second));
}

#[tokio::test]
async fn a_missing_session_is_saved_only_if_configured() {
    let server = Memcached::start(&[]);
    let store = patient_store(&server);
    let session = record("ada", Duration::hours(1));
    store.save(&session).await.unwrap();
    assert_eq!(store.load(&session.id).await.unwrap(), None);
    let store = store.on_evicted(OnEvicted::Recreate);
    store.save(&session).await.unwrap();
    assert_eq!(store.load(&session.id).await.unwrap(), Some(session));
}

#[tokio::test]
async fn sessions_expire_and_may_live_longer_than_30_days() {
    let server = Memcached::start(&[]);
    let store = patient_store(&server);
    for days in [31, 90, 5000] {
        let mut session = record("ada", Duration::days(days));
        store.create(&mut session).await.unwrap();
        assert_eq!(store.load(&session.id).await.unwrap(), Some(session), "{days} days");
    }
    let mut session = record("ada", -Duration::seconds(1));
    store.create(&mut session).await.unwrap();
    assert_eq!(store.load(&session.id).await.unwrap(), None);
    let mut session = record("ada", Duration::seconds(1));
    store.create(&mut session).await.unwrap();
    while store.load(&session.id).await.unwrap().is_some() {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert!(OffsetDateTime::now_utc() >= session.expiry_date);
}

#[tokio::test]
async fn a_session_above_the_item_size_limit_is_a_descriptive_error() {
    let server = Memcached::start(&[]);
    let store = patient_store(&server);
    let mut session = record("ada", Duration::hours(1));
    store.create(&mut session).await.unwrap();
    let mut large = session.clone();
    large.data.insert("text".to_owned(), "x".repeat(1_100_000).into());
    let error = store.save(&large).await.unwrap_err();
    assert!(matches!(&error, Error::Encode(text) if text.contains("item size limit")), "{error}");
    let error = store.create(&mut large).await.unwrap_err();
    assert!(matches!(error, Error::Encode(_)), "{error}");
}

#[tokio::test]
async fn an_item_that_is_not_a_session_is_ignored() {
    let server = Memcached::start(&[]);
    let store = patient_store(&server);
    let mut session = record("ada", Duration::hours(1));
    store.create(&mut session).await.unwrap();
    let client = client(&server);
    let item = client.servers()[0].metadump().next().await.unwrap().unwrap();
    client.set(&item.key[..], "garbage").await.unwrap();
    assert_eq!(store.load(&session.id).await.unwrap(), None);
}

#[tokio::test]
async fn neither_keys_nor_values_contain_ids() {
    let server = Memcached::start(&[]);
    let store = patient_store(&server).prefix("s:");
    let mut session = record("ada", Duration::hours(1));
    store.create(&mut session).await.unwrap();
    let client = client(&server);
    let item = client.servers()[0].metadump().next().await.unwrap().unwrap();
    let value = client.get(&item.key[..]).await.unwrap().unwrap().value;
    assert!(item.key.starts_with(b"s:"));
    for id in [session.id.to_string(), session.id.0.to_string()] {
        for bytes in [&item.key, &value] {
            assert!(!bytes.escape_ascii().to_string().contains(&id));
        }
    }
}
