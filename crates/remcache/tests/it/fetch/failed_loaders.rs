//! Loaders that fail, panic or are dropped at any point: other callers proceed immediately.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::Poll;

use remcache::Client;
use remcache::config::ProtocolSetting;
use remcache_server::Server;

use crate::fetch::paused_fetch::{LoadResult, PausedFetch, two_clients};
use crate::fetch::{PROTOCOLS, client_at, fetch, on_all_servers, patient_policy, stored};
use crate::support::wait_until;

/// The way in which a loader ends without a value.
#[derive(Clone, Copy, Debug)]
enum Failure {
    Fails,
    Panics,
    Dropped,
}

async fn fail(paused: PausedFetch, failure: Failure) {
    match failure {
        Failure::Fails => assert_eq!(paused.finish(LoadResult::Failure).await.unwrap_err(), "the source failed"),
        Failure::Panics => assert!(paused.finish(LoadResult::Panic).await.unwrap_err().contains("panicked")),
        Failure::Dropped => {
            paused.task.abort();
            assert!(paused.task.await.unwrap_err().is_cancelled());
        }
    }
}

/// With leases and waits of an hour, a lease that is not released would block the test.
#[tokio::test]
async fn a_loader_that_does_not_finish_releases_callers_in_all_processes() {
    on_all_servers(async |address, protocol| {
        for failure in [Failure::Fails, Failure::Panics, Failure::Dropped] {
            let (one, other) = two_clients(address, protocol);
            one.delete("key").await.unwrap();
            let first = PausedFetch::start(&one, patient_policy()).await;
            let (second, second_started) = PausedFetch::spawn(&one, patient_policy());
            wait_until("the fetch waits", async || one.servers()[0].in_flight() == 0).await;
            fail(first, failure).await;
            second_started.acquire().await.unwrap().forget();
            let (third, third_started) = PausedFetch::spawn(&other, patient_policy());
            wait_until("the fetch waits", async || other.servers()[0].in_flight() == 0).await;
            fail(second, failure).await;
            third_started.acquire().await.unwrap().forget();
            assert_eq!(
                third.finish(LoadResult::Value("loaded")).await.unwrap().unwrap(),
                "loaded",
                "{protocol}, {failure:?}"
            );
            assert_eq!(stored(&one).await.unwrap(), "loaded", "{protocol}, {failure:?}");
        }
    })
    .await;
}

type FetchFuture = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Polls a future on each turn of the scheduler, at most `times` times, then drops it. Returns whether it completed.
async fn poll_times(mut future: FetchFuture, times: usize) -> bool {
    let mut polls = 0;
    poll_fn(|cx| {
        if polls == times {
            return Poll::Ready(false);
        }
        polls += 1;
        cx.waker().wake_by_ref();
        future.as_mut().poll(cx).map(|()| true)
    })
    .await
}

/// Returns a fetch whose loader returns `loaded` after some polls, and which may only return one of `shown`.
fn fetch_future(
    client: &Client,
    loader_polls: usize,
    loaded: &'static str,
    shown: &'static [&'static str],
) -> FetchFuture {
    let client = client.clone();
    Box::pin(async move {
        let load = move || async move {
            for _ in 0..loader_polls {
                tokio::task::yield_now().await;
            }
            Ok::<_, remcache::Error>(Some(loaded))
        };
        let found = client.fetch_optional("key", patient_policy(), load).await.unwrap().unwrap();
        assert!(shown.iter().any(|value| found == *value), "{found:?}");
    })
}

async fn wait_until_idle(client: &Client) {
    let server = &client.servers()[0];
    wait_until("nothing is in flight", async || (server.in_flight(), server.waiting()) == (0, 0)).await;
}

/// Drops a fetch after some polls; the next callers, in the same process and in another, do not wait. Returns whether
/// the fetch had completed.
async fn drop_one(server: &Server, protocol: ProtocolSetting, times: usize) -> bool {
    let (one, other) = two_clients(&server.address(), protocol);
    one.delete("key").await.unwrap();
    other.get("warm").await.unwrap();
    let completed = poll_times(fetch_future(&one, 3, "value", &["value"]), times).await;
    let next = if times.is_multiple_of(2) { [&one, &other] } else { [&other, &one] };
    for client in next {
        assert_eq!(fetch(client, patient_policy(), "value").await.unwrap(), "value", "{protocol}, {times} polls");
    }
    assert_eq!(stored(&one).await.unwrap(), "value", "{protocol}, {times} polls");
    wait_until_idle(&one).await;
    completed
}

#[tokio::test]
async fn a_fetch_can_be_dropped_at_every_poll() {
    for protocol in PROTOCOLS {
        let server = Server::start().await.unwrap();
        let mut times = 0;
        while !drop_one(&server, protocol, times).await {
            times += 1;
            assert!(times < 10_000, "{protocol}: never completes");
        }
        assert!(times > 5, "{protocol}: completed before it could be dropped");
    }
}

/// Drops a fetch of a value that is due, after some polls; the next callers get the old value or the new one, and
/// reload it, which they could not if the dropped one had kept its lease of an hour. Returns whether the fetch had
/// completed.
async fn drop_one_that_is_due(server: &Server, protocol: ProtocolSetting, times: usize) -> bool {
    let (one, other) = two_clients(&server.address(), protocol);
    one.delete("key").await.unwrap();
    assert_eq!(fetch(&one, patient_policy(), "old").await.unwrap(), "old");
    assert!(one.invalidate("key", crate::fetch::LONG).await.unwrap().is_applied());
    other.get("warm").await.unwrap();
    let completed = poll_times(fetch_future(&one, 3, "new", &["old", "new"]), times).await;
    let next = if times.is_multiple_of(2) { [&one, &other] } else { [&other, &one] };
    let mut is_new = false;
    wait_until(&format!("the value is reloaded, {protocol}, {times} polls"), async || {
        for client in next {
            let shown = fetch(client, patient_policy(), "new").await.unwrap();
            assert!(shown == "new" || (shown == "old" && !is_new), "{protocol}, {times} polls: {shown:?}, {is_new}");
            is_new = stored(client).await.unwrap() == "new";
        }
        is_new
    })
    .await;
    wait_until_idle(&one).await;
    completed
}

#[tokio::test]
async fn a_fetch_of_a_value_that_is_due_can_be_dropped_at_every_poll() {
    for protocol in PROTOCOLS {
        let server = Server::start().await.unwrap();
        let mut times = 0;
        let all = async {
            while !drop_one_that_is_due(&server, protocol, times).await {
                times += 1;
                assert!(times < 10_000, "{protocol}: never completes");
            }
        };
        tokio::time::timeout(crate::fetch::PATIENCE, all).await.unwrap_or_else(|_| panic!("{protocol}: deadlock"));
        assert!(times > 1, "{protocol}: completed before it could be dropped");
    }
}

/// Ten concurrent fetches, each dropped after a random number of polls.
#[tokio::test]
async fn many_fetches_can_be_dropped_at_any_polls() {
    let seed = remcache_testkit::seed();
    let mut rng = seed.rng();
    for protocol in PROTOCOLS {
        let server = Server::start().await.unwrap();
        let (one, other) = two_clients(&server.address(), protocol);
        for round in 0..100 {
            one.delete("key").await.unwrap();
            let mut fetches = tokio::task::JoinSet::new();
            for number in 0..10 {
                let client = [&one, &other][number % 2];
                let times = if rng.u8(..4) == 0 { usize::MAX } else { rng.usize(..200) };
                fetches.spawn(poll_times(fetch_future(client, rng.usize(..20), "value", &["value"]), times));
            }
            fetches.join_all().await;
            let next = fetch(client_of(&one, &other, &mut rng), patient_policy(), "value").await;
            assert_eq!(next.unwrap(), "value", "{protocol}, round {round}");
        }
    }
}

fn client_of<'c>(one: &'c Client, other: &'c Client, rng: &mut fastrand::Rng) -> &'c Client {
    if rng.bool() { one } else { other }
}

/// A fetch that is never polled sends no request.
#[tokio::test]
async fn a_fetch_that_was_never_polled_does_nothing() {
    let server = Server::start().await.unwrap();
    let client = client_at(&server.address(), ProtocolSetting::Meta);
    drop(fetch_future(&client, 0, "value", &["value"]));
    assert_eq!(server.requests(), 0);
}
