//! G2: dropping a future never harms anybody else, on a real memcached behind a slow proxy, on each protocol.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::future::{Future, IntoFuture};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Waker};
use std::time::Duration;

use bytes::Bytes;
use fastrand::Rng;
use remcache::config::Overload;
use remcache::{Client, Error, Flow, Item, Reply, Request, Status};
use remcache_testkit::{Memcached, Proxy, seed};
use tokio::time::timeout;

use crate::support::{ProtocolMode, only_server, patient_config, protocol_mode_tests, wait_until};

protocol_mode_tests! {
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    a_hundred_thousand_dropped_futures_harm_nobody
}

protocol_mode_tests! {
    #[tokio::test]
    a_dropped_get_never_gives_its_value_to_the_next_one
    dropped_futures_harm_nobody_on_one_thread
    a_dropped_get_many_harms_nobody
    a_dropped_set_many_leaves_whole_values
    dropped_statistics_are_read_and_thrown_away
    a_dropped_wait_for_room_gives_its_place_to_the_next
    a_request_dropped_before_the_connection_is_there_harms_nobody
}

/// A real server behind a proxy, and a client of the proxy.
struct Setting {
    client: Client,
    proxy: Proxy,
    _server: Memcached,
}

impl Setting {
    async fn new(mode: ProtocolMode) -> Self {
        Self::with(mode, patient_config()).await
    }

    async fn with(mode: ProtocolMode, config: remcache::Config) -> Self {
        let server = Memcached::start(&[]);
        let proxy = Proxy::start(server.addr()).await;
        let client = Client::with_config([proxy.addr()], mode.config(config)).unwrap();
        Self { client, proxy, _server: server }
    }

    fn delay_replies(&self, millis: u64) {
        self.proxy.change(|rules| rules.replies.delay = Duration::from_millis(millis));
    }

    /// Nothing is left of dropped futures, and all went over one connection.
    async fn assert_clean(&self) {
        let server = only_server(&self.client);
        wait_until("slots are free", async || (server.in_flight(), server.waiting()) == (0, 0)).await;
        assert_eq!(self.proxy.accepted(), 1, "no reconnect");
    }
}

/// Lets a future begin, and drops it.
fn begin_and_drop(future: impl Future) {
    let mut future = Box::pin(future);
    assert!(future.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
}

async fn a_dropped_get_never_gives_its_value_to_the_next_one(mode: ProtocolMode) {
    let setting = Setting::new(mode).await;
    let client = &setting.client;
    client.set("a", "the value of a").await.unwrap();
    client.set("b", "the value of b").await.unwrap();
    setting.delay_replies(30);
    for round in 0..50 {
        let dropped = timeout(Duration::from_millis(5), client.get("a")).await;
        assert!(dropped.is_err(), "round {round}: the reply came before it could");
        let item = client.get("b").await.unwrap().expect("no false miss");
        assert_eq!(item.value, "the value of b", "round {round}");
    }
    setting.assert_clean().await;
}

/// What happened to futures that may have been dropped.
#[derive(Debug, Default)]
struct Tally {
    dropped: AtomicUsize,
    right: AtomicUsize,
    wrong: AtomicUsize,
    false_misses: AtomicUsize,
    errors: AtomicUsize,
}

const KEYS: usize = 1000;

fn key(n: usize) -> String {
    format!("key{n}")
}

/// A function of the key alone, of another length for each: a wrong value is found.
fn value(n: usize) -> Vec<u8> {
    format!("value {n};").into_bytes().repeat(1 + n % 50)
}

/// What a get gave, however it was asked: the value, none for a miss, or no answer.
type Got = Result<Option<Bytes>, String>;

fn of_reply(reply: Reply) -> Got {
    match reply.status {
        Status::NoError => Ok(Some(reply.value)),
        Status::KeyNotFound => Ok(None),
        other => Err(other.to_string()),
    }
}

fn of_item(item: Result<Option<Item>, Error>) -> Got {
    item.map(|item| item.map(|item| item.value)).map_err(|error| error.to_string())
}

impl Tally {
    fn count(&self, n: usize, got: Got) {
        let counter = match got {
            Ok(Some(got)) if got == value(n) => &self.right,
            Ok(Some(_)) => &self.wrong,
            Ok(None) => &self.false_misses,
            Err(_) => &self.errors,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// One operation, dropped after a random time unless it is ready before.
    async fn one(&self, client: &Client, rng: &mut Rng) {
        let after = Duration::from_micros(rng.u64(0..50_000));
        let n = rng.usize(0..KEYS);
        let finished = match rng.u8(0..10) {
            0 => timeout(after, self.set(client, n)).await,
            1 => timeout(after, self.three(client, n)).await,
            2 => timeout(after, client.call(Request::get(key(n)).quiet())).await.map(|it| self.count(n, of_reply(it))),
            _ => timeout(after, client.get(key(n))).await.map(|it| self.count(n, of_item(it))),
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

    async fn three(&self, client: &Client, first: usize) {
        let numbers = (first..first + 3).map(|n| n % KEYS);
        let got = client.get_many(numbers.clone().map(key)).await;
        for (n, (_, got)) in numbers.zip(got) {
            self.count(n, of_item(got));
        }
    }
}

/// Drops so many futures at random times up to 50 ms, where a reply takes 25 ms.
async fn drop_futures(mode: ProtocolMode, drops: usize) {
    const TASKS: usize = 300;
    let seed = seed();
    let setting = Setting::new(mode).await;
    let stored = setting.client.set_many((0..KEYS).map(|n| (key(n), value(n)))).await;
    assert_eq!(stored.made().count(), KEYS);
    setting.delay_replies(25);
    let tally = Arc::new(Tally::default());
    let tasks: Vec<_> = (0..TASKS as u64)
        .map(|task| {
            let (client, tally) = (setting.client.clone(), Arc::clone(&tally));
            let mut rng = Rng::with_seed(seed.value().wrapping_add(task));
            tokio::spawn(async move {
                let server = only_server(&client);
                while tally.dropped.load(Ordering::Relaxed) < drops {
                    // More than 1,024 given-up requests would be a reason to close the connection.
                    while server.in_flight() > 400 {
                        tokio::time::sleep(Duration::from_millis(1)).await;
                    }
                    tally.one(&client, &mut rng).await;
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let count = |counter: &AtomicUsize| counter.load(Ordering::Relaxed);
    assert!(count(&tally.dropped) >= drops && count(&tally.right) > drops / 10, "{tally:?}");
    assert_eq!((count(&tally.wrong), count(&tally.false_misses), count(&tally.errors)), (0, 0, 0), "{tally:?}");
    setting.assert_clean().await;
    assert_eq!(of_item(setting.client.get(key(1)).await), Ok(Some(value(1).into())));
}

async fn a_hundred_thousand_dropped_futures_harm_nobody(mode: ProtocolMode) {
    drop_futures(mode, 100_000).await;
}

async fn dropped_futures_harm_nobody_on_one_thread(mode: ProtocolMode) {
    drop_futures(mode, 20_000).await;
}

async fn a_dropped_get_many_harms_nobody(mode: ProtocolMode) {
    let setting = Setting::new(mode).await;
    let client = &setting.client;
    let stored = client.set_many((0..KEYS).map(|n| (key(n), value(n)))).await;
    assert!(stored.is_complete());
    setting.delay_replies(30);
    for millis in [0, 1, 5, 20, 40, 60] {
        // Several runs: some are answered, some in flight, some not submitted when the call is dropped.
        let keys = (0..5000).map(|n| key(n % KEYS));
        let _ = timeout(Duration::from_millis(millis), client.get_many(keys)).await;
        let got = client.get(key(millis as usize)).await;
        assert_eq!(of_item(got), Ok(Some(value(millis as usize).into())));
    }
    setting.assert_clean().await;
}

async fn a_dropped_set_many_leaves_whole_values(mode: ProtocolMode) {
    let setting = Setting::new(mode).await;
    let client = &setting.client;
    setting.delay_replies(10);
    let _ = timeout(Duration::from_millis(15), client.set_many((0..5000).map(|n| (key(n), value(n))))).await;
    let got = client.get_many((0..5000).map(key)).await;
    assert!(got.is_complete());
    for (place, (_, got)) in got.into_iter().enumerate() {
        assert!(got.unwrap().is_none_or(|item| item.value == value(place)), "{}", key(place));
    }
    setting.assert_clean().await;
}

async fn dropped_statistics_are_read_and_thrown_away(mode: ProtocolMode) {
    let setting = Setting::new(mode).await;
    let client = &setting.client;
    client.set(key(1), value(1)).await.unwrap();
    let server = only_server(client);
    for read in 0..5 {
        let mut stats = server.stats("settings");
        for _ in 0..read {
            stats.next().await.unwrap().unwrap();
        }
        drop(stats);
        assert_eq!(of_item(client.get(key(1)).await), Ok(Some(value(1).into())));
        client.call_with(Request::stat(""), |_| Flow::Stop);
        begin_and_drop(server.stats("").collect());
    }
    setting.assert_clean().await;
}

async fn a_dropped_wait_for_room_gives_its_place_to_the_next(mode: ProtocolMode) {
    let setting = Setting::with(mode, patient_config().max_in_flight(2).overload(Overload::Wait)).await;
    let client = &setting.client;
    client.set_many((0..10).map(|n| (key(n), value(n)))).await;
    setting.delay_replies(30);
    for _ in 0..10 {
        let in_flight: Vec<_> = (0..2).map(|n| tokio::spawn(get(client.clone(), n))).collect();
        let server = only_server(client);
        wait_until("the connection is full", async || server.in_flight() == 2).await;
        let waiting: Vec<_> = (2..10).map(|n| tokio::spawn(get(client.clone(), n))).collect();
        tokio::task::yield_now().await;
        // Every second one goes away while it waits.
        for abandoned in waiting.iter().step_by(2) {
            abandoned.abort();
        }
        for (n, task) in in_flight
            .into_iter()
            .chain(waiting.into_iter().skip(1).step_by(2))
            .zip([0, 1, 3, 5, 7, 9])
            .map(|(task, n)| (n, task))
        {
            assert_eq!(task.await.unwrap(), Ok(Some(value(n).into())), "{n}");
        }
    }
    setting.assert_clean().await;
}

async fn get(client: Client, n: usize) -> Got {
    of_item(client.get(key(n)).await)
}

async fn a_request_dropped_before_the_connection_is_there_harms_nobody(mode: ProtocolMode) {
    let setting = Setting::new(mode).await;
    let client = &setting.client;
    begin_and_drop(client.set("k", "dropped"));
    begin_and_drop(client.get("k"));
    begin_and_drop(client.get_many(["k", "l"]).into_future());
    client.set("k", "kept").await.unwrap();
    assert_eq!(client.get("k").await.unwrap().unwrap().value, "kept");
    setting.assert_clean().await;
}

#[tokio::test]
async fn a_future_that_was_never_polled_sends_nothing() {
    let setting = Setting::new(ProtocolMode::Meta).await;
    let client = &setting.client;
    drop(client.set("k", "v"));
    drop(client.set_many([("k", "v")]));
    drop(client.replies(Request::set("k", "v")));
    drop(only_server(client).stats(""));
    assert_eq!((setting.proxy.accepted(), only_server(client).in_flight()), (0, 0));
    assert_eq!(client.get("k").await.unwrap(), None);
}
