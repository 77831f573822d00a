//! `fetch` against real memcacheds and the embedded server, on each protocol: one loader, whatever happens
//! to it and to the key meanwhile.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod away;
mod drop;
mod fleet;
mod history;
mod loader;
mod meanwhile;
mod refresh;
#[cfg(all(feature = "json", feature = "near"))]
mod typed;

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

/// What takes so long hangs.
const HANGS: Duration = Duration::from_secs(180);

/// Whoever does not give a lease back makes the others hang.
fn patient_freshness() -> FetchPolicy {
    FetchPolicy::new(LONG).lease(LONG).wait(LONG)
}

fn client_at(address: &str, protocol: ProtocolSetting) -> Client {
    Client::with_config([address], patient_config().protocol(protocol)).unwrap()
}

/// A case that is running.
type Case<'c> = Pin<Box<dyn Future<Output = ()> + 'c>>;

/// Runs a case on each protocol, each of a real memcached and of an embedded server of its own, all at the
/// same time: some cases wait for the servers' clocks.
async fn on_all(case: impl AsyncFn(&str, ProtocolSetting)) {
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
    let ended = tokio::time::timeout(HANGS, all).await;
    let hanging: Vec<_> = cases.iter().map(|(name, _)| name).collect();
    assert!(ended.is_ok(), "somebody waits for what will never come: {hanging:?}");
}

/// A fetch by a loader that has this value.
async fn fetch(client: &Client, freshness: FetchPolicy, value: &'static str) -> Option<Bytes> {
    client.fetch("key", freshness, move || async move { Ok::<_, Error>(Some(value)) }).await.unwrap()
}

/// What is stored for everybody.
async fn stored(client: &Client) -> Option<Bytes> {
    client.get("key").await.unwrap().filter(|item| !item.is_mark()).map(|item| item.value)
}
