//! A TCP proxy that injects network faults: delays, throttling, splits, disconnects, lost data and refused connections.

mod connection;
mod pipe;
mod rules;

pub use rules::{Close, Direction, Disconnect, Rule, Rules, Splits};

use crate::unused_port;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use tokio::net::TcpListener;
use tokio::sync::{Mutex as AsyncMutex, watch};
use tokio::task::JoinHandle;

/// A proxy between clients and a server, on its own loopback port.
///
/// Its rules may change at any time. Dropping it resets its connections. It uses real sockets, so it does not work on a
/// runtime with a paused clock.
#[derive(Debug)]
pub struct Proxy {
    addr: SocketAddr,
    shared: Arc<Shared>,
    acceptor: AsyncMutex<Option<JoinHandle<()>>>,
}

impl Proxy {
    /// Starts a proxy that forwards everything unchanged to `upstream` (`host:port`).
    ///
    /// # Panics
    /// Panics if it cannot listen on a port.
    pub async fn start(upstream: impl Into<String>) -> Self {
        let shared = Arc::new(Shared::new(upstream.into()));
        let (addr, listener) = listen_anywhere().await;
        let acceptor = tokio::spawn(accept(listener, Arc::clone(&shared)));
        Self { addr, shared, acceptor: AsyncMutex::new(Some(acceptor)) }
    }

    /// Returns the address that clients connect to: `127.0.0.1:PORT`.
    #[must_use]
    pub fn addr(&self) -> String {
        self.addr.to_string()
    }

    /// Changes the rules: `proxy.change(|rules| rules.replies.delay = millis(30))`.
    ///
    /// New rules apply to open and future connections, from the next piece of data on. Data that was read before keeps
    /// its delay.
    pub fn change(&self, change: impl FnOnce(&mut Rules)) {
        change(&mut self.shared.rules.lock().expect(UNPOISONED));
    }

    /// Stops listening. New connections are refused, open ones stay.
    pub async fn refuse(&self) {
        if let Some(acceptor) = self.acceptor.lock().await.take() {
            acceptor.abort();
            // The listener is closed only when its task has ended.
            let _ = acceptor.await;
        }
    }

    /// Listens again on the same port.
    ///
    /// # Panics
    /// Panics if another process has taken the port.
    pub async fn resume(&self) {
        let mut acceptor = self.acceptor.lock().await;
        if acceptor.is_none() {
            let listener = TcpListener::bind(self.addr).await.expect("the port is free");
            *acceptor = Some(tokio::spawn(accept(listener, Arc::clone(&self.shared))));
        }
    }

    /// Closes all open connections in this way.
    pub fn close_connections(&self, close: Close) {
        self.shared.close_all.send_replace(close);
    }

    /// Returns the number of connections that were accepted.
    #[must_use]
    pub fn accepted(&self) -> u64 {
        self.shared.accepted.load(Ordering::Relaxed)
    }

    /// Returns the number of bytes that were forwarded on all connections.
    #[must_use]
    pub fn passed(&self, direction: Direction) -> u64 {
        self.shared.passed(direction).load(Ordering::Relaxed)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if let Some(acceptor) = self.acceptor.get_mut().take() {
            acceptor.abort();
        }
        self.close_connections(Close::Rst);
    }
}

/// State that the proxy, its accept task and its connections share.
#[derive(Debug)]
struct Shared {
    upstream: String,
    rules: Mutex<Rules>,
    accepted: AtomicU64,
    requests: AtomicU64,
    replies: AtomicU64,
    /// A value that is sent here closes the connections that are open at that time.
    close_all: watch::Sender<Close>,
}

impl Shared {
    fn new(upstream: String) -> Self {
        Self {
            upstream,
            rules: Mutex::default(),
            accepted: AtomicU64::new(0),
            requests: AtomicU64::new(0),
            replies: AtomicU64::new(0),
            close_all: watch::Sender::new(Close::Rst),
        }
    }

    fn rule(&self, direction: Direction) -> Rule {
        let rules = self.rules.lock().expect(UNPOISONED);
        match direction {
            Direction::Requests => rules.requests,
            Direction::Replies => rules.replies,
        }
    }

    fn passed(&self, direction: Direction) -> &AtomicU64 {
        match direction {
            Direction::Requests => &self.requests,
            Direction::Replies => &self.replies,
        }
    }
}

async fn listen_anywhere() -> (SocketAddr, TcpListener) {
    for _ in 0..PORT_ATTEMPTS {
        let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, unused_port()));
        match TcpListener::bind(addr).await {
            Ok(listener) => return (addr, listener),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
            Err(error) => panic!("cannot listen on {addr}: {error}"),
        }
    }
    panic!("{PORT_ATTEMPTS} ports of 127.0.0.1 are in use");
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    loop {
        // An error means that the client has already disconnected.
        if let Ok((client, _)) = listener.accept().await {
            let number = shared.accepted.fetch_add(1, Ordering::Relaxed);
            let close_all = shared.close_all.subscribe();
            let shared = Arc::clone(&shared);
            tokio::spawn(connection::forward(client, shared, close_all, number));
        }
    }
}

const UNPOISONED: &str = "no test panics while it changes the rules";
const PORT_ATTEMPTS: usize = 20;
