//! A TCP proxy that delays, drips, splits, cuts, swallows and refuses on order.

mod connection;
mod pipe;
mod rules;

pub use rules::{Close, Cut, Direction, Rule, Rules, Splits};

use crate::unused_port;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use tokio::net::TcpListener;
use tokio::sync::{Mutex as AsyncMutex, watch};
use tokio::task::JoinHandle;

/// A proxy between a client and a server, on a loopback port of its own.
///
/// Its rules may change at any time. When it is dropped, its connections are reset.
/// It lives on real sockets: a runtime with a paused clock is no place for it.
#[derive(Debug)]
pub struct Proxy {
    addr: SocketAddr,
    shared: Arc<Shared>,
    acceptor: AsyncMutex<Option<JoinHandle<()>>>,
}

impl Proxy {
    /// Starts a proxy that passes everything on to `upstream` (`host:port`), changed in nothing.
    ///
    /// # Panics
    /// When no port can be listened on.
    pub async fn start(upstream: impl Into<String>) -> Self {
        let shared = Arc::new(Shared::new(upstream.into()));
        let (addr, listener) = listen_anywhere().await;
        let acceptor = tokio::spawn(accept(listener, Arc::clone(&shared)));
        Self { addr, shared, acceptor: AsyncMutex::new(Some(acceptor)) }
    }

    /// Where clients connect: `127.0.0.1:PORT`.
    #[must_use]
    pub fn addr(&self) -> String {
        self.addr.to_string()
    }

    /// Changes the rules: `proxy.change(|rules| rules.replies.delay = millis(30))`.
    ///
    /// What the proxy has read already keeps the delay that held when it was read; everything
    /// else holds from the next piece on, on the connections of now and of later.
    pub fn change(&self, change: impl FnOnce(&mut Rules)) {
        change(&mut self.shared.rules.lock().expect(UNPOISONED));
    }

    /// Stops listening: clients that connect are refused, connections go on.
    pub async fn refuse(&self) {
        if let Some(acceptor) = self.acceptor.lock().await.take() {
            acceptor.abort();
            // The listener is closed when its task is gone, and not before.
            let _ = acceptor.await;
        }
    }

    /// Listens again on the same port.
    ///
    /// # Panics
    /// When somebody else took the port meanwhile.
    pub async fn resume(&self) {
        let mut acceptor = self.acceptor.lock().await;
        if acceptor.is_none() {
            let listener = TcpListener::bind(self.addr).await.expect("the port is still ours");
            *acceptor = Some(tokio::spawn(accept(listener, Arc::clone(&self.shared))));
        }
    }

    /// Closes all connections of now, in this way.
    pub fn close_connections(&self, how: Close) {
        self.shared.close_all.send_replace(how);
    }

    /// How many connections were accepted until now.
    #[must_use]
    pub fn accepted(&self) -> u64 {
        self.shared.accepted.load(Ordering::Relaxed)
    }

    /// How many bytes were passed on until now, over all connections.
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

/// What the proxy, its acceptor and its connections have in common.
#[derive(Debug)]
struct Shared {
    upstream: String,
    rules: Mutex<Rules>,
    accepted: AtomicU64,
    requests: AtomicU64,
    replies: AtomicU64,
    /// A message here is an order to the connections that were there when it was sent.
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
    panic!("{PORT_ATTEMPTS} ports of 127.0.0.1 were taken");
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    loop {
        // An error here concerns a connection that is gone already.
        if let Ok((client, _)) = listener.accept().await {
            let number = shared.accepted.fetch_add(1, Ordering::Relaxed);
            let orders = shared.close_all.subscribe();
            let shared = Arc::clone(&shared);
            tokio::spawn(connection::carry(client, shared, orders, number));
        }
    }
}

const UNPOISONED: &str = "no test panics while it changes the rules";
const PORT_ATTEMPTS: usize = 20;
