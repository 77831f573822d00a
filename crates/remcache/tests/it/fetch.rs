//! `fetch` with real memcacheds and the embedded server, on each protocol: one loader runs, whatever happens to it and
//! to the key in the meantime.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod concurrent_changes;
mod failed_loaders;
mod generation;
mod history;
mod leases;
mod many;
mod paused_fetch;
mod refresh;
#[cfg(feature = "blocking")]
mod sentinels;
#[cfg(all(feature = "json", feature = "local-cache"))]
mod typed;
mod unavailable;

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use remcache::config::ProtocolSetting;
use remcache::recipes::FetchPolicy;
use remcache::{Client, Error};
use remcache_testkit::Memcached;

use crate::support::patient_config;

const PROTOCOLS: [ProtocolSetting; 3] = [ProtocolSetting::Binary, ProtocolSetting::Meta, ProtocolSetting::Text];

/// Longer than any test.
const LONG: Duration = Duration::from_secs(3600);

/// Longer than any test takes on the most heavily loaded machine, and shorter than [`LONG`].
const PATIENCE: Duration = Duration::from_secs(900);

/// Returns a policy with which a lease that is not released blocks other callers until the test fails.
fn patient_policy() -> FetchPolicy {
    FetchPolicy::new(LONG).lease(LONG).wait_up_to(LONG)
}

fn client_at(address: &str, protocol: ProtocolSetting) -> Client {
    Client::with_config([address], patient_config().protocol(protocol)).unwrap()
}

/// A case that is running.
type Case<'c> = Pin<Box<dyn Future<Output = ()> + 'c>>;

/// Runs a case with each protocol, on a real memcached and on an embedded server. All run concurrently, because some
/// wait for the servers' clocks.
async fn on_all_servers(case: impl AsyncFn(&str, ProtocolSetting)) {
    let protocols = PROTOCOLS.into_iter().chain([ProtocolSetting::Auto]);
    let real: Vec<_> = protocols.clone().map(|protocol| (Memcached::start(&[]), protocol)).collect();
    let mut embedded = Vec::new();
    for protocol in protocols {
        embedded.push((remcache_server::Server::start().await.unwrap(), protocol));
    }
    let real = real.iter().map(|(server, protocol)| (server.addr(), *protocol));
    let servers: Vec<_> = real.chain(embedded.iter().map(|(server, protocol)| (server.address(), *protocol))).collect();
    let mut cases: Vec<(String, Case<'_>)> = Vec::new();
    for (number, (address, protocol)) in servers.iter().enumerate() {
        let server = if number < servers.len() / 2 { "real" } else { "embedded" };
        cases.push((format!("{protocol}, {server}"), Box::pin(case(address, *protocol))));
    }
    let all = poll_fn(|cx| {
        cases.retain_mut(|(_, case)| case.as_mut().poll(cx).is_pending());
        if cases.is_empty() { Poll::Ready(()) } else { Poll::Pending }
    });
    let ended = tokio::time::timeout(PATIENCE, all).await;
    let hanging: Vec<_> = cases.iter().map(|(name, _)| name).collect();
    assert!(ended.is_ok(), "deadlock: {hanging:?}");
}

/// Fetches the key with a loader that returns this value.
async fn fetch(client: &Client, policy: FetchPolicy, value: &'static str) -> Option<Bytes> {
    client.fetch_optional("key", policy, move || async move { Ok::<_, Error>(Some(value)) }).await.unwrap()
}

/// Returns the value that plain gets see.
async fn stored(client: &Client) -> Option<Bytes> {
    client.get("key").await.unwrap().map(|item| item.value)
}
