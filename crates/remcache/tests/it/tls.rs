//! Requests over TLS, on a real memcached: what stalls a server that reads a record in part does not stall here.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod naive;

use std::time::Duration;

use bytes::Bytes;
use naive::Naive;
use remcache::transport::Tls;
use remcache::{Client, Config, Request, Status};
use remcache_testkit::{Authority, Certificate, Dates, Memcached, Proxy, seed};
use tokio::time::timeout;

use crate::support::{only_server, patient_config, wait_until};

/// A server that speaks TLS, and whom to trust for it.
struct Setting {
    server: Memcached,
    authority: Authority,
    _certificate: Certificate,
}

impl Setting {
    fn new(args: &[&str]) -> Self {
        let authority = Authority::new("an authority of a test");
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
async fn every_operation_over_tls() {
    let setting = Setting::new(&[]);
    let client = setting.client(patient_config());
    assert!(client.set("greeting", "Hello").await.unwrap().is_applied());
    assert_eq!(client.get("greeting").await.unwrap().unwrap().value, "Hello");
    assert!(client.append("greeting", " World").await.unwrap().is_applied());
    assert_eq!(client.increment("visits", 1).initial(7).await.unwrap().unwrap().value, 7);
    assert!(client.delete("greeting").await.unwrap().is_applied());
    assert!(client.get("greeting").await.unwrap().is_none());

    client.close().await;
}

// ---- Stalls ----

/// What stalls a server when it is written as it comes, by how large the values are and how many.
const BATCHES: &[(usize, usize)] = &[(1, 20_000), (20, 1_000), (20, 4_000), (50, 5_000), (20, 32_768)];

#[tokio::test]
async fn what_is_written_as_it_comes_stalls_the_server() {
    let setting = Setting::new(&[]);
    let mut stalled = 0;
    for _ in 0..10 {
        let mut naive = Naive::connect(&setting.server, &setting.authority).await;
        naive.write(&naive::sets_and_a_noop(20, 4_000)).await;
        let answered = timeout(Duration::from_secs(1), naive.read_replies(21)).await;
        stalled += usize::from(answered.is_err());
    }
    assert!(stalled > 0, "this server does not stall: the batches are to be made worse");
}

#[tokio::test]
async fn what_stalls_others_does_not_stall_the_client() {
    let setting = Setting::new(&["-m", "256"]);
    for _ in 0..10 {
        // One connection for each round: what stalls depends on where its records begin.
        let client = setting.client(patient_config());
        for &(count, length) in BATCHES {
            let values = (0..count).map(|n| (format!("key{n}"), Bytes::from(vec![b'v'; length])));
            let stored = client.set_many(values).await;
            assert_eq!(stored.made().count(), count, "{count} values of {length} bytes");
            let fetched = client.get_many((0..count).map(|n| format!("key{n}"))).await;
            assert!(fetched.found().all(|(_, item)| item.value.len() == length) && fetched.found().count() == count);
        }
    }
}

#[tokio::test]
async fn requests_of_any_length_in_any_order() {
    let seed = seed();
    let mut random = seed.rng();
    let setting = Setting::new(&["-m", "256"]);
    let client = setting.client(patient_config());
    for round in 0..60 {
        let lengths: Vec<usize> = (0..random.usize(1..200)).map(|_| a_length(&mut random)).collect();
        let tasks: Vec<_> = lengths
            .iter()
            .enumerate()
            .map(|(n, &length)| {
                // Large values that are shared are pieces of their own in the output; borrowed ones are not.
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
    // A line of gets is in flight until its end is read, which follows the last value.
    only_server(&client).noop().await.unwrap();
    assert_eq!((only_server(&client).in_flight(), only_server(&client).waiting()), (0, 0));
}

/// Lengths near those that decide something: pieces of the output, records, the server's reads.
fn a_length(random: &mut fastrand::Rng) -> usize {
    let near = [0_usize, 100, 4_096, 16_000, 16_384, 32_768, 100_000];
    let near = near[random.usize(..near.len())];
    near.saturating_sub(40) + random.usize(..80)
}

// ---- Long pipelines ----

#[tokio::test]
async fn row_21_a_million_keys_in_one_call() {
    const KEYS: u32 = 1_000_000;
    let setting = Setting::new(&["-m", "256"]);
    let client = setting.client(patient_config());
    let keys = || (0..KEYS).map(u32::to_be_bytes);
    let stored = client.set_many(keys().step_by(10).map(|key| (key, key))).await;
    assert_eq!(stored.made().count(), 100_000);
    let fetched = client.get_many(keys()).await;
    assert_eq!(fetched.len(), KEYS as usize);
    for (place, (key, item)) in fetched.into_iter().enumerate() {
        let value = item.unwrap().map(|item| item.value);
        assert_eq!(value.as_deref(), (place % 10 == 0).then_some(&key[..]));
    }
}

/// A value of 100 kB that repeats its key.
fn large(n: usize) -> Bytes {
    Bytes::from((n as u32).to_be_bytes().repeat(25_000))
}

/// Stores large values, and fetches them in one call.
async fn fetch_large(setting: &Setting, config: Config, count: usize) {
    const DISTINCT: usize = 50;
    let values: Vec<Bytes> = (0..DISTINCT).map(large).collect();
    let items = values.iter().enumerate().map(|(n, value)| (format!("key{n}"), value.clone()));
    let stored = setting.client(patient_config()).set_many(items).await;
    assert_eq!(stored.made().count(), DISTINCT);
    let fetched = setting.client(config).get_many((0..count).map(|n| format!("key{}", n % DISTINCT))).await;
    assert_eq!(fetched.len(), count);
    for (n, (key, item)) in fetched.into_iter().enumerate() {
        assert!(item.unwrap().unwrap().value == values[n % DISTINCT], "{key}");
    }
}

#[tokio::test]
async fn row_21_ten_thousand_large_values_are_fetched() {
    fetch_large(&Setting::new(&["-m", "256"]), patient_config(), 10_000).await;
}

/// More would take long through such buffers: `cargo xtask soak --pipelines` fetches ten thousand.
#[tokio::test]
async fn row_21_large_values_are_fetched_through_small_buffers() {
    fetch_large(&Setting::new(&["-m", "256"]), patient_config().socket_buffers(4096), 2_000).await;
}

#[tokio::test]
async fn callers_move_large_values_through_small_buffers() {
    const FEW: usize = 40;
    let setting = Setting::new(&["-m", "256"]);
    let client = setting.client(patient_config().socket_buffers(4096));
    let value = |n: usize| Bytes::from(vec![n as u8; 100_000]);
    let sets: Vec<_> = (0..FEW)
        .map(|n| {
            let client = client.clone();
            tokio::spawn(async move { client.set(format!("key{n}"), value(n)).await })
        })
        .collect();
    let gets: Vec<_> = (0..200)
        .map(|n| {
            let client = client.clone();
            tokio::spawn(async move { client.get(format!("key{}", n % FEW)).await })
        })
        .collect();
    for set in sets {
        assert!(set.await.unwrap().unwrap().is_applied());
    }
    for (n, get) in gets.into_iter().enumerate() {
        assert!(get.await.unwrap().unwrap().expect("the set was asked for before").value == value(n % FEW));
    }
}

// ---- Futures that are dropped, connections that end ----

#[tokio::test]
async fn the_reply_to_a_dropped_get_is_never_returned_to_another() {
    let setting = Setting::new(&[]);
    let proxy = Proxy::start(setting.server.addr()).await;
    let client = setting.client_of(&proxy.addr(), patient_config());
    client.set("a", "the value of a").await.unwrap();
    client.set("b", "the value of b").await.unwrap();
    proxy.change(|rules| rules.replies.delay = Duration::from_millis(30));
    for round in 0..50 {
        let dropped = timeout(Duration::from_millis(5), client.get("a")).await;
        assert!(dropped.is_err(), "round {round}: the reply came before it could");
        let item = client.get("b").await.unwrap().expect("no false miss");
        assert_eq!(item.value, "the value of b", "round {round}");
    }
    let server = only_server(&client);
    wait_until("slots are free", async || (server.in_flight(), server.waiting()) == (0, 0)).await;
    assert_eq!(proxy.accepted(), 1, "no reconnect");
}

#[tokio::test]
async fn a_server_that_comes_back_is_found_again() {
    let mut setting = Setting::new(&[]);
    let client = setting.client(patient_config());
    client.set("k", "v").await.unwrap();
    for _ in 0..3 {
        setting.server.kill();
        wait_until("it is noticed", async || client.get("k").await.is_err()).await;
        setting.server.restart();
        wait_until("it is back", async || client.call(Request::get("k")).await.status == Status::KeyNotFound).await;
    }
}
