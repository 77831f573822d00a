//! Servers without CAS values (`memcached -C`), on each protocol: operations that compare by CAS refuse them.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use bytes::Bytes;
use remcache::config::ProtocolSetting;
use remcache::migration::Migration;
use remcache::recipes::{FetchPolicy, FixedWindow, Gcra, Limiter, OnUnavailable};
use remcache::value::Codec;
use remcache::{Cache, Client, Error, ErrorKind, Item, Request, Status, Ttl, WriteOutcome};
use remcache_testkit::Memcached;

use crate::support::patient_config;

const PROTOCOLS: [ProtocolSetting; 3] = [ProtocolSetting::Binary, ProtocolSetting::Meta, ProtocolSetting::Text];
const LONG: Duration = Duration::from_secs(3600);

fn client_of(server: &Memcached, protocol: ProtocolSetting) -> Client {
    Client::with_config([server.addr()], patient_config().protocol(protocol)).unwrap()
}

async fn without_cas(case: impl AsyncFn(Client, ProtocolSetting)) {
    for protocol in PROTOCOLS {
        let server = Memcached::start(&["-C"]);
        case(client_of(&server, protocol), protocol).await;
    }
}

#[track_caller]
fn assert_refused<T: std::fmt::Debug>(result: Result<T, Error>, what: &str) {
    let error = result.expect_err(what);
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{what}: {error}");
    assert!(error.to_string().contains("start the server without -C"), "{what}: {error}");
}

fn increment_text(item: Option<&Item>) -> Option<Bytes> {
    let number = item.map_or(0, |item| std::str::from_utf8(&item.value).unwrap().parse::<u64>().unwrap());
    Some((number + 1).to_string().into())
}

async fn value(client: &Client, key: &str) -> Option<Bytes> {
    client.get(key).await.unwrap().map(|item| item.value)
}

#[tokio::test]
async fn an_update_is_refused_and_changes_nothing() {
    without_cas(async |client, protocol| {
        assert_refused(client.update("n", Ttl::Never, increment_text).await, &format!("{protocol}: create"));
        assert_eq!(value(&client, "n").await, None, "{protocol}");
        client.set("n", "1").await.unwrap();
        assert_refused(client.update("n", Ttl::Never, increment_text).await, &format!("{protocol}: change"));
        assert_refused(client.update("n", Ttl::Never, |_| None).await, &format!("{protocol}: delete"));
        assert_eq!(value(&client, "n").await.as_deref(), Some(&b"1"[..]), "{protocol}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_updates_lose_nothing_that_they_reported_as_stored() {
    without_cas(async |client, protocol| {
        let tasks = (0..8).map(|_| {
            let client = client.clone();
            tokio::spawn(async move {
                let mut made = 0;
                for _ in 0..20 {
                    made += u64::from(client.update("n", Ttl::Never, increment_text).await.is_ok());
                }
                made
            })
        });
        let mut made = 0;
        for task in tasks.collect::<Vec<_>>() {
            made += task.await.unwrap();
        }
        let stored = value(&client, "n").await.map_or(0, |n| std::str::from_utf8(&n).unwrap().parse().unwrap());
        assert_eq!(stored, made, "{protocol}");
    })
    .await;
}

#[tokio::test]
async fn a_take_is_refused_and_leaves_the_item() {
    without_cas(async |client, protocol| {
        client.set("token", "once").await.unwrap();
        assert_refused(client.take("token").await, &protocol.to_string());
        assert_eq!(value(&client, "token").await.as_deref(), Some(&b"once"[..]), "{protocol}");
        assert_eq!(client.take("absent").await.unwrap(), None, "{protocol}");
    })
    .await;
}

#[tokio::test]
async fn a_gcra_limiter_is_refused_and_a_fixed_window_is_not() {
    without_cas(async |client, protocol| {
        for on_unavailable in [OnUnavailable::FailOpen, OnUnavailable::FailClosed] {
            let gcra = Limiter::new(&client, "gcra", Gcra::new(5, LONG)).unwrap().on_unavailable(on_unavailable);
            for _ in 0..2 {
                assert_refused(gcra.acquire("ada").await, &protocol.to_string());
            }
        }
        let window = Limiter::new(&client, "window", FixedWindow::new(5, LONG)).unwrap();
        assert!(window.acquire("ada").await.unwrap().is_allowed, "{protocol}");
    })
    .await;
}

#[tokio::test]
async fn locks_and_fetches_are_refused() {
    without_cas(async |client, protocol| {
        assert_refused(client.lock("lock", LONG).await, &protocol.to_string());
        assert_eq!(value(&client, "lock").await, None, "{protocol}");
        let load = || async { Ok::<_, Error>(Some("loaded")) };
        assert_refused(client.fetch_optional("absent", LONG, load).await, &format!("{protocol}: a miss"));
        client.set("present", "stored").await.unwrap();
        let policy = FetchPolicy::new(LONG).stale_for(LONG);
        assert_refused(client.fetch_optional("present", policy, load).await, &format!("{protocol}: a hit"));
        assert_refused(client.invalidate("present", LONG).await, &format!("{protocol}: invalidate"));
        assert_eq!(value(&client, "present").await.as_deref(), Some(&b"stored"[..]), "{protocol}");
    })
    .await;
}

#[tokio::test]
async fn a_change_with_the_cas_value_of_such_an_item_is_refused() {
    without_cas(async |client, protocol| {
        client.set("k", "old").await.unwrap();
        let cas = client.get("k").await.unwrap().unwrap().cas;
        assert_eq!(cas, 0, "{protocol}");
        assert_refused(client.compare_and_swap("k", "new", cas).await, &format!("{protocol}: compare_and_swap"));
        assert_refused(client.set("k", "new").cas(cas).await, &format!("{protocol}: set"));
        assert_refused(client.replace("k", "new").cas(cas).await, &format!("{protocol}: replace"));
        assert_refused(client.append("k", "new").cas(cas).await, &format!("{protocol}: append"));
        assert_refused(client.delete("k").cas(cas).await, &format!("{protocol}: delete"));
        assert_refused(client.delete("k").cas(cas).tombstone(LONG).await, &format!("{protocol}: tombstone"));
        assert_eq!(client.compare_and_swap("absent", "new", 0).await.unwrap(), WriteOutcome::NotFound, "{protocol}");
        assert_eq!(value(&client, "k").await.as_deref(), Some(&b"old"[..]), "{protocol}");
        let cache = Cache::new(&client, "", Codec::text());
        let (_, cas) = cache.get_with_cas("k").await.unwrap().unwrap();
        assert_refused(cache.set_with_cas("k", "new", cas).await, &format!("{protocol}: cache"));
        assert_eq!(value(&client, "k").await.as_deref(), Some(&b"old"[..]), "{protocol}");
    })
    .await;
}

/// A CAS value from before the server was restarted without them.
#[tokio::test]
async fn appends_with_a_cas_value_are_refused() {
    without_cas(async |client, protocol| {
        client.set("k", "old").await.unwrap();
        for (what, result) in
            [("append", client.append("k", "new").cas(7).await), ("prepend", client.prepend("k", "new").cas(7).await)]
        {
            assert_eq!(result.unwrap_err().kind(), ErrorKind::Unsupported, "{protocol}: {what}");
        }
        if protocol != ProtocolSetting::Text {
            assert_eq!(client.delete("k").cas(7).await.unwrap(), WriteOutcome::Exists, "{protocol}");
        }
        let replies = client.call_many([Request::append("k", "new").cas(7), Request::prepend("k", "new").cas(7)]).await;
        assert!(replies.iter().all(|reply| reply.status == Status::Unsupported), "{protocol}: {replies:?}");
        assert_eq!(value(&client, "k").await.as_deref(), Some(&b"old"[..]), "{protocol}");
    })
    .await;
}

#[tokio::test]
async fn a_migration_copies_neither_from_nor_to_such_a_server() {
    for protocol in PROTOCOLS {
        for [old, new] in [[&["-C"][..], &[]], [&[], &["-C"]]] {
            let servers = [old, new].map(Memcached::start);
            let [old, new] = servers.each_ref().map(|server| client_of(server, protocol));
            old.set("k", "old").await.unwrap();
            let migration = Migration::new(old.clone(), new.clone());
            assert_refused(migration.get("k").await, &format!("{protocol}: get"));
            let mut many = migration.get_many(["k"]).await.into_iter();
            assert_refused(many.next().unwrap().1, &format!("{protocol}: get_many"));
            assert_refused(migration.append("k", "x").await, &format!("{protocol}: append"));
            assert_eq!(value(&new, "k").await, None, "{protocol}");
            assert_eq!(value(&old, "k").await.as_deref(), Some(&b"old"[..]), "{protocol}");
            let reading = migration.backfill_ttl(Ttl::Expired);
            assert!(reading.get("k").await.unwrap().is_some(), "{protocol}: nothing is copied");
        }
    }
}
