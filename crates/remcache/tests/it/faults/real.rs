//! Rows 3, 4, 5, 14 and 16 with real memcached, most of them through a proxy, on each protocol.

use std::time::Duration;

use remcache::{Client, Config, Delivery, Error, ErrorKind};
use remcache_testkit::{Close, Disconnect, Memcached, Proxy, Splits, seed};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

use crate::faults::support::fetch::{HANG, KEYS, fetch, keys, recover, store};
use crate::support::Speech;
use crate::support::on_each_protocol;

on_each_protocol! {
    #[tokio::test]
    row_03_rst_mid_reply_of_memcached
    row_04_fin_mid_reply_of_memcached
    row_05_replies_of_memcached_one_byte_at_a_time_and_split
    row_14_a_restart_with_an_empty_cache_gives_honest_misses
    row_16_a_server_without_room_is_named_and_not_pestered
}

/// A server with all keys, a proxy in front of it, and a client of the proxy.
struct Stage {
    memcached: Memcached,
    proxy: Proxy,
    client: Client,
}

impl Stage {
    async fn new(speech: Speech, config: Config) -> Self {
        let memcached = Memcached::start(&[]);
        store(&Client::new([memcached.addr()]).unwrap()).await;
        let proxy = Proxy::start(memcached.addr()).await;
        let client = Client::with_config([proxy.addr()], speech.config(config)).unwrap();
        Self { memcached, proxy, client }
    }

    async fn fetch(&self) -> usize {
        fetch(&self.client).await
    }

    /// Waits until all keys are there again.
    async fn recover(&self) {
        recover(|| async { self.fetch().await == 0 }).await;
    }
}

fn eager() -> Config {
    Config::new().reconnect_delay(Duration::from_millis(1), Duration::from_millis(5))
}

async fn cut(speech: Speech, how: Close) {
    let stage = Stage::new(speech, eager()).await;
    let seed = seed();
    let mut rng = seed.rng();
    for _ in 0..200 {
        let after = rng.u64(24..60_000);
        stage.proxy.change(|rules| rules.replies.disconnect = Some(Disconnect::new(after, how)));
        stage.fetch().await;
        stage.proxy.change(|rules| rules.replies.disconnect = None);
        stage.recover().await;
    }
    assert!(stage.proxy.accepted() > 100);
}

async fn row_03_rst_mid_reply_of_memcached(speech: Speech) {
    cut(speech, Close::Rst).await;
}

async fn row_04_fin_mid_reply_of_memcached(speech: Speech) {
    cut(speech, Close::Fin).await;
}

async fn row_05_replies_of_memcached_one_byte_at_a_time_and_split(speech: Speech) {
    let stage = Stage::new(speech, Config::new().timeout(HANG)).await;
    let seed = seed();
    for longest in [1, 1, 2, 3, 7, 30, 100, 1_000, 10_000] {
        let splits = Splits::new(seed.value().wrapping_add(longest as u64), longest);
        stage.proxy.change(|rules| {
            rules.replies.splits = Some(splits);
            rules.requests.splits = Some(splits);
        });
        assert_eq!(stage.fetch().await, 0, "pieces of up to {longest} bytes");
    }
    assert_eq!(stage.proxy.accepted(), 1);
}

/// What a client may say while its server is gone.
fn is_gone(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Disconnected(_))
}

async fn row_14_a_restart_with_an_empty_cache_gives_honest_misses(speech: Speech) {
    let mut stage = Stage::new(speech, Config::new()).await;
    assert_eq!(stage.fetch().await, 0);
    stage.memcached.kill();
    let outcomes = stage.client.get_many(keys()).await;
    assert!(outcomes.failed().all(|(_, error)| is_gone(error)));
    assert_eq!(outcomes.failed().count(), KEYS, "an error is no miss");
    stage.memcached.restart();
    recover(|| async { stage.client.get("fixed:1").await.is_ok() }).await;
    let outcomes = stage.client.get_many(keys()).await;
    assert_eq!(outcomes.missing().count(), KEYS, "an empty cache has nothing");
    assert!(stage.client.set("fixed:1", "new").await.unwrap().is_applied());
    assert_eq!(stage.client.get("fixed:1").await.unwrap().unwrap().value, "new");
}

/// Connections until the server refuses one more.
async fn fill(address: &str) -> Vec<TcpStream> {
    let mut held = Vec::new();
    loop {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let said = timeout(Duration::from_millis(200), stream.read_u8()).await;
        match said {
            Err(_) => held.push(stream),
            Ok(byte) => {
                assert_eq!(byte.unwrap(), b'E', "ERROR Too many open connections");
                return held;
            }
        }
    }
}

async fn row_16_a_server_without_room_is_named_and_not_pestered(speech: Speech) {
    let memcached = Memcached::start(&["-c", "20"]);
    let proxy = Proxy::start(memcached.addr()).await;
    let held = fill(&memcached.addr()).await;
    let client = Client::with_config([proxy.addr()], speech.config(Config::new())).unwrap();
    let start = Instant::now();
    let (mut named, mut calls) = (0, 0);
    while start.elapsed() < Duration::from_secs(6) {
        let error = client.get("fixed:1").await.expect_err("there is no room");
        assert!(is_gone(&error), "{error:?}");
        assert!(calls == 0 || error.kind() == ErrorKind::Disconnected(Delivery::NotSent));
        named += usize::from(error.to_string().contains("too many open connections"));
        calls += 1;
        sleep(Duration::from_millis(5)).await;
    }
    assert!(named > 0, "none of {calls} errors says what is wrong");
    assert!(proxy.accepted() <= 20, "{} attempts", proxy.accepted());
    drop(held);
    recover(|| async { matches!(client.get("fixed:1").await, Ok(None)) }).await;
}
