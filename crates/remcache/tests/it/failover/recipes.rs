//! Recipes while the key's primary is down: a lease, a lock or a limit stays on the server on which it was created.

use std::collections::HashSet;

use remcache::config::ProtocolSetting;
use remcache::recipes::{FetchPolicy, FixedWindow, Gcra, Limiter, LockOutcome, OnUnavailable, Rule};
use remcache::value::Codec;
use remcache::{Cache, Error};

use super::*;

const PROTOCOLS: [ProtocolSetting; 3] = [ProtocolSetting::Binary, ProtocolSetting::Meta, ProtocolSetting::Text];
/// Longer than any test.
const LONG: Duration = Duration::from_secs(3_600);
/// The longest TTL on the fallback, in seconds: shorter than [`LONG`], and longer than any test.
const CAP: u32 = 1_000;

/// A primary that is down, and the server that its keys go to.
struct Outage {
    servers: [Memcached; 2],
    config: Config,
}

impl Outage {
    fn begin(protocol: ProtocolSetting, failover: Failover) -> Self {
        let mut servers = [Memcached::start(&[]), Memcached::start(&[])];
        servers[0].kill();
        let failover = failover.max_ttl(Duration::from_secs(CAP.into()));
        Self { servers, config: patient_config().protocol(protocol).failover(failover) }
    }

    fn primary(&self) -> String {
        self.servers[0].addr()
    }

    fn fallback(&self) -> String {
        self.servers[1].addr()
    }

    /// Creates a client that knows of the outage.
    async fn client(&self) -> Client {
        let client = Client::with_config(self.servers.iter().map(Memcached::addr), self.config.clone()).unwrap();
        wait_until_down(&client, &self.primary()).await;
        client
    }
}

/// Counts the calls of a loader.
#[derive(Clone, Default)]
struct Loads(Arc<AtomicUsize>);

impl Loads {
    /// Fetches a key with a loader that returns the number of its call.
    async fn fetch(&self, client: &Client, key: &str, policy: FetchPolicy) -> String {
        let loads = self.clone();
        let load = || async move { Ok::<_, Error>((loads.0.fetch_add(1, Ordering::SeqCst) + 1).to_string()) };
        let found = client.fetch(key, policy, load).await.unwrap();
        String::from_utf8(found.to_vec()).unwrap()
    }

    fn count(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

/// Returns a policy with which a lease that is not released blocks other callers until the test fails.
fn patient_policy() -> FetchPolicy {
    FetchPolicy::new(LONG).lease(LONG).wait_up_to(LONG)
}

#[tokio::test]
async fn a_fetch_stores_its_value_on_the_fallback() {
    for protocol in PROTOCOLS {
        let mut outage = Outage::begin(protocol, Failover::next());
        let (client, other) = (outage.client().await, outage.client().await);
        let key = key_of(&client, &outage.primary());
        for policy in [patient_policy(), patient_policy().refresh_ahead(LONG / 2)] {
            let loads = Loads::default();
            client.delete(&key).await.unwrap_err();
            for client in [&client, &client, &other, &other] {
                assert_eq!(loads.fetch(client, &key, policy).await, "1", "{protocol}");
            }
            let (flags, seconds) = flags_and_ttl(&outage.fallback(), &key).unwrap();
            assert!(
                flags == 0 && (1..=i64::from(CAP)).contains(&seconds),
                "{protocol}: the TTL is capped: {seconds} s"
            );
        }
        let fallback = handle(&client, &outage.fallback());
        let sets = stat(&fallback, "cmd_set").await;
        let gets = stat(&fallback, "cmd_get").await;
        let loads = Loads::default();
        for _ in 0..10 {
            assert_eq!(loads.fetch(&client, &key, patient_policy()).await, "1", "{protocol}: stored before");
        }
        assert_eq!((loads.count(), stat(&fallback, "cmd_set").await - sets), (0, 0), "{protocol}");
        // On the other protocols the item that says when the value is due is requested too.
        let requests = if protocol == ProtocolSetting::Meta { 10 } else { 20 };
        assert_eq!(stat(&fallback, "cmd_get").await - gets, requests, "{protocol}");

        outage.servers[0].restart();
        wait_until_up(&client, &outage.primary()).await;
        let loads = Loads::default();
        for _ in 0..2 {
            assert_eq!(loads.fetch(&client, &key, patient_policy()).await, "1", "{protocol}");
        }
        assert_eq!(stored_on(&client, &outage.primary(), &key).await.as_deref(), Some("1"), "{protocol}");
    }
}

#[tokio::test]
async fn without_failover_each_fetch_loads_and_nothing_is_stored() {
    for protocol in PROTOCOLS {
        let outage = Outage::begin(protocol, Failover::None);
        let client = outage.client().await;
        let key = key_of(&client, &outage.primary());
        let refused = || handle(&client, &outage.primary()).metrics().errors.refused;
        let (loads, before) = (Loads::default(), refused());
        for call in 1..=10 {
            assert_eq!(loads.fetch(&client, &key, patient_policy()).await, call.to_string(), "{protocol}");
        }
        assert_eq!(refused() - before, 10, "{protocol}: one request for each call, which is not sent");
        assert_eq!(stored_on(&client, &outage.fallback(), &key).await, None, "{protocol}");
    }
}

#[tokio::test]
async fn a_lease_on_the_fallback_is_released_there() {
    for protocol in PROTOCOLS {
        let outage = Outage::begin(protocol, Failover::next());
        let (client, other) = (outage.client().await, outage.client().await);
        let key = key_of(&client, &outage.primary());
        let failing = || async { Err::<&str, _>(std::io::Error::other("the source failed").to_string().into()) };
        let failed: Result<_, LoadError> = client.fetch(&key, patient_policy(), failing).await;
        failed.unwrap_err();
        let loads = Loads::default();
        assert_eq!(loads.fetch(&other, &key, patient_policy()).await, "1", "{protocol}: no caller waits for the lease");
    }
}

/// The error of a loader, or of the client.
#[derive(Debug)]
#[expect(dead_code, reason = "printed if the test fails")]
struct LoadError(String);

impl From<String> for LoadError {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl From<Error> for LoadError {
    fn from(error: Error) -> Self {
        Self(error.to_string())
    }
}

#[tokio::test]
async fn a_fetch_of_many_stores_its_values_on_the_fallback() {
    for protocol in PROTOCOLS {
        for gutter in [false, true] {
            let spare = Memcached::start(&[]);
            let failover = if gutter { Failover::gutter([spare.addr()]) } else { Failover::next() };
            let outage = Outage::begin(protocol, failover);
            let (client, other) = (outage.client().await, outage.client().await);
            let keys: Vec<_> = (0..50).map(|n| format!("key{n}")).collect();
            let mut loaded = Vec::new();
            for client in [&client, &client, &other] {
                let load = |keys: Vec<String>| {
                    loaded.extend(keys.clone());
                    async move { Ok::<_, Error>(keys.into_iter().map(|key| (key.clone(), key)).collect::<Vec<_>>()) }
                };
                let found = client.fetch_many(keys.clone(), patient_policy(), load).await.unwrap();
                assert_eq!(found.found().count(), 50, "{protocol}");
            }
            let distinct: HashSet<_> = loaded.iter().collect();
            assert_eq!(
                (loaded.len(), distinct.len()),
                (50, 50),
                "{protocol}, gutter {gutter}: each key is loaded once"
            );
            let is_moved = |key: &&String| client.locate(key).unwrap().unwrap().name() == outage.primary();
            let fallback = if gutter { spare.addr() } else { outage.fallback() };
            for key in keys.iter().filter(is_moved) {
                let (_, seconds) = flags_and_ttl(&fallback, key).unwrap();
                assert!((1..=i64::from(CAP)).contains(&seconds), "{protocol}: the TTL is capped: {seconds} s");
            }
        }
    }
}

#[tokio::test]
async fn a_lock_on_the_fallback_is_held_renewed_and_released_there() {
    for protocol in PROTOCOLS {
        let outage = Outage::begin(protocol, Failover::next());
        let (client, other) = (outage.client().await, outage.client().await);
        let key = key_of(&client, &outage.primary());
        let LockOutcome::Acquired(mut lock) = client.lock(&key, LONG).await.unwrap() else {
            panic!("{protocol}: held")
        };
        assert!(!other.lock(&key, LONG).await.unwrap().is_acquired(), "{protocol}");
        lock.renew().await.unwrap();
        assert!(!other.lock(&key, LONG).await.unwrap().is_acquired(), "{protocol}");
        assert!(lock.unlock().await.unwrap(), "{protocol}");
        let LockOutcome::Acquired(lock) = other.lock(&key, LONG).await.unwrap() else { panic!("{protocol}: held") };
        drop(lock);
        wait_until("the dropped lock is released", async || {
            client.lock(&key, LONG).await.unwrap().acquired().is_some()
        })
        .await;
    }
}

#[tokio::test]
async fn limits_hold_on_the_fallback() {
    for protocol in PROTOCOLS {
        let outage = Outage::begin(protocol, Failover::next());
        let clients = [outage.client().await, outage.client().await];
        let is_moved = |key: &str| clients[0].locate(key).unwrap().unwrap().name() == outage.primary();
        let rules = [Rule::from(Gcra::new(3, LONG).burst(3)), FixedWindow::new(3, LONG * 24 * 365 * 50).into()];
        for rule in rules {
            let [one, other] = clients
                .each_ref()
                .map(|client| Limiter::new(client, "limit", rule).unwrap().on_unavailable(OnUnavailable::FailClosed));
            // The window's number, 0 until 2020 and 1 from then on, is a part of the key.
            let item = |n: &u64| match rule {
                Rule::Gcra(_) => format!("limit:{n}"),
                _ => format!("limit:{n}:1"),
            };
            let key = (0..).find(|n| is_moved(&item(n))).unwrap().to_string();
            let mut allowed = Vec::new();
            for limiter in [&one, &other, &one, &other, &one] {
                let decision = limiter.acquire(&key).await.unwrap();
                assert!(decision.is_counted, "{protocol}");
                allowed.push(decision.is_allowed);
            }
            assert_eq!(allowed, [true, true, true, false, false], "{protocol}, {rule:?}");
        }
    }
}

#[tokio::test]
async fn a_generation_is_invalidated_on_the_fallback() {
    for protocol in PROTOCOLS {
        let outage = Outage::begin(protocol, Failover::next());
        let client = outage.client().await;
        let versions = Cache::<u64>::new(&client, "", Codec::integer());
        // The item of the tag is on the server that is up, that of the value on the fallback.
        let on = |key: &[u8]| client.locate(key).unwrap().unwrap().name().to_owned();
        let tag = (0..)
            .map(|n| format!("tag{n}"))
            .find(|tag| on(format!("{tag}~generation").as_bytes()) == outage.fallback());
        let generation = versions.generation(tag.unwrap());
        let key = (0..).map(|n| format!("key{n}")).find(|key| on(&generation.key(key)) == outage.primary()).unwrap();
        for version in [1, 2] {
            for _ in 0..2 {
                let load = move || async move { Ok::<_, Error>(Some(version)) };
                let found = generation.fetch_optional(&key, LONG, load).await.unwrap();
                assert_eq!(found, Some(version), "{protocol}");
                assert_eq!(generation.get(&key).await.unwrap(), Some(version), "{protocol}: it is stored");
            }
            generation.invalidate().await.unwrap();
        }
    }
}
