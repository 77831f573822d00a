//! The circuit breaker: when an unresponsive server is marked down, and up again.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use remcache::config::{Address, ProtocolSetting};
use remcache::health::ConnectionState;
use remcache::transport::{Connect, ConnectFuture, Stream, TransportSettings};
use remcache::{Client, Config, Delivery, Reply, Request, Status};
use remcache_testkit::{Memcached, Proxy};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use crate::support::{only_server, wait_until};

fn millis(count: u64) -> Duration {
    Duration::from_millis(count)
}

/// Sends concurrent gets and returns the replies.
async fn concurrent_gets(client: &Client, count: usize) -> Vec<Reply> {
    let get = |client: Client| async move { client.call(Request::get("k")).await };
    let tasks: Vec<_> = (0..count).map(|_| tokio::spawn(get(client.clone()))).collect();
    let mut replies = Vec::new();
    for task in tasks {
        replies.push(task.await.unwrap());
    }
    replies
}

/// Returns the reply of a call that completes on the first poll.
fn immediate_reply(client: &Client) -> Reply {
    let call = pin!(client.call(Request::get("k")));
    match call.poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(reply) => reply,
        Poll::Pending => panic!("the call is pending"),
    }
}

fn reason(client: &Client) -> Option<String> {
    match only_server(client).status().state {
        ConnectionState::Down(reason) => Some(reason),
        _ => None,
    }
}

/// The kernel accepts connections to a stopped server, which does not make it usable.
#[tokio::test]
async fn a_stopped_server_is_down_after_three_timeouts_and_up_when_it_answers() {
    let server = Memcached::start(&[]);
    let proxy = Proxy::start(server.addr()).await;
    let client = Client::with_config([proxy.addr()], Config::new().timeout(millis(2_000))).unwrap();
    let stored = async || client.set("k", "value of k").timeout(Duration::from_secs(60)).await.is_ok();
    wait_until("the client connects", stored).await;
    server.stop();
    for reply in concurrent_gets(&client, 3).await {
        assert_eq!(reply.status, Status::TimedOut(Delivery::MaybeSent));
    }
    wait_until("the breaker opens", async || reason(&client).is_some()).await;
    let before = proxy.accepted();
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(3) || proxy.accepted() < before + 2 {
        let reply = immediate_reply(&client);
        assert_eq!(reply.status, Status::Disconnected(Delivery::NotSent), "{}", reply.text());
        tokio::time::sleep(millis(5)).await;
    }
    // Its late replies to requests that timed out are discarded.
    server.cont();
    wait_until("the server is up", async || client.is_usable()).await;
    for key in ["other", "k", "other", "k"] {
        let item = client.get(key).timeout(Duration::from_secs(60)).await.unwrap();
        assert_eq!(item.map(|item| item.value), (key == "k").then(|| "value of k".into()));
    }
}

/// The server answered in time, but the program did not run to read the replies.
#[tokio::test]
async fn a_starved_runtime_does_not_mark_the_server_down() {
    let server = Memcached::start(&[]);
    let client = Client::with_config([server.addr()], Config::new().timeout(millis(2_000))).unwrap();
    let stored = async || client.set("k", "v").timeout(Duration::from_secs(60)).await.is_ok();
    wait_until("the client connects", stored).await;
    let mut events = client.events();
    for turns in [0, 1, 2, 5] {
        let get = |client: Client| async move { client.call(Request::get("k")).await.status };
        let gets: Vec<_> = (0..50).map(|_| tokio::spawn(get(client.clone()))).collect();
        // The requests are not yet submitted; submitted but not written; or written but not answered.
        for _ in 0..turns {
            tokio::task::yield_now().await;
        }
        std::thread::sleep(millis(5_000));
        for get in gets {
            let status = get.await.unwrap();
            assert!(matches!(status, Status::NoError | Status::TimedOut(_)), "{status} after {turns} turns");
        }
        let item = client.get("k").timeout(Duration::from_secs(60)).await.unwrap();
        assert_eq!(item.unwrap().value, "v");
    }
    let event = tokio::time::timeout(millis(1), events.next()).await;
    assert!(event.is_err(), "{event:?}");
    assert_eq!(only_server(&client).metrics().reconnects, 0);
}

// ---- Several connections to one server, in virtual time ----

/// An in-memory server that answers no-ops, except on its first or on all connections while these are unresponsive.
#[derive(Clone, Debug, Default)]
struct UnresponsiveConnections {
    all: Arc<AtomicBool>,
    first: Arc<AtomicBool>,
    connections: Arc<AtomicUsize>,
}

impl UnresponsiveConnections {
    async fn serve(self, mut stream: DuplexStream, number: usize) {
        let mut header = [0; 24];
        while stream.read_exact(&mut header).await.is_ok() {
            header[0] = 0x81;
            let is_unresponsive = self.all.load(Ordering::Relaxed) || number == 0 && self.first.load(Ordering::Relaxed);
            if !is_unresponsive && stream.write_all(&header).await.is_err() {
                return;
            }
        }
    }
}

impl Connect for UnresponsiveConnections {
    fn connect<'a>(&'a self, _: &'a Address, _: &'a TransportSettings) -> ConnectFuture<'a> {
        let (ours, theirs) = tokio::io::duplex(1 << 16);
        let number = self.connections.fetch_add(1, Ordering::Relaxed);
        tokio::spawn(self.clone().serve(theirs, number));
        Box::pin(async move { Ok(Box::new(ours) as Box<dyn Stream>) })
    }
}

/// Returns a client with four open connections.
async fn four_connections(server: &UnresponsiveConnections) -> Client {
    let config = Config::new().connections(4).protocol(ProtocolSetting::Binary).connector(server.clone());
    let client = Client::with_config(["server"], config).unwrap();
    for _ in 0..4 {
        assert!(client.call(Request::noop()).await.is_ok());
    }
    assert_eq!((only_server(&client).metrics().open, server.connections.load(Ordering::Relaxed)), (4, 4));
    client
}

#[tokio::test(start_paused = true)]
async fn an_unresponsive_server_is_down_after_three_timeouts_in_total() {
    let server = UnresponsiveConnections::default();
    let client = four_connections(&server).await;
    server.all.store(true, Ordering::Relaxed);
    for n in 0..3 {
        assert!(client.is_usable(), "after {n}");
        assert_eq!(client.call(Request::noop()).await.status, Status::TimedOut(Delivery::MaybeSent), "{n}");
    }
    wait_until("the breaker opens", async || !client.is_usable()).await;
    assert!(reason(&client).is_some());
    // Whichever connection is next.
    for _ in 0..8 {
        assert_eq!(immediate_reply(&client).status, Status::Disconnected(Delivery::NotSent));
    }
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(
        immediate_reply(&client).status,
        Status::Disconnected(Delivery::NotSent),
        "the server accepts connections but never answers"
    );
    server.all.store(false, Ordering::Relaxed);
    wait_until("the server is up", async || client.is_usable()).await;
    for _ in 0..8 {
        assert!(client.call(Request::noop()).await.is_ok());
    }
}

#[tokio::test(start_paused = true)]
async fn a_stuck_connection_is_replaced_and_the_server_stays_up() {
    let server = UnresponsiveConnections::default();
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
    // At the second timeout, the oldest request of the connection was a whole timeout overdue.
    assert_eq!(timeouts, 2, "later requests use the other connections and the new one");
    wait_until("the connection is replaced", async || only_server(&client).metrics().open == 4).await;
    assert_eq!(server.connections.load(Ordering::Relaxed), 5);
    let event = tokio::time::timeout(millis(1), events.next()).await;
    assert!(event.is_err(), "{event:?}");
}
