//! Values under a tag are invalidated together, even if the item of the tag is lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use fastrand::Rng;
use remcache::cache::Generation;
use remcache::recipes::FetchPolicy;
use remcache::value::Codec;
use remcache::{Cache, Client, Error};
use remcache_testkit::{Memcached, seed};
use tokio::time::timeout;

use super::{LONG, PATIENCE, PROTOCOLS, client_at};

const KEYS: usize = 3;
const TASKS: usize = 12;
const STEPS: usize = 150;

fn generation_of(client: &Client) -> Generation<u64> {
    Cache::new(client, "version", Codec::integer()).generation("tag")
}

/// A value that changes, and the minimum version that calls may return since the last confirmed invalidation.
#[derive(Default)]
struct Source {
    version: AtomicU64,
    minimum: AtomicU64,
    loads: AtomicUsize,
    hits: AtomicUsize,
}

impl Source {
    async fn load(self: Arc<Self>, pause: Duration) -> Result<Option<u64>, Error> {
        self.loads.fetch_add(1, Ordering::SeqCst);
        let version = self.version.load(Ordering::SeqCst);
        tokio::time::sleep(pause).await;
        Ok(Some(version))
    }

    fn check(&self, minimum: u64, version: u64, how: &str) {
        assert!(version >= minimum, "{how}: version {version}, minimum {minimum}");
    }
}

struct Actor {
    generation: Generation<u64>,
    client: Client,
    source: Arc<Source>,
    rng: Rng,
}

impl Actor {
    async fn run(mut self) {
        for _ in 0..STEPS {
            let key = format!("key{}", self.rng.usize(..KEYS));
            let minimum = self.source.minimum.load(Ordering::SeqCst);
            match self.rng.u8(..40) {
                0..3 => {
                    let version = self.source.version.fetch_add(1, Ordering::SeqCst) + 1;
                    self.generation.invalidate().await.unwrap();
                    self.source.minimum.fetch_max(version, Ordering::SeqCst);
                }
                // The item of the tag is evicted, or its server loses all.
                3 => _ = self.client.delete("version:tag~generation").await.unwrap(),
                4 => _ = self.client.flush().await,
                5 => _ = self.generation.delete(&key).await.unwrap(),
                6..16 => {
                    if let Some(version) = self.generation.get(&key).await.unwrap() {
                        self.source.hits.fetch_add(1, Ordering::SeqCst);
                        self.source.check(minimum, version, "get");
                    }
                }
                16..20 => {
                    let after = Duration::from_micros(self.rng.u64(..4000));
                    let _ = timeout(after, self.fetch(&key)).await;
                }
                _ => {
                    let version = self.fetch(&key).await.unwrap().unwrap();
                    self.source.check(minimum, version, "fetch");
                }
            }
        }
    }

    async fn fetch(&mut self, key: &str) -> Result<Option<u64>, Error> {
        let (source, pause) = (Arc::clone(&self.source), Duration::from_micros(self.rng.u64(..3000)));
        let policy = FetchPolicy::new(LONG).lease(LONG).wait_up_to(LONG);
        self.generation.fetch_optional(key, policy, move || source.load(pause)).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_call_returns_a_value_of_an_invalidated_generation() {
    let seed = seed();
    let server = Memcached::start(&[]);
    for protocol in PROTOCOLS {
        let source = Arc::new(Source::default());
        let clients: Vec<_> = (0..4).map(|_| client_at(&server.addr(), protocol)).collect();
        clients[0].flush().await[0].1.as_ref().unwrap();
        let mut actors = tokio::task::JoinSet::new();
        for number in 0..TASKS {
            let client = clients[number % clients.len()].clone();
            let rng = Rng::with_seed(seed.value().wrapping_add(number as u64));
            let (generation, source) = (generation_of(&client), Arc::clone(&source));
            actors.spawn(Actor { generation, client, source, rng }.run());
        }
        timeout(PATIENCE, actors.join_all()).await.expect("no deadlock");
        let (loads, hits) = (source.loads.load(Ordering::SeqCst), source.hits.load(Ordering::SeqCst));
        assert!(loads > KEYS && hits > 0, "{protocol}: {loads} loads, {hits} hits");
    }
}

#[tokio::test]
async fn one_write_invalidates_all_values_of_a_tag_only() {
    let server = Memcached::start(&[]);
    for protocol in PROTOCOLS {
        let client = client_at(&server.addr(), protocol);
        client.flush().await[0].1.as_ref().unwrap();
        let cache = Cache::new(&client, "page", Codec::text());
        let [one, other] = ["one", "other"].map(|tag| cache.generation(tag));
        for generation in [&one, &other] {
            for key in ["a", "b"] {
                let load = || async { Ok::<_, Error>(Some("text".to_owned())) };
                assert_eq!(generation.fetch_optional(key, LONG, load).await.unwrap().as_deref(), Some("text"));
                assert_eq!(generation.get(key).await.unwrap().as_deref(), Some("text"));
            }
        }
        one.invalidate().await.unwrap();
        assert_eq!(one.get("a").await.unwrap(), None);
        assert_eq!(one.get("b").await.unwrap(), None);
        assert!(other.get("a").await.unwrap().is_some());
        let load = || async { Ok::<_, Error>(Some("new".to_owned())) };
        assert_eq!(one.fetch_optional("a", LONG, load).await.unwrap().as_deref(), Some("new"));
        assert_eq!(one.get("a").await.unwrap().as_deref(), Some("new"));
        assert_eq!(one.get("b").await.unwrap(), None);
    }
}

/// Negative results are not cached, because they would outlive the generation.
#[tokio::test]
async fn negative_results_do_not_outlive_their_generation() {
    let server = Memcached::start(&[]);
    for protocol in PROTOCOLS {
        let client = client_at(&server.addr(), protocol);
        client.flush().await[0].1.as_ref().unwrap();
        let generation = generation_of(&client);
        let policy = || FetchPolicy::new(LONG).negative_ttl(LONG);
        let absent = generation.fetch_optional("k", policy(), || async { Ok::<_, Error>(None::<u64>) }).await;
        assert_eq!(absent.unwrap(), None);
        generation.invalidate().await.unwrap();
        let present = generation.fetch_optional("k", policy(), || async { Ok::<_, Error>(Some(7)) }).await;
        assert_eq!(present.unwrap(), Some(7));
    }
}

/// Errors of the cache are not returned to the caller.
#[tokio::test]
async fn without_a_server_the_loader_runs() {
    let mut server = Memcached::start(&[]);
    let client = client_at(&server.addr(), PROTOCOLS[0]);
    server.kill();
    let generation = generation_of(&client);
    let loaded = generation.fetch_optional("k", LONG, || async { Ok::<_, Error>(Some(7)) }).await;
    assert_eq!(loaded.unwrap(), Some(7));
    assert!(generation.invalidate().await.unwrap_err().is_unavailable());
}
