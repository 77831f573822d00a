//! The client on ElastiCache Serverless, as the embedded server emulates it: TLS only, no binary protocol, `get` lines
//! up to 16 KiB, and of the administrative commands only `stats`.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use bytes::Bytes;
use remcache::recipes::{FetchPolicy, Gcra, Limiter};
use remcache::{Client, Ttl, WriteOutcome};
use remcache_server::{Profile, Server};

use crate::support::{TlsServers, patient_config};

struct Fixture {
    client: Client,
    _server: Server,
    /// The certificates, which are read for each connection.
    _servers: TlsServers,
}

impl Fixture {
    async fn start() -> Self {
        let servers = TlsServers::new();
        let server = servers.start(Server::builder().profile(Profile::ElastiCacheServerless)).await;
        let client = Client::with_config([server.address()], servers.trusted_by(patient_config())).unwrap();
        Self { client, _server: server, _servers: servers }
    }
}

#[tokio::test]
async fn every_operation_works() {
    let Fixture { client, .. } = &Fixture::start().await;
    let minute = Duration::from_secs(60);
    assert!(client.add("k", "b").ttl(minute).await.unwrap().is_applied());
    assert_eq!(client.add("k", "no").await.unwrap(), WriteOutcome::Exists);
    assert!(client.append("k", "c").await.unwrap().is_applied());
    assert!(client.prepend("k", "a").await.unwrap().is_applied());
    let item = client.get("k").await.unwrap().unwrap();
    assert_eq!(item.value, "abc");
    assert!(client.compare_and_swap("k", "new", item.cas).await.unwrap().is_applied());
    assert_eq!(client.compare_and_swap("k", "old", item.cas).await.unwrap(), WriteOutcome::Exists);
    assert!(client.replace("k", "newer").await.unwrap().is_applied());
    assert_eq!(client.get_and_touch("k", Ttl::from(minute)).await.unwrap().unwrap().value, "newer");
    assert!(client.touch("k", minute).await.unwrap().is_applied());
    assert_eq!(client.increment("n", 5).initial(10).await.unwrap().unwrap().value, 10);
    assert_eq!(client.decrement("n", 3).await.unwrap().unwrap().value, 7);
    assert!(client.delete("k").await.unwrap().is_applied());
    assert_eq!(client.get("k").await.unwrap(), None);
    assert!(!client.servers()[0].version().await.unwrap().is_empty());
    assert!(client.flush().await.into_result().is_ok());
    assert_eq!(client.get("n").await.unwrap(), None);
}

#[tokio::test]
async fn long_keys_do_not_exceed_the_limit_of_a_line() {
    let Fixture { client, .. } = &Fixture::start().await;
    // A hundred of them in one line would be 24 KiB.
    let keys: Vec<String> = (0..1_000).map(|n| format!("{n:0>240}")).collect();
    let stored = client.set_many(keys.iter().map(|key| (key.clone(), "v"))).await;
    assert_eq!(stored.applied().count(), keys.len());
    assert_eq!(client.get_many(&keys).await.found().count(), keys.len());
    let concurrent = futures_util::future::join_all(keys.iter().map(|key| client.get(key))).await;
    assert!(concurrent.into_iter().all(|item| item.unwrap().is_some()));
}

#[tokio::test]
async fn large_values_need_no_administrative_command() {
    let Fixture { client, .. } = &Fixture::start().await;
    // From this size on the client asks for the item size limit, which this service does not report.
    let value = Bytes::from(vec![b'v'; 500_000]);
    assert!(client.set("large", value.clone()).await.unwrap().is_applied());
    assert_eq!(client.get("large").await.unwrap().unwrap().value, value);
}

#[tokio::test]
async fn recipes_work() {
    let Fixture { client, .. } = &Fixture::start().await;
    let policy = FetchPolicy::new(Duration::from_secs(60));
    let loaded = client.fetch("report", policy, || async { Ok::<_, remcache::Error>("text") }).await;
    assert_eq!(loaded.unwrap(), "text");
    let lock = client.lock("job", Duration::from_secs(30)).await.unwrap();
    assert!(lock.is_acquired());
    let limiter = Limiter::new(client, "visits", Gcra::new(2, Duration::from_secs(3_600))).unwrap();
    let mut allowed = 0;
    for _ in 0..5 {
        allowed += usize::from(limiter.acquire("visitor").await.unwrap().is_allowed);
    }
    assert_eq!(allowed, 2);
}
