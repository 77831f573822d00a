//! When a server counts as down that is only silent, and when it does not.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use remcache::config::{Address, ProtocolSetting};
use remcache::health::ConnectionState;
use remcache::transport::{Connect, Connecting, Stream, TransportSettings};
use remcache::{Client, Config, Delivery, Reply, Request, Status};
use remcache_testkit::{Memcached, Proxy};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use crate::support::{only_server, wait_until};

fn millis(count: u64) -> Duration {
    Duration::from_millis(count)
}

/// So many fetches at once.
async fn fetches(client: &Client, count: usize) -> Vec<Reply> {
    let fetch = |client: Client| async move { client.call(Request::get("k")).await };
    let tasks: Vec<_> = (0..count).map(|_| tokio::spawn(fetch(client.clone()))).collect();
    let mut replies = Vec::new();
    for task in tasks {
        replies.push(task.await.unwrap());
    }
    replies
}

/// The outcome of a call that needs nobody else: it is there with the first poll.
fn at_once(client: &Client) -> Reply {
    let call = pin!(client.call(Request::get("k")));
    match call.poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(reply) => reply,
        Poll::Pending => panic!("the call waits for something"),
    }
}

fn reason(client: &Client) -> Option<String> {
    match only_server(client).state().condition {
        ConnectionState::Down(reason) => Some(reason),
        _ => None,
    }
}

/// Connecting to a stopped server succeeds, and is not enough.
#[tokio::test]
async fn row_02_a_stopped_server_is_down_after_three_timeouts_and_back_when_it_answers() {
    let server = Memcached::start(&[]);
    let proxy = Proxy::start(server.addr()).await;
    let client = Client::with_config([proxy.addr()], Config::new().timeout(millis(500))).unwrap();
    client.set("k", "of k").timeout(Duration::from_secs(60)).await.unwrap();
    server.stop();
    for reply in fetches(&client, 3).await {
        assert_eq!(reply.status, Status::TimedOut(Delivery::MaybeSent));
    }
    wait_until("the breaker opens", async || reason(&client).is_some()).await;
    let before = proxy.accepted();
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(3) || proxy.accepted() < before + 2 {
        let reply = at_once(&client);
        assert_eq!(reply.status, Status::Disconnected(Delivery::NotSent), "{}", reply.text());
        tokio::time::sleep(millis(5)).await;
    }
    // What it answers now to those who have given up reaches nobody.
    server.cont();
    wait_until("it is back", async || client.is_usable()).await;
    for key in ["other", "k", "other", "k"] {
        let item = client.get(key).timeout(Duration::from_secs(60)).await.unwrap();
        assert_eq!(item.map(|item| item.value), (key == "k").then(|| "of k".into()));
    }
}

/// The server answered all the time; it was the program that did not listen.
#[tokio::test]
async fn row_23_a_starved_runtime_is_no_fault_of_the_server() {
    let server = Memcached::start(&[]);
    let client = Client::new([server.addr()]).unwrap();
    client.set("k", "v").timeout(Duration::from_secs(60)).await.unwrap();
    let mut events = client.events();
    for turns in [0, 1, 2, 5] {
        let fetch = |client: Client| async move { client.call(Request::get("k")).await.status };
        let fetches: Vec<_> = (0..50).map(|_| tokio::spawn(fetch(client.clone()))).collect();
        // Nothing was submitted yet; or it was, and not written; or it was written, and not answered.
        for _ in 0..turns {
            tokio::task::yield_now().await;
        }
        std::thread::sleep(Duration::from_millis(2_500));
        for fetch in fetches {
            let status = fetch.await.unwrap();
            assert!(matches!(status, Status::NoError | Status::TimedOut(_)), "{status} after {turns} turns");
        }
        let item = client.get("k").timeout(Duration::from_secs(60)).await.unwrap();
        assert_eq!(item.unwrap().value, "v");
    }
    let news = tokio::time::timeout(millis(1), events.next()).await;
    assert!(news.is_err(), "{news:?}");
    assert_eq!(only_server(&client).metrics().reconnects, 0);
}

// ---- Several connections to one server, in virtual time ----

/// A server in memory that answers no-ops, on all its connections, on all but the first, or on none.
#[derive(Clone, Debug, Default)]
struct Muted {
    all: Arc<AtomicBool>,
    first: Arc<AtomicBool>,
    connections: Arc<AtomicUsize>,
}

impl Muted {
    async fn serve(self, mut stream: DuplexStream, number: usize) {
        let mut header = [0; 24];
        while stream.read_exact(&mut header).await.is_ok() {
            header[0] = 0x81;
            let is_mute = self.all.load(Ordering::Relaxed) || number == 0 && self.first.load(Ordering::Relaxed);
            if !is_mute && stream.write_all(&header).await.is_err() {
                return;
            }
        }
    }
}

impl Connect for Muted {
    fn connect<'a>(&'a self, _: &'a Address, _: &'a TransportSettings) -> Connecting<'a> {
        let (ours, theirs) = tokio::io::duplex(1 << 16);
        let number = self.connections.fetch_add(1, Ordering::Relaxed);
        tokio::spawn(self.clone().serve(theirs, number));
        Box::pin(async move { Ok(Box::new(ours) as Box<dyn Stream>) })
    }
}

/// A client with four connections, all of them open.
async fn four_connections(server: &Muted) -> Client {
    let config = Config::new().connections(4).protocol(ProtocolSetting::Binary).connector(server.clone());
    let client = Client::with_config(["muted"], config).unwrap();
    for _ in 0..4 {
        assert!(client.call(Request::noop()).await.is_ok());
    }
    assert_eq!((only_server(&client).metrics().open, server.connections.load(Ordering::Relaxed)), (4, 4));
    client
}

#[tokio::test(start_paused = true)]
async fn a_silent_server_is_down_after_three_timeouts_and_not_three_a_connection() {
    let server = Muted::default();
    let client = four_connections(&server).await;
    server.all.store(true, Ordering::Relaxed);
    for n in 0..3 {
        assert!(client.is_usable(), "after {n}");
        assert_eq!(client.call(Request::noop()).await.status, Status::TimedOut(Delivery::MaybeSent), "{n}");
    }
    wait_until("the breaker opens", async || !client.is_usable()).await;
    assert!(reason(&client).is_some());
    // Whichever connection's turn it is.
    for _ in 0..8 {
        assert_eq!(at_once(&client).status, Status::Disconnected(Delivery::NotSent));
    }
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(at_once(&client).status, Status::Disconnected(Delivery::NotSent), "connecting is not enough");
    server.all.store(false, Ordering::Relaxed);
    wait_until("it is back", async || client.is_usable()).await;
    for _ in 0..8 {
        assert!(client.call(Request::noop()).await.is_ok());
    }
}

#[tokio::test(start_paused = true)]
async fn one_connection_that_is_stuck_is_replaced_and_the_server_stays_up() {
    let server = Muted::default();
    let client = four_connections(&server).await;
    let mut events = client.events();
    server.first.store(true, Ordering::Relaxed);
    let mut timeouts = 0;
    for _ in 0..40 {
        match client.call(Request::noop()).await.status {
            Status::NoError => {}
            Status::TimedOut(_) => timeouts += 1,
            other => panic!("{other}"),
        }
        assert!(client.is_usable());
    }
    // At the second its oldest request was overdue by another timeout.
    assert_eq!(timeouts, 2, "then its requests went to the others, and to the connection that replaced it");
    wait_until("it is replaced", async || only_server(&client).metrics().open == 4).await;
    assert_eq!(server.connections.load(Ordering::Relaxed), 5);
    let news = tokio::time::timeout(millis(1), events.next()).await;
    assert!(news.is_err(), "{news:?}");
}
