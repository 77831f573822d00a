//! Failover, replicas, retries, hedges, routing keys, and changes of the server list.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod refusals;
mod replies;
mod updates;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use remcache::config::{Address, ProtocolSetting};
use remcache::policy::{Failover, Hedge, Retries};
use remcache::transport::{Connect, Connecting, Stream, TransportSettings};
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
        handle(client, name).state().condition.is_down()
    })
    .await;
}

async fn wait_until_up(client: &Client, name: &str) {
    wait_until("the server is up", async || handle(client, name).noop().await.is_ok()).await;
}

// ---- Failover ----

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
    let config = patient_config().failover(failover.ttl_cap(Duration::from_secs(7)));
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

        // The value on the primary may become visible again, so the delete has failed, although another server executed it.
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
    assert_eq!(client.set_many(items()).await.made().count(), 200);
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
    assert_eq!(client.set_many(items()).await.made().count(), 200);
    let sizes = sizes().await;
    assert!(sizes[0] > 0 && sizes[1] > 0, "both gutter servers have keys: {sizes:?}");
    assert_eq!(client.get_many(&keys).await.found().count(), 200);
    client.close().await;
    assert!(
        client.spare_servers().iter().all(|spare| spare.state().condition == remcache::health::ConnectionState::Closed)
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
    let stored = async || client.set_many(keys.iter().map(|key| (key, "v"))).await.made().count();
    assert_eq!(stored().await, 3_000);
    servers[1].stop().await;
    wait_until_down(&client, &servers[1].address()).await;
    let found = client.get_many(&keys).await;
    assert!(found.is_complete() && found.missing().count() > 500, "the next server has nothing yet");
    assert_eq!(stored().await, 3_000);
    assert_eq!(client.get_many(&keys).await.found().count(), 3_000);
    let deleted = client.delete_many(&keys).await;
    let failed = deleted.failed().count();
    assert!(failed > 500 && deleted.made().count() == 3_000 - failed, "keys whose primary is down have failed");
    assert_eq!(client.get_many(&keys).await.missing().count(), 3_000);
}

// ---- Replicas ----

#[tokio::test]
async fn replicas_answer_for_a_server_that_is_down() {
    let servers = embedded(3).await;
    let client = client_of(&servers, patient_config().replicas(2));
    let primary = servers[0].address();
    let key = key_of(&client, &primary);
    client.set(&key, "v").await.unwrap();
    let keys: Vec<_> = (0..500).map(|n| format!("many{n}")).collect();
    assert_eq!(client.set_many(keys.iter().map(|key| (key, "v"))).await.made().count(), 500);
    let holders = async |key: &str| {
        let mut holders = Vec::new();
        for server in &servers {
            holders.extend(stored_on(&client, &server.address(), key).await.map(|_| server.address()));
        }
        holders
    };
    assert_eq!(holders(&key).await.len(), 2);
    for key in keys.iter().take(50) {
        assert_eq!(holders(key).await.len(), 2, "{key}");
    }

    // A lost replica is not a miss.
    handle(&client, &primary).call(Request::delete(&*key)).await;
    assert_eq!(client.get(&key).await.unwrap().unwrap().value, "v");

    servers[0].stop().await;
    wait_until_down(&client, &primary).await;
    assert_eq!(client.get(&key).await.unwrap().unwrap().value, "v");
    assert_eq!(client.get_many(&keys).await.found().count(), 500);
    assert!(client.set(&key, "w").await.unwrap().is_applied());
    assert_eq!(client.get(&key).await.unwrap().unwrap().value, "w");
    assert!(client.delete(&key).await.is_err(), "one replica could not be deleted");
    assert_eq!(client.get("absent").await.unwrap(), None);
}

#[tokio::test]
async fn read_modify_write_operations_run_once_and_delete_the_other_replicas() {
    let servers = embedded(2).await;
    let client = client_of(&servers, patient_config().replicas(2));
    let (primary, other) = (servers[0].address(), servers[1].address());
    let key = key_of(&client, &primary);
    client.set(&key, "5").await.unwrap();
    assert_eq!(stored_on(&client, &other, &key).await.as_deref(), Some("5"));
    assert_eq!(client.increment(&key, 1).await.unwrap().unwrap().value, 6);
    let replicas = (stored_on(&client, &primary, &key).await, stored_on(&client, &other, &key).await);
    assert_eq!(replicas, (Some("6".to_owned()), None));

    let _ = client.set_many([(&key, "7")]).await;
    assert_eq!(client.increment_many([(&key, 1)]).await.get(&key).unwrap().unwrap().unwrap().value, 8);
    let replicas = (stored_on(&client, &primary, &key).await, stored_on(&client, &other, &key).await);
    assert_eq!(replicas, (Some("8".to_owned()), None));
    assert_eq!(client.add(&key, "x").await.unwrap(), WriteOutcome::Exists);
}

// ---- Retries ----

/// A server that answers no-ops, and counts gets but never answers them.
struct GetCounter {
    address: String,
    gets: Arc<AtomicUsize>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum OnGet {
    Ignore,
    Disconnect,
}

impl GetCounter {
    fn start(on_get: OnGet) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let gets = Arc::<AtomicUsize>::default();
        let counter = Arc::clone(&gets);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let counter = Arc::clone(&counter);
                std::thread::spawn(move || serve(stream, on_get, &counter));
            }
        });
        Self { address, gets }
    }
}

fn serve(mut stream: TcpStream, on_get: OnGet, gets: &AtomicUsize) {
    let mut header = [0; 24];
    while stream.read_exact(&mut header).is_ok() {
        let mut body = vec![0; u32::from_be_bytes([header[8], header[9], header[10], header[11]]) as usize];
        if stream.read_exact(&mut body).is_err() {
            return;
        }
        let is_get = header[1] == 0;
        gets.fetch_add(usize::from(is_get), Ordering::Relaxed);
        match (is_get, on_get) {
            (true, OnGet::Disconnect) => return,
            (true, OnGet::Ignore) => {}
            (false, _) => {
                header[0] = 0x81;
                let _ = stream.write_all(&header);
            }
        }
    }
}

async fn expect_gets_to_fail(client: &Client, count: usize) {
    let mut gets = JoinSet::new();
    for _ in 0..count {
        let client = client.clone();
        gets.spawn(async move { client.call(Request::get("k")).await.is_ok() });
    }
    assert!(gets.join_all().await.iter().all(|is_ok| !is_ok));
}

/// A full bucket of 500 tokens allows 50 retries after timeouts.
#[tokio::test]
async fn in_an_outage_the_budget_limits_retries_after_timeouts() {
    let server = GetCounter::start(OnGet::Ignore);
    let retries = Retries::up_to(3).attempt_timeout(millis(1_000));
    let config =
        Config::new().protocol(ProtocolSetting::Binary).timeout(Duration::from_secs(60)).breaker(0).retries(retries);
    let client = Client::with_config([&server.address], config).unwrap();
    expect_gets_to_fail(&client, 200).await;
    let sent = || server.gets.load(Ordering::Relaxed);
    wait_until("the server has read all attempts", async || sent() >= 250).await;
    expect_gets_to_fail(&client, 20).await;
    wait_until("the server has read all attempts", async || sent() >= 270).await;
    assert_eq!(sent(), 270, "200 first attempts, 50 retries, and 20 first attempts with an empty bucket");
}

/// A full bucket of 500 tokens allows 100 retries after other failures.
#[tokio::test]
async fn in_an_outage_the_budget_limits_retries_after_disconnects() {
    let server = GetCounter::start(OnGet::Disconnect);
    let config = patient_config()
        .protocol(ProtocolSetting::Binary)
        .retries(Retries::up_to(1))
        .reconnect_delay(millis(1), millis(2));
    let client = Client::with_config([&server.address], config).unwrap();
    let mut calls = 0;
    while calls < 1_000 && server.gets.load(Ordering::Relaxed) < calls + 100 {
        wait_until("the server is up", async || client.is_usable()).await;
        assert!(!client.call(Request::get("k")).await.is_ok());
        calls += 1;
    }
    let sent = server.gets.load(Ordering::Relaxed);
    assert!(sent > calls && sent <= calls + 100, "{sent} attempts for {calls} gets");
    for _ in 0..20 {
        wait_until("the server is up", async || client.is_usable()).await;
        assert!(!client.call(Request::get("k")).await.is_ok());
    }
    assert!(server.gets.load(Ordering::Relaxed) <= calls + 20 + 100);
}

#[tokio::test]
async fn a_get_is_retried_after_a_disconnect_and_an_increment_is_not() {
    let servers = embedded(1).await;
    let retries = Retries::up_to(1);
    let config = patient_config().retries(retries).reconnect_delay(millis(1), millis(5));
    let client = client_of(&servers, config);
    client.set("k", "v").await.unwrap();
    client.set("n", "0").await.unwrap();
    let corrupt_reply = || servers[0].inject(Fault::Garbage { seed: 7 }.on_reply(1));
    for _ in 0..20 {
        corrupt_reply();
        assert_eq!(client.get("k").await.unwrap().unwrap().value, "v");
    }
    let mut maybe_executed = 0;
    for _ in 0..20 {
        wait_until("the server is up", async || client.is_usable()).await;
        corrupt_reply();
        let error = client.increment("n", 1).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Disconnected(Delivery::MaybeSent));
        maybe_executed += 1;
    }
    wait_until("the server is up", async || client.is_usable()).await;
    let count = client.get("n").await.unwrap().unwrap().value;
    assert_eq!(count, maybe_executed.to_string(), "each was executed once");
    corrupt_reply();
    assert!(client.set("k", "w").await.is_err(), "retries of sets are not enabled");
}

// ---- Hedges ----

#[tokio::test]
async fn a_slow_replica_is_hedged_by_the_next() {
    let servers = embedded(2).await;
    let hedge = Hedge::after(millis(20)).percent(100);
    let client = client_of(&servers, patient_config().replicas(2).hedge(hedge));
    let key = key_of(&client, &servers[0].address());
    client.set(&key, "v").await.unwrap();
    // The first replica never answers, so every reply comes from the second.
    servers[0].inject(Fault::BlackHole);
    for _ in 0..15 {
        assert_eq!(client.get(&key).await.unwrap().unwrap().value, "v");
    }
}

#[tokio::test]
async fn few_of_a_hundred_slow_reads_are_hedged() {
    let servers = embedded(2).await;
    let client = client_of(&servers, patient_config().replicas(2).hedge(Hedge::after(millis(1))));
    let key = key_of(&client, &servers[0].address());
    client.set(&key, "v").await.unwrap();
    servers[0].inject(Fault::Delay(millis(20)));
    for _ in 0..100 {
        assert_eq!(client.get(&key).await.unwrap().unwrap().value, "v");
    }
    // Ten hedges are saved up, and one in twenty calls adds another.
    let hedged = stat(&client.servers()[1], "cmd_get").await;
    assert!((10..=15).contains(&hedged), "{hedged}");
}

#[tokio::test]
async fn hedges_have_a_budget() {
    let servers = embedded(2).await;
    let config = Config::new().timeout(millis(400)).breaker(0).replicas(2).hedge(Hedge::after(millis(1)).percent(0));
    let client = client_of(&servers, config);
    let key = key_of(&client, &servers[0].address());
    client.set(&key, "v").timeout(Duration::from_secs(60)).await.unwrap();
    servers[0].inject(Fault::BlackHole);
    assert!(client.get(&key).await.unwrap_err().is_timeout());
}

// ---- Routing ----

#[tokio::test]
async fn a_routing_key_determines_the_server() {
    let servers = embedded(4).await;
    let configs = [
        (patient_config(), ""),
        (patient_config().failover(Failover::next()), ""),
        (patient_config().namespace("ns:"), "ns:"),
        (patient_config().namespace("ns:").retries(Retries::up_to(1)), "ns:"),
    ];
    for (config, prefix) in configs {
        let client = client_of(&servers, config);
        let primary = servers[2].address();
        let route = key_of(&client_of(&servers, patient_config()), &primary);
        for n in 0..50 {
            let key = format!("item{n}");
            client.set(&key, "v").routing_key(&*route).await.unwrap();
            assert_eq!(stored_on(&client, &primary, &format!("{prefix}{key}")).await.as_deref(), Some("v"), "{key}");
            assert_eq!(client.get(&key).routing_key(&*route).await.unwrap().unwrap().value, "v");
            assert!(client.call(Request::delete(&*key)).routing_key(&*route).await.is_ok());
        }
    }
}

/// A connector that resolves one name to a configurable address.
#[derive(Clone, Debug)]
struct Directory(Arc<Mutex<String>>);

impl Connect for Directory {
    fn connect<'a>(&'a self, address: &'a Address, _: &'a TransportSettings) -> Connecting<'a> {
        let Address::Tcp { host, .. } = address else { panic!("{address} is not a host name") };
        let target = if host == "moving" { self.0.lock().unwrap().clone() } else { host.replace('_', ":") };
        Box::pin(async move { Ok(Box::new(tokio::net::TcpStream::connect(target).await?) as Box<dyn Stream>) })
    }
}

/// A host name is resolved again for each connection, and the keys stay with the name.
#[tokio::test]
async fn row_15_a_server_that_changes_address_keeps_its_keys() {
    let servers = embedded(3).await;
    let directory = Directory(Arc::new(Mutex::new(servers[0].address())));
    let fixed = servers[1].address().replace(':', "_");
    let client =
        Client::with_config(["moving".to_owned(), fixed], patient_config().connector(directory.clone())).unwrap();
    let key = key_of(&client, "moving:11211");
    client.set(&key, "at the old address").await.unwrap();
    servers[0].stop().await;
    wait_until_down(&client, "moving:11211").await;
    assert_eq!(client.get(&key).await.unwrap_err().kind(), ErrorKind::Disconnected(Delivery::NotSent));
    *directory.0.lock().unwrap() = servers[2].address();
    wait_until_up(&client, "moving:11211").await;
    assert_eq!(client.locate(&key).unwrap().unwrap().name(), "moving:11211");
    client.set(&key, "at the new address").await.unwrap();
    let direct = client_of(&servers[2..], patient_config());
    assert_eq!(direct.get(&key).await.unwrap().unwrap().value, "at the new address");
}

// ---- Changes of the server list ----

#[tokio::test]
async fn changing_a_weight_moves_keys_and_keeps_the_connection() {
    let servers = embedded(2).await;
    let client = client_of(&servers, patient_config());
    let names: Vec<_> = servers.iter().map(Server::address).collect();
    let share = || {
        let is_first = |n: &usize| client.locate(format!("key{n}")).unwrap().unwrap().name() == names[0];
        (0..10_000).filter(is_first).count()
    };
    assert!(client.noop().await.iter().all(|(_, outcome)| outcome.is_ok()));
    assert!((3_500..6_500).contains(&share()));
    client.set_servers([format!("{}:9", names[0]), format!("{}:1", names[1])]).unwrap();
    assert!(share() > 8_000, "{} of 10,000 keys", share());
    assert_eq!(client.servers()[0].endpoint().weight, 9);
    assert!(client.noop().await.iter().all(|(_, outcome)| outcome.is_ok()));
    for server in client.servers() {
        assert_eq!((server.metrics().open, server.metrics().reconnects), (1, 0));
    }
}

#[tokio::test]
async fn requests_in_flight_on_a_removed_server_complete() {
    let servers = [Memcached::start(&[]), Memcached::start(&[])];
    let config = patient_config().failover(Failover::next());
    let client = Client::with_config(servers.iter().map(Memcached::addr), config).unwrap();
    let leaving = handle(&client, &servers[0].addr());
    let key = key_of(&client, leaving.name());
    client.set(&key, "v").await.unwrap();
    // A stopped server keeps the requests in flight.
    servers[0].stop();
    let mut gets = JoinSet::new();
    for _ in 0..100 {
        let (client, key) = (client.clone(), key.clone());
        gets.spawn(async move { client.get(key).await.unwrap().unwrap().value });
    }
    wait_until("all requests are in flight", async || leaving.in_flight() == 100).await;
    drop(leaving);
    client.set_servers([servers[1].addr()]).unwrap();
    servers[0].cont();
    assert!(gets.join_all().await.iter().all(|value| value == "v"));
    assert_eq!(
        client.call(Request::get(&*key)).await.status,
        Status::KeyNotFound,
        "the other server gets new requests"
    );
}
