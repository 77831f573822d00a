//! Cut, split and refused connections of a real memcached, most of them through a proxy, on each protocol.

use std::time::Duration;

use remcache::{Client, Config, Delivery, Error, ErrorKind};
use remcache_testkit::{Close, Disconnect, Memcached, Proxy, Splits, seed};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

use crate::faults::support::known_items::{KEYS, fetch_all, keys, store, wait_for_recovery};
use crate::support::{ProtocolMode, patient_config, protocol_mode_tests};

protocol_mode_tests! {
    #[tokio::test]
    connections_reset_within_a_reply_of_memcached
    connections_closed_within_a_reply_of_memcached
    replies_of_memcached_in_single_bytes_and_random_splits
    after_a_restart_with_an_empty_cache_keys_are_misses
    a_server_with_too_many_connections_is_reported_and_rarely_retried
}

/// A server with all keys, a proxy in front of it, and a client of the proxy.
struct Fixture {
    memcached: Memcached,
    proxy: Proxy,
    client: Client,
}

impl Fixture {
    async fn new(mode: ProtocolMode, config: Config) -> Self {
        let memcached = Memcached::start(&[]);
        store(&Client::with_config([memcached.addr()], patient_config()).unwrap()).await;
        let proxy = Proxy::start(memcached.addr()).await;
        let client = Client::with_config([proxy.addr()], mode.config(config)).unwrap();
        Self { memcached, proxy, client }
    }

    async fn fetch_all(&self) -> usize {
        fetch_all(&self.client).await
    }

    /// Waits until all keys can be fetched again.
    async fn wait_for_recovery(&self) {
        wait_for_recovery(|| async { self.fetch_all().await == 0 }).await;
    }
}

fn fast_reconnect() -> Config {
    patient_config().reconnect_delay(Duration::from_millis(1), Duration::from_millis(5))
}

async fn check_cut_replies(mode: ProtocolMode, how: Close) {
    let fixture = Fixture::new(mode, fast_reconnect()).await;
    let seed = seed();
    let mut rng = seed.rng();
    for _ in 0..200 {
        let after = rng.u64(24..60_000);
        fixture.proxy.change(|rules| rules.replies.disconnect = Some(Disconnect::new(after, how)));
        fixture.fetch_all().await;
        fixture.proxy.change(|rules| rules.replies.disconnect = None);
        fixture.wait_for_recovery().await;
    }
    assert!(fixture.proxy.accepted() > 100);
}

async fn connections_reset_within_a_reply_of_memcached(mode: ProtocolMode) {
    check_cut_replies(mode, Close::Rst).await;
}

async fn connections_closed_within_a_reply_of_memcached(mode: ProtocolMode) {
    check_cut_replies(mode, Close::Fin).await;
}

async fn replies_of_memcached_in_single_bytes_and_random_splits(mode: ProtocolMode) {
    let fixture = Fixture::new(mode, patient_config()).await;
    let seed = seed();
    for longest in [1, 1, 2, 3, 7, 30, 100, 1_000, 10_000] {
        let splits = Splits::new(seed.value().wrapping_add(longest as u64), longest);
        fixture.proxy.change(|rules| {
            rules.replies.splits = Some(splits);
            rules.requests.splits = Some(splits);
        });
        assert_eq!(fixture.fetch_all().await, 0, "pieces of up to {longest} bytes");
    }
    assert_eq!(fixture.proxy.accepted(), 1);
}

/// Returns whether an error is acceptable while the server is down.
fn is_disconnected(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Disconnected(_))
}

async fn after_a_restart_with_an_empty_cache_keys_are_misses(mode: ProtocolMode) {
    let mut fixture = Fixture::new(mode, patient_config()).await;
    assert_eq!(fixture.fetch_all().await, 0);
    fixture.memcached.kill();
    let results = fixture.client.get_many(keys()).await;
    assert!(results.failed().all(|(_, error)| is_disconnected(error)));
    assert_eq!(results.failed().count(), KEYS, "an error is not a miss");
    fixture.memcached.restart();
    wait_for_recovery(|| async { fixture.client.get("fixed:1").await.is_ok() }).await;
    let results = fixture.client.get_many(keys()).await;
    assert_eq!(results.missing().count(), KEYS, "the cache is empty");
    assert!(fixture.client.set("fixed:1", "new").await.unwrap().is_applied());
    assert_eq!(fixture.client.get("fixed:1").await.unwrap().unwrap().value, "new");
}

/// Opens connections until the server refuses one.
async fn fill(address: &str) -> Vec<TcpStream> {
    let mut connections = Vec::new();
    loop {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let refusal = timeout(Duration::from_millis(200), stream.read_u8()).await;
        match refusal {
            Err(_) => connections.push(stream),
            Ok(byte) => {
                assert_eq!(byte.unwrap(), b'E', "ERROR Too many open connections");
                return connections;
            }
        }
    }
}

async fn a_server_with_too_many_connections_is_reported_and_rarely_retried(mode: ProtocolMode) {
    let memcached = Memcached::start(&["-c", "20"]);
    let proxy = Proxy::start(memcached.addr()).await;
    let connections = fill(&memcached.addr()).await;
    let client = Client::with_config([proxy.addr()], mode.config(patient_config())).unwrap();
    let start = Instant::now();
    let (mut explained, mut calls) = (0, 0);
    while start.elapsed() < Duration::from_secs(6) {
        let error = client.get("fixed:1").await.expect_err("the server accepts no connection");
        assert!(is_disconnected(&error), "{error:?}");
        assert!(calls == 0 || error.kind() == ErrorKind::Disconnected(Delivery::NotSent));
        explained += usize::from(error.to_string().contains("too many open connections"));
        calls += 1;
        sleep(Duration::from_millis(5)).await;
    }
    assert!(explained > 0, "none of {calls} errors names the cause");
    assert!(proxy.accepted() <= 20, "{} attempts", proxy.accepted());
    drop(connections);
    wait_for_recovery(|| async { matches!(client.get("fixed:1").await, Ok(None)) }).await;
}
