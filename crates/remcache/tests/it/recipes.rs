//! Operations that consist of several commands, with a real memcached, on each protocol.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use bytes::Bytes;
use remcache::config::ProtocolSetting;
use remcache::{Client, ErrorKind, Item, Ttl, WriteOutcome};
use remcache_testkit::Memcached;

use crate::support::{flags_and_ttl, patient_config, text_query};

const PROTOCOLS: [ProtocolSetting; 3] = [ProtocolSetting::Binary, ProtocolSetting::Meta, ProtocolSetting::Text];

fn client_of(server: &Memcached, protocol: ProtocolSetting) -> Client {
    Client::with_config([server.addr()], patient_config().protocol(protocol)).unwrap()
}

fn number(item: Option<&Item>) -> u64 {
    item.map_or(0, |item| std::str::from_utf8(&item.value).unwrap().parse().unwrap())
}

fn increment_text(item: Option<&Item>) -> Option<Bytes> {
    Some((number(item) + 1).to_string().into())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_updates_lose_nothing() {
    let server = Memcached::start(&[]);
    for protocol in PROTOCOLS {
        let client = client_of(&server, protocol);
        client.delete("n").await.unwrap();
        let tasks = (0..8).map(|_| {
            let client = client.clone();
            tokio::spawn(async move {
                for _ in 0..25 {
                    client.update("n", Ttl::Never, increment_text).await.unwrap();
                }
            })
        });
        for task in tasks.collect::<Vec<_>>() {
            task.await.unwrap();
        }
        assert_eq!(number(client.get("n").await.unwrap().as_ref()), 200, "{protocol}");
    }
}

#[tokio::test]
async fn an_update_keeps_flags_sets_the_ttl_and_returns_the_new_item() {
    let server = Memcached::start(&[]);
    for protocol in PROTOCOLS {
        let client = client_of(&server, protocol);
        client.set("n", "1").flags(7).await.unwrap();
        let stored = client.update("n", Duration::from_secs(1000), increment_text).await.unwrap().unwrap();
        assert_eq!((&stored.value[..], stored.flags), (&b"2"[..], 7), "{protocol}");
        let (flags, ttl) = flags_and_ttl(&server.addr(), "n").unwrap();
        assert_eq!(flags, 7, "{protocol}");
        assert!((900..=1000).contains(&ttl), "{protocol}: {ttl}");
    }
}

#[tokio::test]
async fn an_update_to_none_deletes_the_item() {
    let server = Memcached::start(&[]);
    for protocol in PROTOCOLS {
        let client = client_of(&server, protocol);
        client.set("n", "1").await.unwrap();
        assert_eq!(client.update("n", Ttl::Never, |_| None).await.unwrap(), None, "{protocol}");
        assert_eq!(client.get("n").await.unwrap(), None, "{protocol}");
        assert_eq!(
            client.update("n", Ttl::Never, |_| None).await.unwrap(),
            None,
            "{protocol}: an absent item stays absent"
        );
    }
}

/// Another client changes the item after each call of the function.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_update_that_always_conflicts_changes_nothing() {
    let server = Memcached::start(&[]);
    for protocol in PROTOCOLS {
        let client = client_of(&server, protocol);
        client.set("n", "0").await.unwrap();
        let mut calls = 0;
        let outcome = client.update("n", Ttl::Never, |_| {
            calls += 1;
            assert_eq!(text_query(&server.addr(), "ms n 1 T0\r\n7"), "HD");
            Some("mine".into())
        });
        let error = outcome.await.unwrap_err();
        assert_eq!((error.kind(), calls), (ErrorKind::Conflict, 64), "{protocol}: {error}");
        assert_eq!(client.get("n").await.unwrap().unwrap().value, "7", "{protocol}");
    }
}

/// Every appended byte is taken once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn take_loses_no_concurrent_append() {
    const BYTES: usize = 500;
    let server = Memcached::start(&[]);
    for protocol in PROTOCOLS {
        let client = client_of(&server, protocol);
        let writer = client.clone();
        let writing = tokio::spawn(async move {
            for _ in 0..BYTES {
                assert!(writer.append_or_create("log", "x", Ttl::Never).await.unwrap().is_applied());
            }
        });
        let (mut taken, mut times) = (0, 0);
        while taken < BYTES {
            let is_done = writing.is_finished();
            match client.take("log").await {
                Ok(Some(item)) => (taken, times) = (taken + item.value.len(), times + 1),
                Ok(None) => assert!(!is_done, "{protocol}: {taken} of {BYTES} bytes in {times} times"),
                Err(error) => assert_eq!(error.kind(), ErrorKind::Conflict, "{protocol}: {error}"),
            }
        }
        writing.await.unwrap();
        assert_eq!(taken, BYTES, "{protocol}");
        assert_eq!(client.take("log").await.unwrap(), None, "{protocol}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_many_concurrent_takes_gets_the_item() {
    let server = Memcached::start(&[]);
    for protocol in PROTOCOLS {
        let client = client_of(&server, protocol);
        client.set("token", "once").await.unwrap();
        let tasks = (0..50).map(|_| {
            let client = client.clone();
            tokio::spawn(async move { client.take("token").await.unwrap().is_some() })
        });
        let mut winners = 0;
        for task in tasks.collect::<Vec<_>>() {
            winners += usize::from(task.await.unwrap());
        }
        assert_eq!(winners, 1, "{protocol}");
    }
}

#[tokio::test]
async fn append_or_create_sets_the_ttl_only_on_creation() {
    let server = Memcached::start(&[]);
    for protocol in PROTOCOLS {
        let client = client_of(&server, protocol);
        client.delete("log").await.unwrap();
        for (part, ttl) in [("one ", 1000), ("two", 5)] {
            let change = client.append_or_create("log", part, Duration::from_secs(ttl)).await.unwrap();
            assert!(change.is_applied(), "{protocol}");
        }
        assert_eq!(client.get("log").await.unwrap().unwrap().value, "one two", "{protocol}");
        let (_, ttl) = flags_and_ttl(&server.addr(), "log").unwrap();
        assert!((900..=1000).contains(&ttl), "{protocol}: {ttl}");
    }
}

#[tokio::test]
async fn an_append_beyond_the_item_limit_is_not_stored() {
    let server = Memcached::start(&[]);
    for protocol in PROTOCOLS {
        let client = client_of(&server, protocol);
        let half = vec![b'x'; 600 * 1024];
        client.set("log", half.clone()).await.unwrap();
        match client.append_or_create("log", &half, Ttl::Never).await {
            Ok(change) => assert_eq!(change, WriteOutcome::NotStored, "{protocol}"),
            Err(error) => {
                let kind = error.kind();
                assert!(matches!(kind, ErrorKind::ValueTooLarge | ErrorKind::OutOfMemory), "{protocol}: {error}");
            }
        }
    }
}

#[tokio::test]
async fn existence_is_reported_on_every_protocol() {
    let server = Memcached::start(&[]);
    for protocol in PROTOCOLS.into_iter().chain([ProtocolSetting::Auto]) {
        let client = client_of(&server, protocol);
        client.delete("k").await.unwrap();
        assert!(!client.exists("k").await.unwrap(), "{protocol}");
        client.set("k", "").await.unwrap();
        assert!(client.exists("k").await.unwrap(), "{protocol}: an item with an empty value exists");
        assert_eq!(client.exists("").await.unwrap_err().kind(), ErrorKind::InvalidKey, "{protocol}");
    }
}

#[tokio::test]
async fn an_inspection_returns_metadata_and_is_not_an_access() {
    let server = Memcached::start(&[]);
    for protocol in [ProtocolSetting::Meta, ProtocolSetting::Auto] {
        let client = client_of(&server, protocol);
        assert_eq!(client.inspect("absent").await.unwrap(), None);
        let cas = client.set("k", "12345").flags(7).ttl(Duration::from_secs(1000)).await.unwrap().cas().unwrap();
        for _ in 0..2 {
            assert!(client.exists("k").await.unwrap());
            let found = client.inspect("k").await.unwrap().unwrap();
            assert_eq!((found.flags, found.size, found.fetched, found.stale), (7, Some(5), Some(false), false));
            assert_eq!(found.cas, cas);
            assert!(found.last_access.is_some());
            let Some(Ttl::After(left)) = found.ttl else { panic!("{:?}", found.ttl) };
            assert!((900..=1000).contains(&left.as_secs()), "{left:?}");
        }
        client.get("k").await.unwrap();
        assert_eq!(client.inspect("k").await.unwrap().unwrap().fetched, Some(true), "a get is an access");
    }
}

#[tokio::test]
async fn the_error_of_an_unsupported_inspection_names_the_setting() {
    let server = Memcached::start(&[]);
    for protocol in [ProtocolSetting::Binary, ProtocolSetting::Text] {
        let error = client_of(&server, protocol).inspect("k").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{protocol}");
        assert!(error.to_string().contains("use meta"), "{protocol}: {error}");
    }
}
