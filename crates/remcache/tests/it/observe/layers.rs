//! What the layers above the client report: one call is one operation, however many requests it takes.

use std::sync::Arc;
use std::time::Duration;

use remcache::config::ProtocolSetting;
use remcache::observe::{OperationName, Outcome};
use remcache::recipes::{FetchPolicy, FixedWindow, Gcra, Limiter, OnUnavailable, Rule};
use remcache::value::{ByteString, Codec};
use remcache::{Cache, Client, Delivery, Error, ErrorKind};
use remcache_testkit::Memcached;
use tokio::sync::Notify;

use super::recorder::{Recorder, observed};
use crate::support::{patient_config, wait_until};

const MINUTE: Duration = Duration::from_secs(60);
const PROTOCOLS: [ProtocolSetting; 3] = [ProtocolSetting::Binary, ProtocolSetting::Meta, ProtocolSetting::Text];
/// An address at which nothing listens.
const NOWHERE: &str = "127.0.0.1:1";
const REFUSED: Outcome = Outcome::Failed(ErrorKind::Disconnected(Delivery::NotSent));

/// Returns the names of the operations that have ended since the last call.
fn names(recorder: &Recorder) -> Vec<&'static str> {
    recorder.take().iter().map(|ended| ended.operation.as_str()).collect()
}

#[tokio::test]
async fn a_lock_reports_acquiring_renewing_and_releasing() {
    for protocol in PROTOCOLS {
        let server = Memcached::start(&[]);
        let (client, recorder) = observed(&[server.addr()], patient_config().protocol(protocol));
        let mut lock = client.lock("lock", MINUTE).await.unwrap().acquired().unwrap();
        let taken = recorder.ended_as(OperationName::Lock, Outcome::Ok);
        assert_eq!(taken.server, Some(server.addr()));
        assert!(!client.lock("lock", MINUTE).wait_up_to(Duration::from_millis(30)).await.unwrap().is_acquired());
        assert!(recorder.ended_as(OperationName::Lock, Outcome::Ok).attempts > 1, "it was tried again");
        lock.renew().await.unwrap();
        recorder.ended_as(OperationName::Renew, Outcome::Ok);
        assert!(lock.unlock().await.unwrap());
        recorder.ended_as(OperationName::Unlock, Outcome::Ok);

        let mut lost = client.lock("lock", MINUTE).await.unwrap().acquired().unwrap();
        client.delete("lock").await.unwrap();
        recorder.take();
        lost.renew().await.unwrap_err();
        let conflict = recorder.ended_as(OperationName::Renew, Outcome::Failed(ErrorKind::Conflict));
        assert_eq!(conflict.counts, (0, 0, 1));
        drop(lost);
        assert!(recorder.take().is_empty(), "there was nothing to release");
        drop(client.lock("lock", MINUTE).await.unwrap().acquired().unwrap());
        assert_eq!(names(&recorder), ["lock", "unlock"]);
    }
}

#[tokio::test]
async fn a_lock_and_a_limiter_that_fail_open_report_the_error() {
    let (client, recorder) = observed(&[NOWHERE.to_owned()], patient_config());
    let lock = client.lock("lock", MINUTE).on_unavailable(OnUnavailable::FailOpen).await.unwrap().acquired().unwrap();
    recorder.ended_as(OperationName::Lock, REFUSED);
    drop(lock);
    assert!(recorder.take().is_empty(), "an assumed lock holds nothing");
    let limiter = Limiter::new(&client, "limit", Gcra::new(5, MINUTE)).unwrap();
    assert!(!limiter.acquire("ada").await.unwrap().is_counted);
    recorder.ended_as(OperationName::Acquire, REFUSED);
}

#[tokio::test]
async fn an_acquisition_of_a_limiter_is_one_operation() {
    for protocol in PROTOCOLS {
        let server = Memcached::start(&[]);
        let (client, recorder) = observed(&[server.addr()], patient_config().protocol(protocol));
        for rule in [Rule::from(FixedWindow::new(1, MINUTE)), Gcra::new(1, MINUTE).into()] {
            let limiter = Limiter::new(&client, format!("{rule:?}").replace(' ', ""), rule).unwrap();
            assert!(limiter.acquire("ada").await.unwrap().is_allowed);
            let allowed = recorder.ended_as(OperationName::Acquire, Outcome::Ok);
            assert_eq!((allowed.server, allowed.counts), (Some(server.addr()), (0, 0, 0)));
            let _ = limiter.acquire("ada").await.unwrap();
            recorder.ended_as(OperationName::Acquire, Outcome::Ok);
            limiter.acquire_many("ada", 0).await.unwrap_err();
            recorder.ended_as(OperationName::Acquire, Outcome::Failed(ErrorKind::InvalidArguments));
        }
    }
}

/// An error of a loader.
#[derive(Debug)]
struct DatabaseError;

impl From<Error> for DatabaseError {
    fn from(_: Error) -> Self {
        Self
    }
}

async fn load(value: &'static str) -> Result<&'static str, Error> {
    Ok(value)
}

/// Each kind of result of `fetch`, with its counts.
#[tokio::test]
async fn a_fetch_reports_how_it_got_its_value() {
    for protocol in PROTOCOLS {
        let server = Memcached::start(&[]);
        let (client, recorder) = observed(&[server.addr()], patient_config().protocol(protocol));
        let policy = FetchPolicy::new(MINUTE).stale_for(MINUTE);
        client.fetch("page", policy, || load("one")).await.unwrap();
        assert_eq!(recorder.ended_as(OperationName::Fetch, Outcome::Loaded).counts, (0, 1, 0));
        client.fetch("page", policy, || load("two")).await.unwrap();
        assert_eq!(recorder.ended_as(OperationName::Fetch, Outcome::Hit).counts, (1, 0, 0));
        client.invalidate("page", MINUTE).await.unwrap();
        recorder.ended_as(OperationName::Invalidate, Outcome::Ok);
        assert_eq!(client.fetch("page", policy, || load("three")).await.unwrap(), "one");
        let mut ends = recorder.take();
        let stale = ends.remove(0);
        assert_eq!((stale.operation, stale.outcome, stale.counts), (OperationName::Fetch, Outcome::Stale, (1, 0, 0)));
        wait_until("the value is reloaded", async || {
            ends.extend(recorder.take());
            !ends.is_empty()
        })
        .await;
        let refresh = ends.pop().unwrap();
        assert_eq!((refresh.operation, refresh.outcome), (OperationName::Refresh, Outcome::Loaded));
        assert_eq!((refresh.counts, refresh.attempts, ends.len()), ((0, 0, 0), 1, 0));

        assert_eq!(
            client.fetch_optional("none", MINUTE, || async { Ok::<_, Error>(None::<&str>) }).await.unwrap(),
            None
        );
        recorder.ended_as(OperationName::Fetch, Outcome::Loaded);
    }
}

#[tokio::test]
async fn a_fetch_that_waits_for_another_callers_loader_follows() {
    let server = Memcached::start(&[]);
    let (client, recorder) = observed(&[server.addr()], patient_config());
    let (gate, has_started) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (opened, loading) = (Arc::clone(&gate), Arc::clone(&has_started));
    let slow = move || async move {
        loading.notify_one();
        opened.notified().await;
        Ok::<_, Error>("value")
    };
    let patient = FetchPolicy::new(MINUTE).wait_up_to(MINUTE);
    let leader = tokio::spawn({
        let client = client.clone();
        async move { client.fetch("page", patient, slow).await }
    });
    has_started.notified().await;
    let follower = tokio::spawn({
        let client = client.clone();
        async move { client.fetch("page", patient, || load("other")).await }
    });
    wait_until("both have started", async || recorder.started() == 2).await;
    gate.notify_one();
    assert_eq!((leader.await.unwrap().unwrap(), follower.await.unwrap().unwrap()), ("value".into(), "value".into()));
    let mut ends = recorder.take();
    ends.sort_by_key(|ended| ended.outcome.label());
    let ends: Vec<_> = ends.iter().map(|ended| (ended.operation, ended.outcome, ended.counts)).collect();
    let fetch = OperationName::Fetch;
    assert_eq!(ends, [(fetch, Outcome::Followed, (0, 1, 0)), (fetch, Outcome::Loaded, (0, 1, 0))]);
}

/// The error of a loader is the caller's, that of wrong use is the client's.
#[tokio::test]
async fn a_failed_fetch_reports_whose_failure_it_was() {
    let server = Memcached::start(&[]);
    let (client, recorder) = observed(&[server.addr()], patient_config());
    let fetch = OperationName::Fetch;
    let fail = || async { Err::<&str, _>(DatabaseError) };
    client.fetch("page", MINUTE, fail).await.unwrap_err();
    assert_eq!(recorder.ended_as(fetch, Outcome::LoaderFailed).counts, (0, 0, 1));
    client.fetch("k".repeat(300), MINUTE, || load("x")).await.unwrap_err();
    recorder.ended_as(fetch, Outcome::Failed(ErrorKind::InvalidKey));
    client.fetch("page", Duration::ZERO, || load("x")).await.unwrap_err();
    recorder.ended_as(fetch, Outcome::Failed(ErrorKind::InvalidArguments));
    let never = std::future::pending::<Result<&str, Error>>;
    let late = client.fetch("page", MINUTE, never).timeout(Duration::from_millis(50)).await.unwrap_err();
    recorder.ended_as(fetch, Outcome::Failed(late.kind()));
    assert_eq!(late.kind(), ErrorKind::TimedOut(Delivery::MaybeSent));

    let (client, recorder) = observed(&[NOWHERE.to_owned()], patient_config());
    client.fetch("page", MINUTE, || load("x")).await.unwrap();
    assert_eq!(recorder.ended_as(fetch, Outcome::Loaded).counts, (0, 1, 0));

    let server = Memcached::start(&["-C"]);
    let (client, recorder) = observed(&[server.addr()], patient_config());
    client.fetch("page", MINUTE, || load("x")).await.unwrap_err();
    recorder.ended_as(fetch, Outcome::Failed(ErrorKind::Unsupported));
}

#[tokio::test]
async fn a_fetch_of_many_counts_each_key() {
    for protocol in PROTOCOLS {
        let server = Memcached::start(&[]);
        let (client, recorder) = observed(&[server.addr()], patient_config().protocol(protocol));
        client.set("a", "A").await.unwrap();
        recorder.take();
        let load = |keys: Vec<&'static str>| async move {
            Ok::<_, Error>(keys.into_iter().filter(|key| *key == "b").map(|key| (key, "B")).collect::<Vec<_>>())
        };
        let keys = ["a", "b", "c", "a"];
        assert_eq!(client.fetch_many(keys, MINUTE, load).await.unwrap().found().count(), 3);
        let many = recorder.ended_as(OperationName::FetchMany, Outcome::Ok);
        assert_eq!((many.keys, many.counts), (4, (2, 2, 0)));
        let long = "k".repeat(300);
        let none = |_| async { Ok::<_, Error>(Vec::<(&str, &str)>::new()) };
        assert!(client.fetch_many(["b", &long], MINUTE, none).await.unwrap().failed().count() == 1);
        let partial = recorder.ended_as(OperationName::FetchMany, Outcome::Failed(ErrorKind::InvalidKey));
        assert_eq!(partial.counts, (1, 0, 1));
        let fail = |_| async { Err::<Vec<(&str, &str)>, _>(DatabaseError) };
        client.fetch_many(["x", "y"], MINUTE, fail).await.unwrap_err();
        assert_eq!(recorder.ended_as(OperationName::FetchMany, Outcome::LoaderFailed).counts, (0, 0, 2));
        client.fetch_many(["x"], FetchPolicy::new(MINUTE).stale_for(MINUTE), none).await.unwrap_err();
        recorder.ended_as(OperationName::FetchMany, Outcome::Failed(ErrorKind::InvalidArguments));
        assert!(client.fetch_many([""; 0], MINUTE, none).await.unwrap().is_empty());
        assert!(recorder.take().is_empty(), "a call without keys");
    }
}

/// Checks every operation of a typed cache, whole and in chunks.
async fn check_cache(client: &Client, recorder: &Recorder, cache: Cache<ByteString, str>) {
    let (ok, hit, miss) = (Outcome::Ok, Outcome::Hit, Outcome::Miss);
    cache.set("a", "1").await.unwrap();
    recorder.ended_as(OperationName::Set, ok);
    assert!(!cache.add("a", "1").await.unwrap().is_applied());
    recorder.ended_as(OperationName::Add, ok);
    assert!(cache.replace("a", "a longer value").await.unwrap().is_applied());
    recorder.ended_as(OperationName::Replace, ok);
    assert!(cache.get("a").await.unwrap().is_some());
    recorder.ended_as(OperationName::Get, hit);
    let (_, cas) = cache.get_with_cas("a").await.unwrap().unwrap();
    recorder.ended_as(OperationName::Get, hit);
    assert!(cache.set_with_cas("a", "2", cas).await.unwrap().is_applied());
    recorder.ended_as(OperationName::Set, ok);
    assert!(cache.get("absent").await.unwrap().is_none());
    recorder.ended_as(OperationName::Get, miss);
    assert!(cache.set_many([("b", "2"), ("c", "a longer value")]).await.is_complete());
    assert_eq!(recorder.ended_as(OperationName::SetMany, ok).keys, 2);
    assert_eq!(cache.get_many(["a", "b", "absent"]).await.found().count(), 2);
    assert_eq!(recorder.ended_as(OperationName::GetMany, ok).counts, (2, 1, 0));
    cache.touch("c", MINUTE).await.unwrap();
    recorder.ended_as(OperationName::Touch, ok);
    cache.get_and_touch("c", MINUTE).await.unwrap();
    recorder.ended_as(OperationName::GetAndTouch, hit);
    cache.update("a", |value| value.map(|value| format!("{value} and a longer value"))).await.unwrap();
    recorder.ended_as(OperationName::Update, ok);
    cache.take("a").await.unwrap();
    recorder.ended_as(OperationName::Take, hit);
    cache.delete("b").await.unwrap();
    recorder.ended_as(OperationName::Delete, ok);
    assert!(cache.delete_many(["b", "c"]).await.is_complete());
    recorder.ended_as(OperationName::DeleteMany, ok);
    cache.fetch("page", MINUTE, || load("a longer value")).await.unwrap();
    recorder.ended_as(OperationName::Fetch, Outcome::Loaded);
    cache.fetch_optional("page", MINUTE, || async { Ok::<_, Error>(None::<String>) }).await.unwrap();
    recorder.ended_as(OperationName::Fetch, hit);
    let many = |_| async { Ok::<_, Error>(vec![("new", "a longer value")]) };
    assert_eq!(cache.fetch_many(["page", "new", "none"], MINUTE, many).await.unwrap().found().count(), 2);
    assert_eq!(recorder.ended_as(OperationName::FetchMany, ok).counts, (1, 2, 0));
    cache.invalidate("page", MINUTE).await.unwrap();
    recorder.ended_as(OperationName::Invalidate, ok);
    client.set(cache.key("bad"), &[0xff][..]).await.unwrap();
    recorder.ended_as(OperationName::Set, ok);
    cache.get("bad").await.unwrap_err();
    assert_eq!(recorder.ended_as(OperationName::Get, Outcome::Failed(ErrorKind::Decode)).counts, (0, 0, 1));
    let unread = cache.fetch("bad", MINUTE, || load("x")).await.unwrap_err();
    recorder.ended_as(OperationName::Fetch, Outcome::Failed(unread.kind()));
}

#[tokio::test]
async fn operations_of_a_typed_cache_have_the_names_of_the_client() {
    for protocol in PROTOCOLS {
        let server = Memcached::start(&[]);
        let (client, recorder) = observed(&[server.addr()], patient_config().protocol(protocol));
        check_cache(&client, &recorder, Cache::new(&client, "whole", Codec::text())).await;
        check_cache(&client, &recorder, Cache::new(&client, "chunked", Codec::text()).chunked(10)).await;
    }
}

#[cfg(feature = "local-cache")]
#[tokio::test]
async fn a_hit_in_the_process_has_no_attempts() {
    let server = Memcached::start(&[]);
    let (client, recorder) = observed(&[server.addr()], patient_config());
    let local = remcache::cache::LocalCache::new(100, MINUTE);
    let cache = Cache::<ByteString, str>::new(&client, "near", Codec::text()).local_cache(local);
    cache.set("a", "1").await.unwrap();
    cache.get("a").await.unwrap();
    recorder.take();
    cache.get("a").await.unwrap();
    assert_eq!(recorder.ended_as(OperationName::Get, Outcome::Hit).attempts, 0);
    cache.fetch("a", MINUTE, || load("x")).await.unwrap();
    assert_eq!(recorder.ended_as(OperationName::Fetch, Outcome::Hit).attempts, 0);
}

#[tokio::test]
async fn operations_of_a_generation_are_reported_once() {
    let server = Memcached::start(&[]);
    let (client, recorder) = observed(&[server.addr()], patient_config());
    let pages = Cache::<ByteString, str>::new(&client, "page", Codec::text()).generation("tag");
    let load = || async { Ok::<_, Error>(Some("value")) };
    pages.fetch_optional("a", MINUTE, load).await.unwrap();
    recorder.ended_as(OperationName::Fetch, Outcome::Loaded);
    pages.fetch_optional("a", MINUTE, load).await.unwrap();
    recorder.ended_as(OperationName::Fetch, Outcome::Hit);
    pages.get("a").await.unwrap();
    recorder.ended_as(OperationName::Get, Outcome::Hit);
    pages.invalidate().await.unwrap();
    recorder.ended_as(OperationName::Invalidate, Outcome::Ok);
    assert!(pages.get("a").await.unwrap().is_none());
    recorder.ended_as(OperationName::Get, Outcome::Miss);
    pages.delete("a").await.unwrap();
    recorder.ended_as(OperationName::Delete, Outcome::Ok);
}

#[tokio::test]
async fn requests_to_servers_and_streams_are_reported_once() {
    let server = Memcached::start(&[]);
    let (client, recorder) = observed(&[server.addr()], patient_config());
    client.set("a", "1").await.unwrap();
    recorder.take();
    let handle = client.servers().remove(0);
    let mut items = handle.metadump();
    while let Some(item) = items.next().await {
        item.unwrap();
    }
    recorder.ended_as(OperationName::Metadump, Outcome::Ok);
    assert!(handle.version().await.is_ok());
    recorder.ended_as(OperationName::Version, Outcome::Ok);
    handle.noop().await.unwrap();
    recorder.ended_as(OperationName::Noop, Outcome::Ok);
    let _ = client.noop().await;
    recorder.ended_as(OperationName::Noop, Outcome::Ok);
    client.flush().await.into_result().unwrap();
    recorder.ended_as(OperationName::Flush, Outcome::Ok);
    handle.flush().await.unwrap();
    recorder.ended_as(OperationName::Flush, Outcome::Ok);
}

#[cfg(feature = "blocking")]
#[test]
fn the_blocking_client_reports_as_the_other_does() {
    let server = Memcached::start(&[]);
    let recorder = Arc::new(Recorder::default());
    let config = patient_config().observer(Arc::clone(&recorder));
    let client = remcache::blocking::Client::with_config([server.addr()], config).unwrap();
    client.set("a", "1").wait().unwrap();
    recorder.ended_as(OperationName::Set, Outcome::Ok);
    client.get("a").wait().unwrap();
    recorder.ended_as(OperationName::Get, Outcome::Hit);
    let lock = client.lock("lock", MINUTE).wait().unwrap().acquired().unwrap();
    recorder.ended_as(OperationName::Lock, Outcome::Ok);
    drop(lock);
    recorder.ended_as(OperationName::Unlock, Outcome::Ok);
    client.fetch("page", MINUTE, || Ok::<_, Error>("value")).wait().unwrap();
    recorder.ended_as(OperationName::Fetch, Outcome::Loaded);
}
