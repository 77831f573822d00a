//! Real servers that are killed, stopped, restarted or close connections: what calls return, and that the client
//! recovers.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod closed_connections;
mod killed;
mod stopped;
mod unreachable;

use std::time::Duration;

use remcache::health::ConnectionState;
use remcache::{Client, Config, Error, Item, ServerHandle};
use remcache_testkit::Memcached;
use tokio::task::JoinHandle;

use crate::support::patient_config;

/// The number of keys of a load.
const KEYS: usize = 300;

fn millis(count: u64) -> Duration {
    Duration::from_millis(count)
}

fn client_of(server: &Memcached) -> Client {
    Client::with_config([server.addr()], patient_config()).unwrap()
}

fn three_servers() -> ([Memcached; 3], Client) {
    let servers = [Memcached::start(&[]), Memcached::start(&[]), Memcached::start(&[])];
    let client = Client::with_config(servers.iter().map(Memcached::addr), patient_config()).unwrap();
    (servers, client)
}

fn key(n: usize) -> String {
    format!("key{n}")
}

fn value(n: usize) -> String {
    format!("value {n}")
}

/// Returns the first `count` numbers whose keys are on a server, or are not.
fn numbers(client: &Client, server: &str, on: bool, count: usize) -> Vec<usize> {
    let is_on = |n: &usize| client.locate(key(*n)).unwrap().unwrap().name() == server;
    (0..).filter(|n| is_on(n) == on).take(count).collect()
}

async fn store(client: &Client, numbers: &[usize]) {
    let stored = client.set_many(numbers.iter().map(|&n| (key(n), value(n)))).await;
    assert_eq!(stored.applied().count(), numbers.len(), "{:?}", stored.failed().next());
}

type Get = JoinHandle<(usize, Result<Option<Item>, Error>)>;

fn get_each(client: &Client, numbers: &[usize]) -> Vec<Get> {
    let get = |n: usize| {
        let client = client.clone();
        tokio::spawn(async move { (n, client.get(key(n)).await) })
    };
    numbers.iter().map(|&n| get(n)).collect()
}

async fn assert_all_found(gets: Vec<Get>) {
    for get in gets {
        let (n, got) = get.await.unwrap();
        assert_eq!(got.unwrap().expect("a hit").value, value(n));
    }
}

fn is_down(server: &ServerHandle) -> bool {
    matches!(server.status().state, ConnectionState::Down(_))
}

#[test]
fn a_namespace_is_hashed_as_in_the_original_client() {
    use remcache::distribution::Distribution;
    let server_of = |distribution: Distribution, namespace: &str, key: &str| {
        let config = Config::new().distribution(distribution).namespace(namespace);
        let client = Client::with_config(["a", "b", "c", "d", "e"], config).unwrap();
        client.locate(key).unwrap().unwrap().name().to_owned()
    };
    let keys: Vec<String> = (0..100).map(|number| format!("key:{number}")).collect();
    for (distribution, is_hashed) in [(Distribution::KETAMA, true), (Distribution::LIBMEMCACHED_KETAMA_WEIGHTED, false)]
    {
        let same =
            keys.iter().filter(|key| server_of(distribution, "shop:", key) == server_of(distribution, "", key)).count();
        assert_eq!(same == keys.len(), !is_hashed, "{distribution}: {same}");
        let with_namespace = keys
            .iter()
            .all(|key| server_of(distribution, "shop:", key) == server_of(distribution, "", &format!("shop:{key}")));
        assert_eq!(with_namespace, is_hashed, "{distribution}");
    }
}
