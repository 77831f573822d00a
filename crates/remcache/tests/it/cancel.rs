//! G2: dropping a future never affects another call, with a real memcached behind a slow proxy, on each protocol.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::future::{Future, IntoFuture};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Waker};
use std::time::Duration;

use bytes::Bytes;
use fastrand::Rng;
use remcache::config::Overload;
use remcache::{Client, Error, Item, Reply, Request, Status};
use remcache_testkit::{Memcached, Proxy, seed};
use tokio::time::timeout;

use crate::support::{ProtocolMode, only_server, patient_config, protocol_mode_tests, wait_until};

protocol_mode_tests! {
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    a_hundred_thousand_dropped_futures_affect_no_other_call
}

protocol_mode_tests! {
    #[tokio::test]
    the_reply_to_a_dropped_get_is_never_returned_to_another
    dropped_futures_affect_no_other_call_on_one_thread
    a_dropped_get_many_affects_no_other_call
    a_dropped_set_many_leaves_complete_values
    replies_of_dropped_statistics_are_discarded
    a_call_dropped_while_it_waits_for_capacity_lets_the_next_proceed
    a_request_dropped_before_the_connection_is_open_affects_no_other_call
}

/// A real server behind a proxy, and a client of the proxy.
struct Fixture {
    client: Client,
    proxy: Proxy,
    server: Memcached,
}

impl Fixture {
    async fn new(mode: ProtocolMode) -> Self {
        Self::with(mode, patient_config()).await
    }

    async fn with(mode: ProtocolMode, config: remcache::Config) -> Self {
        let server = Memcached::start(&[]);
        let proxy = Proxy::start(server.addr()).await;
        let client = Client::with_config([proxy.addr()], mode.config(config)).unwrap();
        Self { client, proxy, server }
    }

    fn delay_replies(&self, millis: u64) {
        self.proxy.change(|rules| rules.replies.delay = Duration::from_millis(millis));
    }

    /// Asserts that dropped futures leave nothing in flight, and that the client never reconnected.
    async fn assert_clean(&self) {
        let server = only_server(&self.client);
        wait_until("nothing is in flight", async || (server.in_flight(), server.waiting()) == (0, 0)).await;
        assert_eq!(self.proxy.accepted(), 1, "no reconnect");
    }
}

/// Polls a future once and drops it.
fn poll_once_and_drop(future: impl Future) {
    let mut future = Box::pin(future);
    assert!(future.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
}

async fn the_reply_to_a_dropped_get_is_never_returned_to_another(mode: ProtocolMode) {
    let fixture = Fixture::new(mode).await;
    let client = &fixture.client;
    client.set("a", "value of a").await.unwrap();
    client.set("b", "value of b").await.unwrap();
    for round in 0..50 {
        // A stopped server cannot reply before the future is dropped.
        fixture.server.stop();
        let dropped = timeout(Duration::from_millis(5), client.get("a")).await;
        assert!(dropped.is_err(), "round {round}: a reply from a stopped server");
        fixture.server.cont();
        let item = client.get("b").await.unwrap().expect("no false miss");
        assert_eq!(item.value, "value of b", "round {round}");
    }
    fixture.assert_clean().await;
}

/// The numbers of calls by their end.
#[derive(Debug, Default)]
struct Counts {
    dropped: AtomicUsize,
    correct: AtomicUsize,
    wrong: AtomicUsize,
    false_misses: AtomicUsize,
    errors: AtomicUsize,
}

const KEYS: usize = 1000;

fn key(n: usize) -> String {
    format!("key{n}")
}

/// Returns the value of a key, which is unique to the key, so that a wrong value is detected.
fn value(n: usize) -> Vec<u8> {
    format!("value {n};").into_bytes().repeat(1 + n % 50)
}

/// The result of a get: the value, `None` for a miss, or an error.
type GetResult = Result<Option<Bytes>, String>;

fn reply_result(reply: Reply) -> GetResult {
    match reply.status {
        Status::NoError => Ok(Some(reply.value)),
        Status::KeyNotFound => Ok(None),
        other => Err(other.to_string()),
    }
}

fn item_result(item: Result<Option<Item>, Error>) -> GetResult {
    item.map(|item| item.map(|item| item.value)).map_err(|error| error.to_string())
}

impl Counts {
    fn count(&self, n: usize, got: GetResult) {
        let counter = match got {
            Ok(Some(got)) if got == value(n) => &self.correct,
            Ok(Some(_)) => &self.wrong,
            Ok(None) => &self.false_misses,
            Err(_) => &self.errors,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Runs an operation and drops it after a random time unless it completes first.
    async fn run_one(&self, client: &Client, rng: &mut Rng) {
        // On a slow machine few calls complete within 50 ms: then some get more time.
        let is_slow = self.correct.load(Ordering::Relaxed) * 5 < self.dropped.load(Ordering::Relaxed);
        let after = Duration::from_micros(rng.u64(0..if is_slow { 500_000 } else { 50_000 }));
        let n = rng.usize(0..KEYS);
        let finished = match rng.u8(0..10) {
            0 => timeout(after, self.set(client, n)).await,
            1 => timeout(after, self.get_three(client, n)).await,
            2 => timeout(after, client.call(Request::get(key(n)).quiet()))
                .await
                .map(|it| self.count(n, reply_result(it))),
            _ => timeout(after, client.get(key(n))).await.map(|it| self.count(n, item_result(it))),
        };
        if finished.is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    async fn set(&self, client: &Client, n: usize) {
        if client.set(key(n), value(n)).await.is_err() {
            self.errors.fetch_add(1, Ordering::Relaxed);
        }
    }

    async fn get_three(&self, client: &Client, first: usize) {
        let numbers = (first..first + 3).map(|n| n % KEYS);
        let got = client.get_many(numbers.clone().map(key)).await;
        for (n, (_, got)) in numbers.zip(got) {
            self.count(n, item_result(got));
        }
    }
}

/// Drops this many futures after random times of up to 50 ms, while a reply takes 25 ms.
async fn drop_futures(mode: ProtocolMode, drops: usize) {
    const TASKS: usize = 300;
    let seed = seed();
    let fixture = Fixture::new(mode).await;
    let stored = fixture.client.set_many((0..KEYS).map(|n| (key(n), value(n)))).await;
    assert_eq!(stored.applied().count(), KEYS);
    fixture.delay_replies(25);
    let counts = Arc::new(Counts::default());
    let tasks: Vec<_> = (0..TASKS as u64)
        .map(|task| {
            let (client, counts) = (fixture.client.clone(), Arc::clone(&counts));
            let mut rng = Rng::with_seed(seed.value().wrapping_add(task));
            tokio::spawn(async move {
                let server = only_server(&client);
                while counts.dropped.load(Ordering::Relaxed) < drops {
                    // The client closes a connection with more than 1,024 abandoned requests.
                    while server.in_flight() > 400 {
                        tokio::time::sleep(Duration::from_millis(1)).await;
                    }
                    counts.run_one(&client, &mut rng).await;
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let count = |counter: &AtomicUsize| counter.load(Ordering::Relaxed);
    assert!(count(&counts.dropped) >= drops && count(&counts.correct) > drops / 10, "{counts:?}");
    assert_eq!((count(&counts.wrong), count(&counts.false_misses), count(&counts.errors)), (0, 0, 0), "{counts:?}");
    fixture.assert_clean().await;
    assert_eq!(item_result(fixture.client.get(key(1)).await), Ok(Some(value(1).into())));
}

async fn a_hundred_thousand_dropped_futures_affect_no_other_call(mode: ProtocolMode) {
    drop_futures(mode, 100_000).await;
}

async fn dropped_futures_affect_no_other_call_on_one_thread(mode: ProtocolMode) {
    drop_futures(mode, 20_000).await;
}

async fn a_dropped_get_many_affects_no_other_call(mode: ProtocolMode) {
    let fixture = Fixture::new(mode).await;
    let client = &fixture.client;
    let stored = client.set_many((0..KEYS).map(|n| (key(n), value(n)))).await;
    assert!(stored.is_complete());
    fixture.delay_replies(30);
    for millis in [0, 1, 5, 20, 40, 60] {
        // When the call is dropped, some requests are answered, some in flight, and some not submitted.
        let keys = (0..5000).map(|n| key(n % KEYS));
        let _ = timeout(Duration::from_millis(millis), client.get_many(keys)).await;
        let got = client.get(key(millis as usize)).await;
        assert_eq!(item_result(got), Ok(Some(value(millis as usize).into())));
    }
    fixture.assert_clean().await;
}

async fn a_dropped_set_many_leaves_complete_values(mode: ProtocolMode) {
    let fixture = Fixture::new(mode).await;
    let client = &fixture.client;
    fixture.delay_replies(10);
    let _ = timeout(Duration::from_millis(15), client.set_many((0..5000).map(|n| (key(n), value(n))))).await;
    let got = client.get_many((0..5000).map(key)).await;
    assert!(got.is_complete());
    for (n, (_, got)) in got.into_iter().enumerate() {
        assert!(got.unwrap().is_none_or(|item| item.value == value(n)), "{}", key(n));
    }
    fixture.assert_clean().await;
}

async fn replies_of_dropped_statistics_are_discarded(mode: ProtocolMode) {
    let fixture = Fixture::new(mode).await;
    let client = &fixture.client;
    client.set(key(1), value(1)).await.unwrap();
    let server = only_server(client);
    for read in 0..5 {
        let mut stats = server.stats("settings");
        for _ in 0..read {
            stats.next().await.unwrap().unwrap();
        }
        drop(stats);
        assert_eq!(item_result(client.get(key(1)).await), Ok(Some(value(1).into())));
        client.call_with(Request::stat(""), |_| ControlFlow::Break(()));
        poll_once_and_drop(server.stats("").collect());
    }
    fixture.assert_clean().await;
}

async fn a_call_dropped_while_it_waits_for_capacity_lets_the_next_proceed(mode: ProtocolMode) {
    let fixture = Fixture::with(mode, patient_config().max_in_flight(2).overload(Overload::Wait)).await;
    let client = &fixture.client;
    let _ = client.set_many((0..10).map(|n| (key(n), value(n)))).await;
    for _ in 0..10 {
        // A stopped server keeps the connection full.
        fixture.server.stop();
        let in_flight: Vec<_> = (0..2).map(|n| tokio::spawn(get(client.clone(), n))).collect();
        let server = only_server(client);
        wait_until("the connection is full", async || server.in_flight() == 2).await;
        let waiting: Vec<_> = (2..10).map(|n| tokio::spawn(get(client.clone(), n))).collect();
        tokio::task::yield_now().await;
        // Every second call is dropped while it waits.
        for dropped in waiting.iter().step_by(2) {
            dropped.abort();
        }
        fixture.server.cont();
        for (n, task) in in_flight
            .into_iter()
            .chain(waiting.into_iter().skip(1).step_by(2))
            .zip([0, 1, 3, 5, 7, 9])
            .map(|(task, n)| (n, task))
        {
            assert_eq!(task.await.unwrap(), Ok(Some(value(n).into())), "{n}");
        }
    }
    fixture.assert_clean().await;
}

async fn get(client: Client, n: usize) -> GetResult {
    item_result(client.get(key(n)).await)
}

async fn a_request_dropped_before_the_connection_is_open_affects_no_other_call(mode: ProtocolMode) {
    let fixture = Fixture::new(mode).await;
    let client = &fixture.client;
    poll_once_and_drop(client.set("k", "dropped"));
    poll_once_and_drop(client.get("k"));
    poll_once_and_drop(client.get_many(["k", "l"]).into_future());
    client.set("k", "kept").await.unwrap();
    assert_eq!(client.get("k").await.unwrap().unwrap().value, "kept");
    fixture.assert_clean().await;
}

#[tokio::test]
async fn a_future_that_was_never_polled_sends_nothing() {
    let fixture = Fixture::new(ProtocolMode::Meta).await;
    let client = &fixture.client;
    drop(client.set("k", "v"));
    drop(client.set_many([("k", "v")]));
    drop(client.replies(Request::set("k", "v")));
    drop(only_server(client).stats(""));
    assert_eq!((fixture.proxy.accepted(), only_server(client).in_flight()), (0, 0));
    assert_eq!(client.get("k").await.unwrap(), None);
}
