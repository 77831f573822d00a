//! Operations on streams of keys: every key has one result, and memory is bounded.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::stream::{self, Stream, StreamExt as _};
use remcache::config::ProtocolSetting;
use remcache::{Client, Config};
use remcache_testkit::Memcached;
use tokio::sync::mpsc;

use crate::support::patient_config;

const PROTOCOLS: [ProtocolSetting; 3] = [ProtocolSetting::Binary, ProtocolSetting::Meta, ProtocolSetting::Text];

/// Keys that are counted when they are taken.
#[derive(Clone, Default)]
struct Taken(Arc<AtomicUsize>);

impl Taken {
    fn keys(&self, count: usize) -> impl Stream<Item = String> + Send + 'static {
        let taken = self.clone();
        stream::iter((0..count).map(move |number| {
            taken.0.fetch_add(1, Ordering::Relaxed);
            format!("key-{number}")
        }))
    }

    fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

#[tokio::test]
async fn every_key_has_one_result_on_every_protocol() {
    const KEYS: usize = 5_000;
    let servers = [Memcached::start(&[]), Memcached::start(&[])];
    for protocol in PROTOCOLS {
        let addresses = servers.each_ref().map(Memcached::addr);
        let client = Client::with_config(addresses, patient_config().protocol(protocol)).unwrap();
        let value = |key: &str| format!("{protocol} {key}");
        let items = Taken::default().keys(KEYS).map(|key| (value(&key), key)).map(|(value, key)| (key, value));
        let stored: Vec<_> = client.set_stream(items).flags(7).ttl(Duration::from_secs(600)).collect().await;
        assert_eq!(stored.len(), KEYS);
        assert!(stored.iter().all(|(_, outcome)| outcome.as_ref().unwrap().is_applied()));

        let mut found = HashSet::new();
        let mut items = client.get_stream(Taken::default().keys(KEYS)).in_flight(100);
        while let Some((key, item)) = items.next().await {
            let item = item.unwrap().unwrap();
            assert_eq!((item.value, item.flags), (value(&key).into(), 7));
            assert!(found.insert(key), "one result for each key");
        }
        assert_eq!(found.len(), KEYS);
        assert!(items.next().await.is_none(), "an ended stream stays ended");

        let deleted = client.delete_stream(Taken::default().keys(KEYS));
        assert_eq!(deleted.filter(|(_, outcome)| std::future::ready(outcome.is_ok())).count().await, KEYS);
        assert_eq!(client.get("key-0").await.unwrap(), None);
    }
}

#[tokio::test]
async fn a_million_keys_need_no_more_memory_than_those_in_flight() {
    const KEYS: usize = 1_000_000;
    const IN_FLIGHT: usize = 500;
    let server = Memcached::start(&[]);
    let client = Client::with_config([server.addr()], patient_config()).unwrap();
    let taken = Taken::default();
    let mut items = client.get_stream(taken.keys(KEYS)).in_flight(IN_FLIGHT);
    let (mut results, mut most) = (0, 0);
    while let Some((_, item)) = items.next().await {
        assert_eq!(item.unwrap(), None);
        results += 1;
        most = most.max(taken.count() - results);
    }
    assert_eq!((results, taken.count()), (KEYS, KEYS));
    assert!(most < IN_FLIGHT, "{most} keys were without a result");
}

#[tokio::test]
async fn a_reader_that_pauses_pauses_the_input() {
    let server = Memcached::start(&[]);
    let client = Client::with_config([server.addr()], patient_config()).unwrap();
    let taken = Taken::default();
    let mut items = client.get_stream(taken.keys(usize::MAX)).in_flight(10);
    assert_eq!(taken.count(), 0, "nothing is taken before the first poll");
    for read in 1..=100 {
        items.next().await.unwrap().1.unwrap();
        tokio::task::yield_now().await;
        assert!(taken.count() <= read + 10, "{} keys were taken for {read} results", taken.count());
    }
}

#[tokio::test]
async fn results_do_not_wait_for_more_input() {
    let server = Memcached::start(&[]);
    let client = Client::with_config([server.addr()], patient_config()).unwrap();
    let (sender, receiver) = mpsc::channel::<String>(1);
    let input = stream::unfold(receiver, async |mut receiver| receiver.recv().await.map(|key| (key, receiver)));
    let mut items = client.get_stream(input);
    for number in 0..10 {
        sender.send(number.to_string()).await.unwrap();
        assert_eq!(items.next().await.unwrap().0, number.to_string());
    }
    drop(sender);
    assert!(items.next().await.is_none());
}

/// Reads while the server stops or ends; the results after that are errors, and none is missing.
async fn results_while(fail: impl FnOnce(&mut Memcached), timeout: Duration) -> (usize, usize) {
    const KEYS: usize = 20_000;
    const IN_FLIGHT: usize = 200;
    let mut server = Memcached::start(&[]);
    let config = Config::new().timeout(timeout).connect_timeout(Duration::from_secs(60));
    let client = Client::with_config([server.addr()], config).unwrap();
    client.set("k", "v").timeout(Duration::from_secs(60)).await.unwrap();
    let taken = Taken::default();
    let mut items = client.get_stream(taken.keys(KEYS)).in_flight(IN_FLIGHT);
    let (mut fail, mut answered, mut failed) = (Some(fail), 0, HashSet::new());
    while let Some((key, item)) = items.next().await {
        match item {
            Ok(item) => {
                assert_eq!(item, None);
                answered += 1;
            }
            Err(error) => {
                assert!(error.is_unavailable(), "{error}");
                assert!(failed.insert(key), "one result for each key");
            }
        }
        assert!(taken.count() < answered + failed.len() + IN_FLIGHT);
        if answered == 1_000
            && let Some(fail) = fail.take()
        {
            fail(&mut server);
        }
    }
    assert_eq!(answered + failed.len(), KEYS);
    (answered, failed.len())
}

#[tokio::test]
async fn a_server_that_stops_costs_its_keys_an_error_each() {
    let (answered, failed) = results_while(|server| server.stop(), Duration::from_millis(300)).await;
    assert!(answered >= 1_000 && failed > 0, "{answered} answered, {failed} failed");
}

#[tokio::test]
async fn a_server_that_is_killed_costs_its_keys_an_error_each() {
    let (answered, failed) = results_while(Memcached::kill, Duration::from_secs(60)).await;
    assert!(answered >= 1_000 && failed > 0, "{answered} answered, {failed} failed");
}

#[tokio::test]
async fn dropping_the_stream_leaves_the_connection_usable() {
    let server = Memcached::start(&[]);
    let client = Client::with_config([server.addr()], patient_config().connections(1)).unwrap();
    client.set("k", "v").await.unwrap();
    for read in 0..20 {
        let mut items = client.get_stream(Taken::default().keys(1_000));
        for _ in 0..read {
            items.next().await.unwrap().1.unwrap();
        }
        drop(items);
        assert_eq!(client.get("k").await.unwrap().unwrap().value, "v");
    }
    assert_eq!(client.servers()[0].metrics().reconnects, 0);
}
