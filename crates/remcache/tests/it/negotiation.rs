//! Protocol negotiation if connections are closed before a reply: by a server that restarts, a load balancer without
//! a backend, or a proxy that closes on unknown commands.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use remcache::config::{Credentials, ProtocolSetting};
use remcache::{Client, Config, Request, Status};
use remcache_server::Server;
use remcache_testkit::{Memcached, SASL_PASSWORD, SASL_USER};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};

use crate::support::{patient_config, wait_until};

/// The way in which a connection is closed before the first reply.
#[derive(Clone, Copy, Debug)]
enum Close {
    /// Gracefully, after the first bytes were received.
    Fin,
    /// By a reset, as by a load balancer without a backend.
    Reset,
}

/// A load balancer that closes the first connections, and forwards the others.
#[derive(Clone, Debug)]
struct Balancer {
    address: SocketAddr,
    /// Number of further connections that are closed.
    to_close: Arc<AtomicUsize>,
}

impl Balancer {
    async fn start(upstream: String, to_close: usize, close: Close) -> Self {
        Self::before(Arc::new(Mutex::new(upstream)), to_close, close).await
    }

    /// Starts a balancer whose upstream may change.
    async fn before(upstream: Arc<Mutex<String>>, to_close: usize, close: Close) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let to_close = Arc::new(AtomicUsize::new(to_close));
        let left = Arc::clone(&to_close);
        tokio::spawn(async move {
            loop {
                let (mut client, _) = listener.accept().await.unwrap();
                let is_closed =
                    left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok();
                let upstream = upstream.lock().unwrap().clone();
                tokio::spawn(async move {
                    if is_closed {
                        // Closing a socket with unread bytes would send a reset.
                        let mut received = [0; 512];
                        let _ = client.read(&mut received).await;
                        match close {
                            Close::Fin => drop(client),
                            Close::Reset => client.set_zero_linger().unwrap(),
                        }
                        return;
                    }
                    if let Ok(mut server) = TcpStream::connect(upstream).await {
                        let _ = copy_bidirectional(&mut client, &mut server).await;
                    }
                });
            }
        });
        Self { address, to_close }
    }

    fn client(&self, config: Config) -> Client {
        let config = config.reconnect_delay(Duration::from_millis(1), Duration::from_millis(5));
        Client::with_config([self.address.to_string()], config).unwrap()
    }
}

/// Returns whether the client uses meta, the only protocol with both binary keys and inspection.
async fn uses_meta(client: &Client) -> bool {
    let inspected = client.call(Request::inspect("a key")).await.status;
    client.set("a key", "v").await.is_ok() && matches!(inspected, Status::NoError | Status::KeyNotFound)
}

async fn assert_uses_meta(client: &Client, what: &str) {
    wait_until(what, async || client.get("k").await.is_ok()).await;
    assert!(uses_meta(client).await, "{what}");
}

/// Returns whether the client uses binary, the only protocol with binary keys but without inspection.
async fn uses_binary(client: &Client) -> bool {
    let inspected = client.call(Request::inspect("k")).await.status;
    client.set("a key", "v").await.is_ok() && inspected == Status::Unsupported
}

#[tokio::test]
async fn a_few_closed_connections_do_not_determine_the_protocol() {
    let server = Memcached::start(&[]);
    for close in [Close::Fin, Close::Reset] {
        for closed in 0..=3 {
            let balancer = Balancer::start(server.addr(), closed, close).await;
            let client = balancer.client(patient_config());
            assert_uses_meta(&client, &format!("{closed} connections closed by {close:?}")).await;
        }
    }
}

#[tokio::test]
async fn a_protocol_assumed_from_closed_connections_is_checked_again() {
    for closed in 0..8 {
        let mut server = Memcached::start(&[]);
        let balancer = Balancer::start(server.addr(), closed, Close::Fin).await;
        let client = balancer.client(patient_config());
        wait_until("a connection", async || client.get("k").await.is_ok()).await;
        server.restart();
        wait_until("it noticed", async || client.servers()[0].metrics().open == 0).await;
        assert_uses_meta(&client, &format!("after {closed} closed connections and a restart")).await;
    }
}

#[tokio::test]
async fn closed_connections_after_a_restart_do_not_determine_the_protocol() {
    for closed in 1..=3 {
        let mut server = Memcached::start(&[]);
        let balancer = Balancer::start(server.addr(), 0, Close::Reset).await;
        let client = balancer.client(patient_config());
        assert_uses_meta(&client, "at first").await;
        server.restart();
        balancer.to_close.store(closed, Ordering::SeqCst);
        wait_until("it noticed", async || client.servers()[0].metrics().open == 0).await;
        assert_uses_meta(&client, &format!("{closed} connections closed after a restart")).await;
    }
}

#[tokio::test]
async fn binary_only_servers_are_detected() {
    for closed in 0..=2 {
        let server = Memcached::start(&["-B", "binary"]);
        let balancer = Balancer::start(server.addr(), closed, Close::Fin).await;
        let client = balancer.client(patient_config());
        wait_until("a connection", async || client.get("k").await.is_ok()).await;
        assert!(uses_binary(&client).await, "{closed} connections closed");

        let server = Memcached::start_sasl(&[]);
        let balancer = Balancer::start(server.addr(), closed, Close::Fin).await;
        let client = balancer.client(patient_config().credentials(Credentials::new(SASL_USER, SASL_PASSWORD)));
        wait_until("a connection", async || client.get("k").await.is_ok()).await;
        assert!(uses_binary(&client).await, "SASL, {closed} connections closed");
    }
}

#[tokio::test]
async fn after_an_upgrade_a_server_is_used_with_meta() {
    let old = Server::builder().version("1.4.39").start().await.unwrap();
    let new = Memcached::start(&[]);
    let upstream = Arc::new(Mutex::new(old.address()));
    let balancer = Balancer::before(Arc::clone(&upstream), 0, Close::Fin).await;
    let client = balancer.client(patient_config());
    wait_until("a connection", async || client.get("k").await.is_ok()).await;
    assert!(uses_binary(&client).await);
    new.addr().clone_into(&mut upstream.lock().unwrap());
    old.stop().await;
    wait_until("it noticed", async || client.servers()[0].metrics().open == 0).await;
    assert_uses_meta(&client, "after the upgrade").await;
}

/// Starts a proxy that supports `get`, `gets` and optionally `version`, and closes on other commands.
async fn few_commands(version: Option<&'static str>) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let accepted = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&accepted);
    tokio::spawn(async move {
        loop {
            let (client, _) = listener.accept().await.unwrap();
            count.fetch_add(1, Ordering::SeqCst);
            tokio::spawn(async move {
                let mut client = BufReader::new(client);
                let mut line = Vec::new();
                while matches!(client.read_until(b'\n', &mut line).await, Ok(1..)) {
                    let reply = match &*line {
                        [b'g', b'e', b't', ..] => "END\r\n".to_owned(),
                        b"version\r\n" if version.is_some() => format!("VERSION {}\r\n", version.unwrap_or_default()),
                        _ => return,
                    };
                    client.write_all(reply.as_bytes()).await.unwrap();
                    line.clear();
                }
            });
        }
    });
    (address, accepted)
}

#[tokio::test]
async fn a_proxy_that_closes_on_unknown_commands_is_used_with_text() {
    for version in [None, Some("0.5.0"), Some("1.6.18")] {
        let (address, accepted) = few_commands(version).await;
        let client = Client::with_config([address.to_string()], patient_config()).unwrap();
        assert_eq!(client.get("k").await.unwrap(), None, "{version:?}");
        assert!(client.set("a key", "v").await.is_err(), "{version:?}: not the text protocol");
        assert!(accepted.load(Ordering::SeqCst) <= 5, "{version:?}: {accepted:?} connections");
    }
}

#[tokio::test]
async fn a_configured_protocol_is_not_negotiated() {
    let server = Memcached::start(&[]);
    let balancer = Balancer::start(server.addr(), 2, Close::Fin).await;
    let client = balancer.client(patient_config().protocol(ProtocolSetting::Meta));
    wait_until("a connection", async || client.get("k").await.is_ok()).await;
    assert!(uses_meta(&client).await);
}
