//! Random steps of many clients: no call returns a value older than the last confirmed invalidation.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use fastrand::Rng;
use remcache::config::ProtocolSetting;
use remcache::recipes::FetchPolicy;
use remcache::{Client, Error};
use remcache_testkit::{Memcached, seed};
use tokio::time::timeout;

use crate::fetch::{LONG, PROTOCOLS, client_at};

const KEYS: usize = 3;
const TASKS: usize = 12;
const STEPS: usize = 150;

/// The source of the values: the version of each key, and the minimum version that calls may return since the last
/// confirmed invalidation.
#[derive(Default)]
struct Source {
    versions: [AtomicU64; KEYS],
    minimums: [AtomicU64; KEYS],
    loads: AtomicUsize,
    fetched: AtomicUsize,
}

impl Source {
    /// Returns the version after a random time, or an error.
    async fn load(self: Arc<Self>, key: usize, mut rng: Rng) -> Result<Option<String>, Error> {
        self.loads.fetch_add(1, Ordering::SeqCst);
        let version = self.versions[key].load(Ordering::SeqCst);
        pause(&mut rng, 3000).await;
        match rng.u8(..10) {
            // Any error of the source.
            0 => Err(Client::new(Vec::<String>::new()).unwrap_err()),
            _ => Ok(Some(version.to_string())),
        }
    }

    /// Changes a value in the source. After `raise_minimum`, no call may return an older one.
    fn change(&self, key: usize) -> u64 {
        self.versions[key].fetch_add(1, Ordering::SeqCst) + 1
    }

    fn raise_minimum(&self, key: usize, version: u64) {
        self.minimums[key].fetch_max(version, Ordering::SeqCst);
    }
}

async fn pause(rng: &mut Rng, micros: u64) {
    match rng.u8(..3) {
        0 => {}
        1 => tokio::task::yield_now().await,
        _ => tokio::time::sleep(Duration::from_micros(rng.u64(..micros))).await,
    }
}

/// Runs random steps of a client.
struct Actor {
    client: Client,
    source: Arc<Source>,
    rng: Rng,
    protocol: ProtocolSetting,
}

impl Actor {
    async fn run(mut self) {
        for _ in 0..STEPS {
            let key = self.rng.usize(..KEYS);
            match self.rng.u8(..20) {
                0..2 => self.change_and_delete(key).await,
                2 => self.change_and_tombstone(key).await,
                3 => self.change_and_set(key).await,
                4..6 => self.get(key).await,
                6 => self.invalidate(key).await,
                7..9 => self.fetch_and_drop(key).await,
                _ => self.fetch(key).await,
            }
            pause(&mut self.rng, 1000).await;
        }
    }

    async fn change_and_delete(&self, key: usize) {
        let version = self.source.change(key);
        self.client.delete(name(key)).await.unwrap();
        self.source.raise_minimum(key, version);
    }

    async fn change_and_tombstone(&self, key: usize) {
        let version = self.source.change(key);
        self.client.delete(name(key)).tombstone(Duration::from_secs(1)).await.unwrap();
        self.source.raise_minimum(key, version);
    }

    /// A stale value may still be returned, and its reload must not undo a delete.
    async fn invalidate(&self, key: usize) {
        match self.client.invalidate(name(key), LONG).await {
            Ok(_) => {}
            Err(error) => assert_eq!(error.kind(), remcache::ErrorKind::Conflict, "{}: {error}", self.protocol),
        }
    }

    /// Concurrent sets may arrive in the wrong order, so a set is conditional on the current item.
    async fn change_and_set(&self, key: usize) {
        let Some(item) = self.client.get(name(key)).await.unwrap() else { return };
        let version = self.source.change(key);
        let change = self.client.compare_and_swap(name(key), version.to_string(), item.cas).await.unwrap();
        if !change.is_applied() {
            self.client.delete(name(key)).await.unwrap();
        }
        self.source.raise_minimum(key, version);
    }

    async fn get(&self, key: usize) {
        let minimum = self.source.minimums[key].load(Ordering::SeqCst);
        let item = self.client.get(name(key)).await.unwrap();
        if let Some(item) = item {
            self.check(key, minimum, &item.value, "get");
        }
    }

    fn fetch_future(&mut self, key: usize) -> impl Future<Output = Result<Option<bytes::Bytes>, Error>> + use<> {
        let (client, source, rng) = (self.client.clone(), Arc::clone(&self.source), self.rng.fork());
        let policy = FetchPolicy::new(LONG).lease(LONG).wait_up_to(LONG);
        async move { client.fetch_optional(name(key), policy, move || source.load(key, rng)).await }
    }

    async fn fetch(&mut self, key: usize) {
        let minimum = self.source.minimums[key].load(Ordering::SeqCst);
        match self.fetch_future(key).await {
            Ok(value) => self.check(key, minimum, &value.unwrap(), "fetch"),
            Err(error) => assert_eq!(error.kind(), remcache::ErrorKind::Config, "only the source fails: {error}"),
        }
        self.source.fetched.fetch_add(1, Ordering::SeqCst);
    }

    async fn fetch_and_drop(&mut self, key: usize) {
        let after = Duration::from_micros(self.rng.u64(..4000));
        let _ = timeout(after, self.fetch_future(key)).await;
    }

    fn check(&self, key: usize, minimum: u64, value: &[u8], how: &str) {
        let version: u64 = std::str::from_utf8(value).unwrap().parse().unwrap();
        let protocol = self.protocol;
        assert!(version >= minimum, "{protocol}, {how} of {}: version {version}, minimum {minimum}", name(key));
    }
}

fn name(key: usize) -> String {
    format!("key{key}")
}

async fn run_random_steps(address: &str, protocol: ProtocolSetting, seed: u64) {
    let source = Arc::new(Source::default());
    let clients: Vec<_> = (0..4).map(|_| client_at(address, protocol)).collect();
    clients[0].flush().await[0].1.as_ref().unwrap();
    let mut actors = tokio::task::JoinSet::new();
    for number in 0..TASKS {
        let (client, source) = (clients[number % clients.len()].clone(), Arc::clone(&source));
        let rng = Rng::with_seed(seed.wrapping_add(number as u64));
        actors.spawn(Actor { client, source, rng, protocol }.run());
    }
    timeout(crate::fetch::PATIENCE, actors.join_all()).await.expect("no deadlock");
    let (loads, fetched) = (source.loads.load(Ordering::SeqCst), source.fetched.load(Ordering::SeqCst));
    assert!(fetched > TASKS * STEPS / 4 && loads > KEYS, "{protocol}: {fetched} fetches, {loads} loads");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_fetch_and_no_get_returns_an_invalidated_value() {
    let seed = seed();
    let server = Memcached::start(&[]);
    for protocol in PROTOCOLS {
        for round in 0..4 {
            run_random_steps(&server.addr(), protocol, seed.value().wrapping_add(1000 * round)).await;
        }
    }
}

#[tokio::test]
async fn no_fetch_and_no_get_from_the_embedded_server_returns_an_invalidated_value() {
    let seed = seed();
    let server = remcache_server::Server::start().await.unwrap();
    for protocol in PROTOCOLS {
        for round in 0..4 {
            run_random_steps(&server.address(), protocol, seed.value().wrapping_add(1000 * round)).await;
        }
    }
}
