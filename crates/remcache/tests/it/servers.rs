//! Real servers that die, stop, come back, close: what callers hear, and that the client heals itself.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use remcache::health::ConnectionState;
use remcache::{Client, Config, Delivery, Error, ErrorKind, Item, ServerHandle};
use remcache_testkit::{Close, Memcached, Proxy, seed, unused_port};
use tokio::task::JoinHandle;

use crate::support::{only_server, patient_config, wait_until};

fn millis(count: u64) -> Duration {
    Duration::from_millis(count)
}

fn client_of(server: &Memcached) -> Client {
    Client::with_config([server.addr()], patient_config()).unwrap()
}

fn three() -> ([Memcached; 3], Client) {
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

/// The first numbers whose keys are on a server, or are not.
fn numbers(client: &Client, server: &str, on: bool, count: usize) -> Vec<usize> {
    let is_on = |n: &usize| client.locate(key(*n)).unwrap().unwrap().name() == server;
    (0..).filter(|n| is_on(n) == on).take(count).collect()
}

async fn store(client: &Client, numbers: &[usize]) {
    let stored = client.set_many(numbers.iter().map(|&n| (key(n), value(n)))).await;
    assert_eq!(stored.made().count(), numbers.len(), "{:?}", stored.failed().next());
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
    matches!(server.state().condition, ConnectionState::Down(_))
}

// ---- kill -9 ----

#[tokio::test]
async fn a_killed_server_fails_its_own_keys_only() {
    let (mut servers, client) = three();
    let victim = servers[1].addr();
    let (doomed, safe) = (numbers(&client, &victim, true, 1000), numbers(&client, &victim, false, 1000));
    store(&client, &doomed).await;
    store(&client, &safe).await;

    // A stopped server holds its requests in flight until it is killed.
    servers[1].stop();
    let (of_victim, of_others) = (get_each(&client, &doomed), get_each(&client, &safe));
    let handle = client.servers().remove(1);
    wait_until("a thousand are in flight", async || handle.in_flight() == 1000).await;
    servers[1].kill();
    assert_all_found(of_others).await;
    for get in of_victim {
        let (n, got) = get.await.unwrap();
        let error = got.expect_err("neither a miss nor another value");
        assert!(matches!(error.kind(), ErrorKind::Disconnected(_)), "{}: {error}", key(n));
        assert_eq!(error.server(), Some(&*victim));
    }
    assert_all_found(get_each(&client, &safe)).await;
    for get in get_each(&client, &doomed) {
        let error = get.await.unwrap().1.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Disconnected(Delivery::NotSent), "known to be down");
    }
    assert!(is_down(&handle) && client.is_usable());

    servers[1].restart();
    // Without requests: it comes back by itself.
    wait_until("it is back", async || handle.state().condition == ConnectionState::Connected).await;
    let after = client.get_many(doomed.iter().map(|&n| key(n))).await;
    assert_eq!(after.missing().count(), 1000, "an empty cache misses honestly");
    store(&client, &doomed).await;
    assert_all_found(get_each(&client, &doomed)).await;
}

#[tokio::test]
async fn what_waits_for_a_killed_server_tells_whether_it_was_sent() {
    let mut server = Memcached::start(&[]);
    let client = Client::with_config([server.addr()], patient_config().max_in_flight(100)).unwrap();
    client.set("n", "0").await.unwrap();
    server.stop();
    let handle = only_server(&client);
    let calls: Vec<_> = (0..300)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move { client.increment("n", 1).await })
        })
        .collect();
    wait_until("as many as may are in flight", async || handle.in_flight() == 100).await;
    server.kill();
    let (mut sent, mut not_sent) = (0, 0);
    for call in calls {
        let error = call.await.unwrap().unwrap_err();
        match error.kind() {
            ErrorKind::Disconnected(Delivery::MaybeSent) => sent += 1,
            ErrorKind::Disconnected(Delivery::NotSent) => not_sent += 1,
            _ => panic!("{error}"),
        }
        assert_eq!(error.may_have_executed(), error.kind() == ErrorKind::Disconnected(Delivery::MaybeSent));
    }
    assert_eq!((sent, not_sent), (100, 200), "who waited for room was not sent");
}

/// What a flow of requests met.
#[derive(Debug, Default)]
struct Tally {
    right: AtomicUsize,
    wrong: AtomicUsize,
    misses_elsewhere: AtomicUsize,
    errors_elsewhere: AtomicUsize,
    errors: AtomicUsize,
}

/// Gets and sets all keys again and again, from several tasks, until it is stopped.
struct Flow {
    tally: Arc<Tally>,
    stop: Arc<AtomicBool>,
    tasks: Vec<JoinHandle<()>>,
}

impl Flow {
    fn start(client: &Client, victim: &str) -> Self {
        let (tally, stop) = (Arc::<Tally>::default(), Arc::<AtomicBool>::default());
        let tasks = (0..20).map(|task| {
            let (client, victim) = (client.clone(), victim.to_owned());
            let (tally, stop) = (Arc::clone(&tally), Arc::clone(&stop));
            tokio::spawn(async move {
                for round in 0.. {
                    if stop.load(Ordering::Relaxed) {
                        return;
                    }
                    tally.ask(&client, (task * 31 + round) % KEYS, &victim).await;
                    tokio::task::yield_now().await;
                }
            })
        });
        let tasks = tasks.collect();
        Self { tally, stop, tasks }
    }

    /// Waits until `count` more requests succeeded.
    async fn goes_on(&self, count: usize) {
        let before = self.tally.right.load(Ordering::Relaxed);
        wait_until("requests go well", async || self.tally.right.load(Ordering::Relaxed) >= before + count).await;
    }

    async fn end(self) -> Arc<Tally> {
        self.stop.store(true, Ordering::Relaxed);
        for task in self.tasks {
            task.await.unwrap();
        }
        self.tally
    }
}

const KEYS: usize = 300;

impl Tally {
    async fn ask(&self, client: &Client, n: usize, victim: &str) {
        let at_victim = client.locate(key(n)).unwrap().unwrap().name() == victim;
        let counter = match client.get(key(n)).await {
            Ok(Some(item)) if item.value == value(n) => &self.right,
            Ok(Some(_)) => &self.wrong,
            Ok(None) if at_victim => {
                // An honest miss, after it came back empty.
                let _ = client.set(key(n), value(n)).await;
                return;
            }
            Ok(None) => &self.misses_elsewhere,
            Err(error) if at_victim && error.server() == Some(victim) => &self.errors,
            Err(_) => &self.errors_elsewhere,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    fn assert_only_the_victim_failed(&self) {
        let count = |counter: &AtomicUsize| counter.load(Ordering::Relaxed);
        let elsewhere = (count(&self.wrong), count(&self.misses_elsewhere), count(&self.errors_elsewhere));
        assert_eq!(elsewhere, (0, 0, 0), "{self:?}");
        assert!(count(&self.errors) > 0 && count(&self.right) > 0, "{self:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_dies_again_and_again_comes_back_each_time() {
    let (mut servers, client) = three();
    let all: Vec<usize> = (0..KEYS).collect();
    store(&client, &all).await;
    let victim = servers[2].addr();
    let flow = Flow::start(&client, &victim);
    let handle = client.servers().remove(2);
    for round in 0..5 {
        flow.goes_on(500).await;
        servers[2].kill();
        wait_until("its loss is noticed", async || is_down(&handle)).await;
        flow.goes_on(500).await;
        servers[2].restart();
        wait_until("it is back", async || handle.state().condition == ConnectionState::Connected).await;
        assert!(client.is_usable(), "round {round}");
    }
    flow.goes_on(500).await;
    flow.end().await.assert_only_the_victim_failed();
    assert!(client.servers().iter().all(|server| (server.in_flight(), server.waiting()) == (0, 0)));
}

#[tokio::test]
async fn a_server_may_come_up_after_its_client() {
    let mut server = Memcached::start(&[]);
    server.kill();
    let client = client_of(&server);
    let error = client.get("k").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Disconnected(Delivery::NotSent));
    server.restart();
    wait_until("it is found", async || client.is_usable()).await;
    assert!(client.set("k", "v").await.unwrap().is_applied());
}

// ---- SIGSTOP ----

#[tokio::test]
async fn a_stopped_server_times_out_then_fails_fast_then_recovers() {
    let server = Memcached::start(&[]);
    let client = Client::with_config([server.addr()], patient_config().timeout(millis(500))).unwrap();
    let handle = only_server(&client);
    for n in 0..100 {
        client.set(key(n), value(n)).timeout(Duration::from_secs(60)).await.unwrap();
    }
    server.stop();
    for get in get_each(&client, &(0..100).collect::<Vec<_>>()) {
        let error = get.await.unwrap().1.expect_err("it says nothing");
        assert!(error.is_timeout() && error.may_have_executed(), "{error}");
    }
    wait_until("it is given up", async || is_down(&handle)).await;
    // It accepts connections still, by its kernel: only a reply would show that it is back.
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(2) {
        let error = client.get(key(1)).await.expect_err("the server does not answer");
        assert_eq!(error.kind(), ErrorKind::Disconnected(Delivery::NotSent), "{error}");
        assert!(is_down(&handle) && !client.is_usable());
        tokio::time::sleep(millis(5)).await;
    }
    server.cont();
    wait_until("it is back", async || handle.state().condition == ConnectionState::Connected).await;
    for round in 0..10 {
        for n in 0..100 {
            let item = client.get(key(n)).timeout(Duration::from_secs(60)).await.unwrap();
            assert_eq!(item.expect("it kept its items").value, value(n), "round {round}: no late reply");
        }
    }
    assert_eq!((handle.in_flight(), handle.waiting()), (0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_stops_for_a_moment_loses_nothing() {
    let server = Memcached::start(&[]);
    let client = client_of(&server);
    let all: Vec<usize> = (0..KEYS).collect();
    store(&client, &all).await;
    for _ in 0..5 {
        server.stop();
        let gets = get_each(&client, &all);
        tokio::time::sleep(millis(100)).await;
        server.cont();
        assert_all_found(gets).await;
    }
}

#[tokio::test]
async fn a_stopped_server_harms_no_other() {
    let servers = [Memcached::start(&[]), Memcached::start(&[])];
    let client =
        Client::with_config(servers.iter().map(Memcached::addr), patient_config().timeout(millis(500))).unwrap();
    let stopped = servers[0].addr();
    let (silent, safe) = (numbers(&client, &stopped, true, 50), numbers(&client, &stopped, false, 50));
    for &n in silent.iter().chain(&safe) {
        client.set(key(n), value(n)).timeout(Duration::from_secs(60)).await.unwrap();
    }
    servers[0].stop();
    let both: Vec<usize> = silent.iter().chain(&safe).copied().collect();
    for _ in 0..5 {
        let got = client.get_many(both.iter().map(|&n| key(n))).timeout(Duration::from_secs(3)).await;
        assert_eq!((got.found().count(), got.failed().count()), (50, 50), "{:?}", got.failed().next());
        assert!(got.failed().all(|(_, error)| error.server() == Some(&*stopped) && error.is_unavailable()));
    }
}

// ---- Connections that end ----

#[tokio::test]
async fn an_idle_connection_that_the_server_closes_is_no_error() {
    let server = Memcached::start(&["-o", "idle_timeout=1"]);
    let proxy = Proxy::start(server.addr()).await;
    let quiet = Duration::from_secs(3600);
    let client = Client::with_config([proxy.addr()], patient_config().keepalive(quiet, quiet)).unwrap();
    client.set("k", "v").await.unwrap();
    let handle = only_server(&client);
    for closed in 1..=2 {
        wait_until("the server closes", async || handle.state().condition == ConnectionState::Idle).await;
        assert!(client.is_usable());
        assert_eq!(client.get("k").await.unwrap().unwrap().value, "v");
        assert_eq!(proxy.accepted(), closed + 1);
    }
}

#[tokio::test]
async fn keepalive_keeps_a_connection_that_the_server_would_close() {
    let server = Memcached::start(&["-o", "idle_timeout=2"]);
    let proxy = Proxy::start(server.addr()).await;
    let client =
        Client::with_config([proxy.addr()], patient_config().keepalive(millis(200), Duration::from_secs(60))).unwrap();
    client.set("k", "v").await.unwrap();
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert_eq!(client.get("k").await.unwrap().unwrap().value, "v");
    assert_eq!(proxy.accepted(), 1);
}

#[tokio::test]
async fn a_reset_fails_what_is_in_flight_and_nothing_after_the_reconnect() {
    let server = Memcached::start(&[]);
    let proxy = Proxy::start(server.addr()).await;
    let client = Client::with_config([proxy.addr()], patient_config()).unwrap();
    let all: Vec<usize> = (0..200).collect();
    store(&client, &all).await;
    for (round, how) in [Close::Rst, Close::Fin, Close::Rst, Close::Fin].into_iter().enumerate() {
        proxy.change(|rules| rules.replies.delay = Duration::from_secs(3600));
        let gets = get_each(&client, &all);
        wait_until("all are in flight", async || only_server(&client).in_flight() == 200).await;
        proxy.change(|rules| rules.replies.delay = Duration::ZERO);
        proxy.close_connections(how);
        for get in gets {
            let (n, got) = get.await.unwrap();
            assert!(got.is_err_and(|error| error.is_disconnected()), "round {round}: {}", key(n));
        }
        wait_until("it is back", async || only_server(&client).state().condition == ConnectionState::Connected).await;
        assert_all_found(get_each(&client, &all)).await;
    }
}

/// G6: what may have been executed is not sent again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_increment_is_done_twice_over_resets() {
    const CALLS: u64 = 5000;
    let seed = seed();
    let server = Memcached::start(&[]);
    let proxy = Proxy::start(server.addr()).await;
    let config = patient_config().reconnect_delay(millis(1), millis(5));
    let client = Client::with_config([proxy.addr()], config).unwrap();
    client.set("n", "0").await.unwrap();
    let tallies: Arc<[AtomicU64; 3]> = Arc::default();
    let tasks: Vec<_> = (0..50)
        .map(|_| {
            let (client, tallies) = (client.clone(), Arc::clone(&tallies));
            tokio::spawn(async move {
                for _ in 0..CALLS / 50 {
                    let place = match client.increment("n", 1).await {
                        Ok(counter) => usize::from(counter.is_none()) * 3,
                        Err(error) => 1 + usize::from(error.may_have_executed()),
                    };
                    tallies[place].fetch_add(1, Ordering::Relaxed);
                    tokio::time::sleep(millis(1)).await;
                }
            })
        })
        .collect();
    let mut rng = seed.rng();
    while tasks.iter().any(|task| !task.is_finished()) {
        tokio::time::sleep(Duration::from_micros(rng.u64(0..20_000))).await;
        proxy.close_connections(if rng.bool() { Close::Rst } else { Close::Fin });
    }
    for task in tasks {
        task.await.unwrap();
    }
    let [done, not_sent, maybe] = [0, 1, 2].map(|place| tallies[place].load(Ordering::Relaxed));
    assert_eq!(done + not_sent + maybe, CALLS);
    let counter = client_of(&server).increment("n", 0).await.unwrap().unwrap().value;
    assert!((done..=done + maybe).contains(&counter), "{done} done, {maybe} maybe, the server says {counter}");
    assert!(not_sent + maybe > 0, "no reset met a request");
}

/// G13: a dead server is not hurried, however many ask for it.
#[tokio::test]
async fn a_dead_server_is_tried_now_and_then() {
    let proxy = Proxy::start(format!("127.0.0.1:{}", unused_port())).await;
    let client = Client::with_config([proxy.addr()], patient_config()).unwrap();
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(3) {
        assert!(client.get("k").await.unwrap_err().is_disconnected());
        tokio::time::sleep(millis(1)).await;
    }
    assert!(proxy.accepted() <= 30, "{} connections", proxy.accepted());
}

#[tokio::test]
async fn a_server_that_is_refused_and_resumes() {
    let server = Memcached::start(&[]);
    let proxy = Proxy::start(server.addr()).await;
    let client = Client::with_config([proxy.addr()], patient_config()).unwrap();
    client.set("k", "v").await.unwrap();
    proxy.refuse().await;
    proxy.close_connections(Close::Rst);
    wait_until("its loss is noticed", async || is_down(&only_server(&client))).await;
    let error = client.get("k").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Disconnected(Delivery::NotSent));
    proxy.resume().await;
    wait_until("it is back", async || client.is_usable()).await;
    assert_eq!(client.get("k").await.unwrap().unwrap().value, "v");
}

#[tokio::test]
async fn a_dead_server_can_be_taken_off_the_list() {
    let (mut dead, alive) = (Memcached::start(&[]), Memcached::start(&[]));
    let client = client_of(&dead);
    client.noop().await[0].1.as_ref().unwrap();
    dead.kill();
    wait_until("its loss is noticed", async || client.get("k").await.is_err() && !client.is_usable()).await;
    client.set_servers([alive.addr()]).unwrap();
    assert!(client.is_usable());
    assert!(client.set("k", "v").await.unwrap().is_applied());
}

#[tokio::test]
async fn closing_a_client_whose_server_is_down_ends_it() {
    let client = Client::with_config([format!("127.0.0.1:{}", unused_port())], patient_config()).unwrap();
    assert!(client.get("k").await.is_err());
    client.close().await;
    assert_eq!(only_server(&client).state().condition, ConnectionState::Closed);
}

#[test]
fn a_namespace_is_placed_where_the_other_client_does() {
    use remcache::distribution::Distribution;
    let place = |distribution: Distribution, namespace: &str, key: &str| {
        let config = Config::new().distribution(distribution).namespace(namespace);
        let client = Client::with_config(["a", "b", "c", "d", "e"], config).unwrap();
        client.locate(key).unwrap().unwrap().name().to_owned()
    };
    let keys: Vec<String> = (0..100).map(|number| format!("key:{number}")).collect();
    for (distribution, is_placed) in [(Distribution::KETAMA, true), (Distribution::LIBMEMCACHED_KETAMA_WEIGHTED, false)]
    {
        let alike = keys.iter().filter(|key| place(distribution, "shop:", key) == place(distribution, "", key)).count();
        assert_eq!(alike == keys.len(), !is_placed, "{distribution}: {alike}");
        let whole =
            keys.iter().all(|key| place(distribution, "shop:", key) == place(distribution, "", &format!("shop:{key}")));
        assert_eq!(whole, is_placed, "{distribution}");
    }
}
