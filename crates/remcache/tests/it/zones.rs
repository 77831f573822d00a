//! Replicas in zones: reads prefer the own zone until it is down, and deletes reach all zones.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use remcache::{Client, Config, Request, ServerHandle};
use remcache_server::Server;

use crate::support::{patient_config, wait_until};

/// Two servers in different zones.
struct Zones {
    own: Server,
    other: Server,
}

impl Zones {
    async fn start() -> Self {
        Self { own: Server::start().await.unwrap(), other: Server::start().await.unwrap() }
    }

    /// Returns a client with a replica of each key in each zone, which prefers its own zone.
    fn client(&self) -> Client {
        let own = self.own.address();
        let config = patient_config().replicas(2).prefer(move |server| *server.name == *own);
        Client::with_config([self.own.address(), self.other.address()], config).unwrap()
    }
}

const KEYS: usize = 100;

fn keys() -> impl Iterator<Item = String> {
    (0..KEYS).map(|n| format!("key{n}"))
}

fn handle(client: &Client, server: &Server) -> ServerHandle {
    let address = server.address();
    client.servers().into_iter().find(|handle| handle.name() == address).unwrap()
}

async fn is_stored(server: &ServerHandle, key: &str) -> bool {
    server.call(Request::get(key)).await.is_ok()
}

#[tokio::test]
async fn reads_stay_in_the_own_zone_until_it_is_down() {
    let zones = Zones::start().await;
    let client = zones.client();
    for key in keys() {
        assert!(client.set(&key, "v").await.unwrap().is_applied());
    }
    let before = (zones.own.requests(), zones.other.requests());
    for key in keys() {
        assert!(client.get(&key).await.unwrap().is_some());
    }
    assert_eq!(client.get_many(keys()).await.found().count(), KEYS);
    assert_eq!(zones.other.requests(), before.1, "no read leaves the zone");
    assert!(zones.own.requests() > before.0);

    zones.own.stop().await;
    wait_until("the zone is down", async || handle(&client, &zones.own).noop().await.is_err()).await;
    for key in keys() {
        assert!(client.get(&key).await.unwrap().is_some(), "the other zone has a replica");
    }
    assert_eq!(client.get_many(keys()).await.found().count(), KEYS);

    zones.own.restart_with_items().await.unwrap();
    wait_until("the zone is up", async || handle(&client, &zones.own).noop().await.is_ok()).await;
    let before = zones.other.requests();
    for key in keys() {
        assert!(client.get(&key).await.unwrap().is_some());
    }
    assert_eq!(zones.other.requests(), before, "reads use the own zone again");
}

#[tokio::test]
async fn deletes_reach_all_zones() {
    let zones = Zones::start().await;
    let client = zones.client();
    let (own, other) = (handle(&client, &zones.own), handle(&client, &zones.other));
    for key in keys() {
        client.set(&key, "v").await.unwrap();
        assert!(is_stored(&own, &key).await && is_stored(&other, &key).await, "a replica in each zone");
    }
    for key in keys().take(KEYS / 2) {
        assert!(client.delete(&key).await.unwrap().is_applied());
    }
    assert_eq!(client.delete_many(keys().skip(KEYS / 2)).await.applied().count(), KEYS / 2);
    for key in keys() {
        assert!(!is_stored(&own, &key).await && !is_stored(&other, &key).await, "{key}");
    }
}

#[tokio::test]
async fn a_key_missing_in_the_own_zone_is_read_from_another() {
    let zones = Zones::start().await;
    let client = zones.client();
    client.set("k", "v").await.unwrap();
    handle(&client, &zones.own).call(Request::delete("k")).await;
    assert_eq!(client.get("k").await.unwrap().unwrap().value, "v");
}

#[test]
fn a_url_can_prefer_servers() {
    let config = Config::from_url("memcached://a.zone1,b.zone2/?replicas=2&prefer=.zone2").unwrap();
    Client::from_config(config).unwrap();
    let error =
        Client::from_config(Config::from_url("memcached://a.zone1,b.zone2/?prefer=.zone2").unwrap()).unwrap_err();
    assert!(error.to_string().contains("replicas"), "{error}");
}
