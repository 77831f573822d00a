//! Requests over TLS with a real memcached: the client does not stall a server that reads partial TLS records.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod unaligned_client;

use std::time::Duration;

use bytes::Bytes;
use remcache::transport::Tls;
use remcache::{Client, Config, Request, Status};
use remcache_testkit::{Authority, Certificate, Dates, Memcached, Proxy, seed};
use tokio::time::timeout;
use unaligned_client::UnalignedClient;

use crate::support::{only_server, patient_config, wait_until};

/// A server with TLS, and its certificate authority.
struct Fixture {
    server: Memcached,
    authority: Authority,
    _certificate: Certificate,
}

impl Fixture {
    fn new(args: &[&str]) -> Self {
        let authority = Authority::new("test authority");
        let certificate = authority.certify(&["127.0.0.1"], Dates::Now);
        let server = Memcached::start_tls(&certificate, args);
        Self { server, authority, _certificate: certificate }
    }

    fn client(&self, config: Config) -> Client {
        self.client_of(&self.server.addr(), config)
    }

    fn client_of(&self, address: &str, config: Config) -> Client {
        Client::with_config([address], config.tls(Tls::with_roots_file(self.authority.file()))).unwrap()
    }
}

#[tokio::test]
async fn every_operation_works_over_tls() {
    let fixture = Fixture::new(&[]);
    let client = fixture.client(patient_config());
    assert!(client.set("greeting", "Hello").await.unwrap().is_applied());
    assert_eq!(client.get("greeting").await.unwrap().unwrap().value, "Hello");
    assert!(client.append("greeting", " World").await.unwrap().is_applied());
    assert_eq!(client.increment("visits", 1).initial(7).await.unwrap().unwrap().value, 7);
    assert!(client.delete("greeting").await.unwrap().is_applied());
    assert!(client.get("greeting").await.unwrap().is_none());

    client.close().await;
}

// ---- Stalls ----

/// Batches that stall a server if they are written without alignment: number and size of the values.
const BATCHES: &[(usize, usize)] = &[(1, 20_000), (20, 1_000), (20, 4_000), (50, 5_000), (20, 32_768)];

#[tokio::test]
async fn unaligned_tls_records_stall_the_server() {
    let fixture = Fixture::new(&[]);
    let mut stalled = 0;
    for _ in 0..10 {
        let mut client = UnalignedClient::connect(&fixture.server, &fixture.authority).await;
        client.write(&unaligned_client::sets_and_a_noop(20, 4_000)).await;
        let answered = timeout(Duration::from_secs(1), client.read_replies(21)).await;
        stalled += usize::from(answered.is_err());
    }
    assert!(stalled > 0, "this server does not stall, so the test needs other batches");
}

#[tokio::test]
async fn the_client_does_not_stall_the_server() {
    let fixture = Fixture::new(&["-m", "256"]);
    for _ in 0..10 {
        // A new connection per round: stalls depend on where TLS records begin.
        let client = fixture.client(patient_config());
        for &(count, length) in BATCHES {
            let values = (0..count).map(|n| (format!("key{n}"), Bytes::from(vec![b'v'; length])));
            let stored = client.set_many(values).await;
            assert_eq!(stored.applied().count(), count, "{count} values of {length} bytes");
            let fetched = client.get_many((0..count).map(|n| format!("key{n}"))).await;
            assert!(fetched.found().all(|(_, item)| item.value.len() == length) && fetched.found().count() == count);
        }
    }
}

#[tokio::test]
async fn requests_of_any_length_in_any_order() {
    let seed = seed();
    let mut random = seed.rng();
    let fixture = Fixture::new(&["-m", "256"]);
    let client = fixture.client(patient_config());
    for round in 0..60 {
        let lengths: Vec<usize> = (0..random.usize(1..200)).map(|_| random_length(&mut random)).collect();
        let tasks: Vec<_> = lengths
            .iter()
            .enumerate()
            .map(|(n, &length)| {
                // Large shared values are separate pieces of the output; borrowed ones are copied.
                let value = Bytes::from(vec![n as u8; length]);
                let (client, is_shared) = (client.clone(), random.bool());
                tokio::spawn(async move {
                    let key = format!("key{n}");
                    let set = match is_shared {
                        true => client.set(&*key, value).await,
                        false => client.set(&*key, &value[..]).await,
                    };
                    assert!(set.unwrap().is_applied());
                    client.get(&*key).await.unwrap().unwrap().value
                })
            })
            .collect();
        for (n, task) in tasks.into_iter().enumerate() {
            let value = task.await.unwrap();
            assert!(value.len() == lengths[n] && value.iter().all(|&byte| byte == n as u8), "round {round}, {n}");
        }
    }
    // A multiget stays in flight until its `END` is read, which comes after the last value.
    only_server(&client).noop().await.unwrap();
    assert_eq!((only_server(&client).in_flight(), only_server(&client).waiting()), (0, 0));
}

/// Returns a length near a threshold: of output pieces, TLS records, or reads of the server.
fn random_length(random: &mut fastrand::Rng) -> usize {
    let near = [0_usize, 100, 4_096, 16_000, 16_384, 32_768, 100_000];
    let near = near[random.usize(..near.len())];
    near.saturating_sub(40) + random.usize(..80)
}

// ---- Long pipelines ----

#[tokio::test]
async fn a_million_keys_in_one_call() {
    const KEYS: u32 = 1_000_000;
    let fixture = Fixture::new(&["-m", "256"]);
    let client = fixture.client(patient_config());
    let keys = || (0..KEYS).map(u32::to_be_bytes);
    let stored = client.set_many(keys().step_by(10).map(|key| (key, key))).await;
    assert_eq!(stored.applied().count(), 100_000);
    let fetched = client.get_many(keys()).await;
    assert_eq!(fetched.len(), KEYS as usize);
    for (n, (key, item)) in fetched.into_iter().enumerate() {
        let value = item.unwrap().map(|item| item.value);
        assert_eq!(value.as_deref(), (n % 10 == 0).then_some(&key[..]));
    }
}

/// Returns a value of 100 kB that consists of its number, repeated.
fn large(n: usize) -> Bytes {
    Bytes::from((n as u32).to_be_bytes().repeat(25_000))
}

/// Stores large values, and fetches `count` of them in one call.
async fn fetch_large(fixture: &Fixture, config: Config, count: usize) {
    const DISTINCT: usize = 50;
    let values: Vec<Bytes> = (0..DISTINCT).map(large).collect();
    let items = values.iter().enumerate().map(|(n, value)| (format!("key{n}"), value.clone()));
    let stored = fixture.client(patient_config()).set_many(items).await;
    assert_eq!(stored.applied().count(), DISTINCT);
    let fetched = fixture.client(config).get_many((0..count).map(|n| format!("key{}", n % DISTINCT))).await;
    assert_eq!(fetched.len(), count);
    for (n, (key, item)) in fetched.into_iter().enumerate() {
        assert!(item.unwrap().unwrap().value == values[n % DISTINCT], "{key}");
    }
}

#[tokio::test]
async fn ten_thousand_large_values_are_fetched() {
    fetch_large(&Fixture::new(&["-m", "256"]), patient_config(), 10_000).await;
}

/// Fewer values, because small buffers are slow: `cargo xtask soak --pipelines` fetches ten thousand.
#[tokio::test]
async fn large_values_are_fetched_through_small_buffers() {
    fetch_large(&Fixture::new(&["-m", "256"]), patient_config().socket_buffers(4096), 2_000).await;
}

#[tokio::test]
async fn callers_move_large_values_through_small_buffers() {
    const VALUES: usize = 40;
    let fixture = Fixture::new(&["-m", "256"]);
    let client = fixture.client(patient_config().socket_buffers(4096));
    let value = |n: usize| Bytes::from(vec![n as u8; 100_000]);
    let sets: Vec<_> = (0..VALUES)
        .map(|n| {
            let client = client.clone();
            tokio::spawn(async move { client.set(format!("key{n}"), value(n)).await })
        })
        .collect();
    let gets: Vec<_> = (0..200)
        .map(|n| {
            let client = client.clone();
            tokio::spawn(async move { client.get(format!("key{}", n % VALUES)).await })
        })
        .collect();
    for set in sets {
        assert!(set.await.unwrap().unwrap().is_applied());
    }
    for (n, get) in gets.into_iter().enumerate() {
        assert!(get.await.unwrap().unwrap().expect("the set was submitted first").value == value(n % VALUES));
    }
}

// ---- Dropped futures and lost connections ----

#[tokio::test]
async fn the_reply_to_a_dropped_get_is_never_returned_to_another() {
    let fixture = Fixture::new(&[]);
    let proxy = Proxy::start(fixture.server.addr()).await;
    let client = fixture.client_of(&proxy.addr(), patient_config());
    client.set("a", "value of a").await.unwrap();
    client.set("b", "value of b").await.unwrap();
    for round in 0..50 {
        // A stopped server cannot reply before the future is dropped.
        fixture.server.stop();
        let dropped = timeout(Duration::from_millis(5), client.get("a")).await;
        assert!(dropped.is_err(), "round {round}: a reply from a stopped server");
        fixture.server.cont();
        let item = client.get("b").await.unwrap().expect("no false miss");
        assert_eq!(item.value, "value of b", "round {round}");
    }
    let server = only_server(&client);
    wait_until("nothing is in flight", async || (server.in_flight(), server.waiting()) == (0, 0)).await;
    assert_eq!(proxy.accepted(), 1, "no reconnect");
}

#[tokio::test]
async fn the_client_reconnects_to_a_restarted_server() {
    let mut fixture = Fixture::new(&[]);
    let client = fixture.client(patient_config());
    client.set("k", "v").await.unwrap();
    for _ in 0..3 {
        fixture.server.kill();
        wait_until("the server is down", async || client.get("k").await.is_err()).await;
        fixture.server.restart();
        wait_until("the server is up", async || client.call(Request::get("k")).await.status == Status::KeyNotFound)
            .await;
    }
}
