//! Loaders that fail, panic or are dropped, at any point: the others go on at once.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::Poll;

use remcache::Client;
use remcache::config::ProtocolSetting;
use remcache_server::Server;

use crate::fetch::loader::{Ending, Held, two};
use crate::fetch::{PROTOCOLS, client_at, fetch, on_all, patient_freshness, stored};
use crate::support::wait_until;

/// How a loader leaves its caller.
#[derive(Clone, Copy, Debug)]
enum Leaving {
    Fails,
    Panics,
    IsDropped,
}

async fn leave(held: Held, leaving: Leaving) {
    match leaving {
        Leaving::Fails => assert_eq!(held.end(Ending::Failure).await.unwrap_err(), "the source failed"),
        Leaving::Panics => assert!(held.end(Ending::Panic).await.unwrap_err().contains("panicked")),
        Leaving::IsDropped => {
            held.task.abort();
            assert!(held.task.await.unwrap_err().is_cancelled());
        }
    }
}

/// With leases and waits of an hour, it would hang if anybody waited for what is over.
#[tokio::test]
async fn a_loader_that_leaves_frees_its_process_and_the_fleet() {
    on_all(async |address, protocol| {
        for leaving in [Leaving::Fails, Leaving::Panics, Leaving::IsDropped] {
            let (one, other) = two(address, protocol);
            one.delete("key").await.unwrap();
            let first = Held::begin(&one, patient_freshness()).await;
            let (second, second_began) = Held::ask(&one, patient_freshness());
            wait_until("it waits", async || one.servers()[0].in_flight() == 0).await;
            leave(first, leaving).await;
            second_began.acquire().await.unwrap().forget();
            let (third, third_began) = Held::ask(&other, patient_freshness());
            wait_until("it waits", async || other.servers()[0].in_flight() == 0).await;
            leave(second, leaving).await;
            third_began.acquire().await.unwrap().forget();
            assert_eq!(third.end(Ending::Value("loaded")).await.unwrap().unwrap(), "loaded", "{protocol}, {leaving:?}");
            assert_eq!(stored(&one).await.unwrap(), "loaded", "{protocol}, {leaving:?}");
        }
    })
    .await;
}

type Fetching = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Polls a future at each turn of the scheduler, at most so often; then it is dropped.
async fn poll_times(mut future: Fetching, times: usize) -> bool {
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

/// A fetch whose loader gives `loaded` after so many polls, and which may show nothing else than `shown`.
fn fetching(client: &Client, loader_polls: usize, loaded: &'static str, shown: &'static [&'static str]) -> Fetching {
    let client = client.clone();
    Box::pin(async move {
        let load = move || async move {
            for _ in 0..loader_polls {
                tokio::task::yield_now().await;
            }
            Ok::<_, remcache::Error>(Some(loaded))
        };
        let found = client.fetch("key", patient_freshness(), load).await.unwrap().unwrap();
        assert!(shown.iter().any(|value| found == *value), "{found:?}");
    })
}

async fn nothing_is_left(client: &Client) {
    let server = &client.servers()[0];
    wait_until("nothing is left", async || (server.in_flight(), server.waiting()) == (0, 0)).await;
}

/// Drops a fetch after so many polls; whoever comes next, from the same process and from another, is
/// not kept waiting. Whether the fetch was ready before.
async fn drop_one(server: &Server, protocol: ProtocolSetting, times: usize) -> bool {
    let (one, other) = two(&server.address(), protocol);
    one.delete("key").await.unwrap();
    other.get("warm").await.unwrap();
    let was_ready = poll_times(fetching(&one, 3, "value", &["value"]), times).await;
    let next = if times.is_multiple_of(2) { [&one, &other] } else { [&other, &one] };
    for client in next {
        assert_eq!(fetch(client, patient_freshness(), "value").await.unwrap(), "value", "{protocol}, {times} polls");
    }
    assert_eq!(stored(&one).await.unwrap(), "value", "{protocol}, {times} polls");
    nothing_is_left(&one).await;
    was_ready
}

#[tokio::test]
async fn a_fetch_may_be_dropped_at_every_poll() {
    for protocol in PROTOCOLS {
        let server = Server::start().await.unwrap();
        let mut times = 0;
        while !drop_one(&server, protocol, times).await {
            times += 1;
            assert!(times < 10_000, "{protocol}: never ready");
        }
        assert!(times > 5, "{protocol}: there was nothing to drop");
    }
}

/// Drops a fetch of a value that is due after so many polls; whoever comes next is shown the old value
/// or the new one, and reloads it: with leases of an hour nobody could, had the dropped one kept its own.
/// Whether the fetch was ready before.
async fn drop_one_that_is_due(server: &Server, protocol: ProtocolSetting, times: usize) -> bool {
    let (one, other) = two(&server.address(), protocol);
    one.delete("key").await.unwrap();
    assert_eq!(fetch(&one, patient_freshness(), "old").await.unwrap(), "old");
    assert!(one.invalidate("key", crate::fetch::LONG).await.unwrap().is_applied());
    other.get("warm").await.unwrap();
    let was_ready = poll_times(fetching(&one, 3, "new", &["old", "new"]), times).await;
    let next = if times.is_multiple_of(2) { [&one, &other] } else { [&other, &one] };
    let mut is_new = false;
    wait_until(&format!("it is reloaded, {protocol}, {times} polls"), async || {
        for client in next {
            let shown = fetch(client, patient_freshness(), "new").await.unwrap();
            assert!(shown == "new" || (shown == "old" && !is_new), "{protocol}, {times} polls: {shown:?}, {is_new}");
            is_new = stored(client).await.unwrap() == "new";
        }
        is_new
    })
    .await;
    nothing_is_left(&one).await;
    was_ready
}

#[tokio::test]
async fn a_fetch_of_a_value_that_is_due_may_be_dropped_at_every_poll() {
    for protocol in PROTOCOLS {
        let server = Server::start().await.unwrap();
        let mut times = 0;
        let all = async {
            while !drop_one_that_is_due(&server, protocol, times).await {
                times += 1;
                assert!(times < 10_000, "{protocol}: never ready");
            }
        };
        tokio::time::timeout(crate::fetch::HANGS, all)
            .await
            .unwrap_or_else(|_| panic!("{protocol}: somebody waits for ever"));
        assert!(times > 1, "{protocol}: there was nothing to drop");
    }
}

/// Ten fetches at once, each dropped after a number of polls of its own.
#[tokio::test]
async fn many_fetches_may_be_dropped_at_any_polls() {
    let seed = remcache_testkit::seed();
    let mut rng = seed.rng();
    for protocol in PROTOCOLS {
        let server = Server::start().await.unwrap();
        let (one, other) = two(&server.address(), protocol);
        for round in 0..100 {
            one.delete("key").await.unwrap();
            let mut fetches = tokio::task::JoinSet::new();
            for number in 0..10 {
                let client = [&one, &other][number % 2];
                let times = if rng.u8(..4) == 0 { usize::MAX } else { rng.usize(..200) };
                fetches.spawn(poll_times(fetching(client, rng.usize(..20), "value", &["value"]), times));
            }
            fetches.join_all().await;
            let next = fetch(client_of(&one, &other, &mut rng), patient_freshness(), "value").await;
            assert_eq!(next.unwrap(), "value", "{protocol}, round {round}");
        }
    }
}

fn client_of<'c>(one: &'c Client, other: &'c Client, rng: &mut fastrand::Rng) -> &'c Client {
    if rng.bool() { one } else { other }
}

/// A fetch that nobody polls asks nobody.
#[tokio::test]
async fn a_fetch_that_was_never_polled_does_nothing() {
    let server = Server::start().await.unwrap();
    let client = client_at(&server.address(), ProtocolSetting::Meta);
    drop(fetching(&client, 0, "value", &["value"]));
    assert_eq!(server.requests(), 0);
}
