//! Failover, replicas, retries, hedges, routing keys, and changes of the server list.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod recipes;
mod refusals;
mod replicas;
mod replies;
mod retries;
mod routing;
mod updates;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use remcache::config::{Address, ProtocolSetting};
use remcache::policy::{Failover, Hedge, Retries};
use remcache::transport::{Connect, ConnectFuture, Stream, TransportSettings};
use remcache::{Client, Config, Delivery, ErrorKind, Request, ServerHandle, Status, WriteOutcome};
use remcache_server::{Fault, Server};
use remcache_testkit::Memcached;
use tokio::task::JoinSet;

use crate::support::{flags_and_ttl, patient_config, stat, wait_until};

fn millis(count: u64) -> Duration {
    Duration::from_millis(count)
}

async fn embedded(count: usize) -> Vec<Server> {
    let mut servers = Vec::new();
    for _ in 0..count {
        servers.push(Server::start().await.unwrap());
    }
    servers
}

fn client_of(servers: &[Server], config: Config) -> Client {
    Client::with_config(servers.iter().map(Server::address), config).unwrap()
}

/// Returns a key whose primary server has this name.
fn key_of(client: &Client, name: &str) -> String {
    let is_on_server = |key: &String| client.locate(key).unwrap().unwrap().name() == name;
    (0..).map(|n| format!("key{n}")).find(is_on_server).unwrap()
}

fn handle(client: &Client, name: &str) -> ServerHandle {
    client.servers().into_iter().chain(client.spare_servers()).find(|server| server.name() == name).unwrap()
}

/// Returns the value that one server has stored for a key.
async fn stored_on(client: &Client, name: &str, key: &str) -> Option<String> {
    let reply = handle(client, name).call(Request::get(key)).await;
    reply.is_ok().then(|| reply.text().into_owned())
}

async fn wait_until_down(client: &Client, name: &str) {
    wait_until("the server is down", async || {
        let _ = handle(client, name).noop().await;
        handle(client, name).status().state.is_down()
    })
    .await;
}

async fn wait_until_up(client: &Client, name: &str) {
    wait_until("the server is up", async || handle(client, name).noop().await.is_ok()).await;
}

#[tokio::test]
async fn by_default_calls_for_keys_of_a_dead_server_fail() {
    let servers = embedded(2).await;
    let client = client_of(&servers, patient_config());
    let (primary, other) = (servers[0].address(), servers[1].address());
    let key = key_of(&client, &primary);
    client.set(&key, "v").await.unwrap();
    servers[0].stop().await;
    wait_until_down(&client, &primary).await;
    assert_eq!(client.get(&key).await.unwrap_err().kind(), ErrorKind::Disconnected(Delivery::NotSent));
    assert_eq!(stored_on(&client, &other, &key).await, None);
}

#[tokio::test]
async fn the_next_server_takes_over_the_keys_of_a_dead_one_with_capped_ttls() {
    keys_are_taken_over(false).await;
}

#[tokio::test]
async fn a_gutter_pool_takes_over_the_keys_of_a_dead_server_with_capped_ttls() {
    keys_are_taken_over(true).await;
}

/// Fails over to a gutter pool, or to the next server of the ring.
async fn keys_are_taken_over(gutter: bool) {
    let mut servers = [(); 3].map(|()| Memcached::start(&[]));
    let failover = if gutter { Failover::gutter([servers[2].addr()]) } else { Failover::next() };
    let config = patient_config().failover(failover.max_ttl(Duration::from_secs(7)));
    let client = Client::with_config(servers[..2].iter().map(Memcached::addr), config).unwrap();
    let (primary, other) = (servers[0].addr(), servers[1 + usize::from(gutter)].addr());
    let key = key_of(&client, &primary);
    client.set(&key, "before").await.unwrap();
    assert_eq!(flags_and_ttl(&primary, &key), Some((0, -1)), "the TTL on the primary is not capped");
    servers[0].kill();
    wait_until_down(&client, &primary).await;

    assert_eq!(client.get(&key).await.unwrap(), None);
    for ttl in [None, Some(1_000), Some(5)] {
        let set = client.set(&key, "during").flags(3);
        let set = match ttl {
            Some(seconds) => set.ttl(Duration::from_secs(seconds)),
            None => set,
        };
        assert!(set.await.unwrap().is_applied());
        assert_eq!(client.get(&key).await.unwrap().unwrap().value, "during");
        let (flags, seconds) = flags_and_ttl(&other, &key).unwrap();
        let longest = if ttl == Some(5) { 5 } else { 7 };
        assert!(flags == 3 && (1..=longest).contains(&seconds), "{seconds} s for {ttl:?}");
    }
    assert_eq!(client.increment("n", 1).initial(5).routing_key(&*key).await.unwrap().unwrap().value, 5);
    assert!((1..=7).contains(&flags_and_ttl(&other, "n").unwrap().1));

    // Values stored on another server are not visible once the primary is up.
    servers[0].restart();
    wait_until_up(&client, &primary).await;
    assert_eq!(client.get(&key).await.unwrap(), None);
    assert_eq!(client.locate(&key).unwrap().unwrap().name(), primary, "the key has not moved");
}

#[tokio::test]
async fn deletes_go_to_both_servers() {
    for gutter in [false, true] {
        let servers = embedded(3).await;
        let spare = servers[2].address();
        let failover = if gutter { Failover::gutter([&*spare]) } else { Failover::next() };
        let client = client_of(&servers[..2], patient_config().failover(failover));
        let primary = servers[0].address();
        let fallback = if gutter { spare } else { servers[1].address() };
        let key = key_of(&client, &primary);
        client.set(&key, "old").await.unwrap();
        servers[0].stop().await;
        wait_until_down(&client, &primary).await;
        client.set(&key, "new").await.unwrap();
        assert_eq!(stored_on(&client, &fallback, &key).await.as_deref(), Some("new"));

        // The value on the primary may become visible again, so the delete has failed, although another server executed
        // it.
        let error = client.delete(&key).await.unwrap_err();
        assert_eq!((error.kind(), error.server()), (ErrorKind::Disconnected(Delivery::NotSent), Some(&*primary)));
        assert_eq!(stored_on(&client, &fallback, &key).await, None);

        client.set(&key, "newer").await.unwrap();
        servers[0].restart_with_items().await.unwrap();
        wait_until_up(&client, &primary).await;
        assert!(client.delete(&key).await.unwrap().is_applied());
        let remaining = (stored_on(&client, &primary, &key).await, stored_on(&client, &fallback, &key).await);
        assert_eq!(remaining, (None, None), "gutter: {gutter}");
        assert_eq!(client.delete(&key).await.unwrap(), WriteOutcome::NotFound);
    }
}

#[tokio::test]
async fn a_gutter_pool_gets_no_requests_while_all_servers_are_up() {
    let servers = embedded(4).await;
    let spares: Vec<_> = servers[2..].iter().map(Server::address).collect();
    let client = client_of(&servers[..2], patient_config().failover(Failover::gutter(spares.clone())));
    let names: Vec<_> = client.spare_servers().iter().map(|server| server.name().to_owned()).collect();
    assert_eq!(names, spares);
    let keys: Vec<_> = (0..200).map(|n| format!("key{n}")).collect();
    let items = || keys.iter().map(|key| (key.clone(), "v"));
    assert_eq!(client.set_many(items()).await.applied().count(), 200);
    let sizes = async || {
        let mut sizes = Vec::new();
        for spare in client.spare_servers() {
            let mut found = 0;
            for key in &keys {
                found += usize::from(spare.call(Request::get(&**key)).await.is_ok());
            }
            sizes.push(found);
        }
        sizes
    };
    assert_eq!(sizes().await, [0, 0]);
    servers[0].stop().await;
    wait_until_down(&client, &servers[0].address()).await;
    assert_eq!(client.set_many(items()).await.applied().count(), 200);
    let sizes = sizes().await;
    assert!(sizes[0] > 0 && sizes[1] > 0, "both gutter servers have keys: {sizes:?}");
    assert_eq!(client.get_many(&keys).await.found().count(), 200);
    client.close().await;
    assert!(
        client.spare_servers().iter().all(|spare| spare.status().state == remcache::health::ConnectionState::Closed)
    );
}

#[tokio::test]
async fn a_cas_value_is_never_compared_on_another_server() {
    let servers = embedded(2).await;
    let client = client_of(&servers, patient_config().failover(Failover::next()));
    let primary = servers[0].address();
    let key = key_of(&client, &primary);
    servers[0].stop().await;
    wait_until_down(&client, &primary).await;
    let cas = client.set(&key, "v").await.unwrap().cas().unwrap();
    let error = client.set(&key, "w").cas(cas).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Disconnected(Delivery::NotSent));
    assert!(client.delete(&key).cas(cas).await.is_err());
    assert_eq!(client.get(&key).await.unwrap().unwrap().value, "v");
}

#[tokio::test]
async fn multi_key_calls_fail_over_too() {
    let servers = embedded(3).await;
    let client = client_of(&servers, patient_config().failover(Failover::next()));
    let keys: Vec<_> = (0..3_000).map(|n| format!("key{n}")).collect();
    let stored = async || client.set_many(keys.iter().map(|key| (key, "v"))).await.applied().count();
    assert_eq!(stored().await, 3_000);
    servers[1].stop().await;
    wait_until_down(&client, &servers[1].address()).await;
    let found = client.get_many(&keys).await;
    assert!(found.is_complete() && found.missing().count() > 500, "the next server has nothing yet");
    assert_eq!(stored().await, 3_000);
    assert_eq!(client.get_many(&keys).await.found().count(), 3_000);
    let deleted = client.delete_many(&keys).await;
    let failed = deleted.failed().count();
    assert!(failed > 500 && deleted.applied().count() == 3_000 - failed, "keys whose primary is down have failed");
    assert_eq!(client.get_many(&keys).await.missing().count(), 3_000);
}
