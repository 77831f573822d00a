//! Real servers that are killed, stopped, restarted or close connections: what calls return, and that the client
//! recovers.

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

// ---- kill -9 ----

#[tokio::test]
async fn a_killed_server_fails_its_own_keys_only() {
    let (mut servers, client) = three_servers();
    let failing = servers[1].addr();
    let (failing_keys, healthy_keys) =
        (numbers(&client, &failing, true, 1000), numbers(&client, &failing, false, 1000));
    store(&client, &failing_keys).await;
    store(&client, &healthy_keys).await;

    // A stopped server holds its requests in flight until it is killed.
    servers[1].stop();
    let (of_failing, of_others) = (get_each(&client, &failing_keys), get_each(&client, &healthy_keys));
    let handle = client.servers().remove(1);
    wait_until("a thousand requests are in flight", async || handle.in_flight() == 1000).await;
    servers[1].kill();
    assert_all_found(of_others).await;
    for get in of_failing {
        let (n, got) = get.await.unwrap();
        let error = got.expect_err("neither a miss nor another value");
        assert!(matches!(error.kind(), ErrorKind::Disconnected(_)), "{}: {error}", key(n));
        assert_eq!(error.server(), Some(&*failing));
    }
    assert_all_found(get_each(&client, &healthy_keys)).await;
    for get in get_each(&client, &failing_keys) {
        let error = get.await.unwrap().1.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Disconnected(Delivery::NotSent), "the server is known to be down");
    }
    assert!(is_down(&handle) && client.is_usable());

    servers[1].restart();
    // The client reconnects without a request.
    wait_until("the server is up", async || handle.status().state == ConnectionState::Connected).await;
    let after = client.get_many(failing_keys.iter().map(|&n| key(n))).await;
    assert_eq!(after.missing().count(), 1000, "the cache is empty");
    store(&client, &failing_keys).await;
    assert_all_found(get_each(&client, &failing_keys)).await;
}

#[tokio::test]
async fn requests_to_a_killed_server_report_whether_they_were_sent() {
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
    wait_until("the connection is full", async || handle.in_flight() == 100).await;
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
    assert_eq!((sent, not_sent), (100, 200), "calls that waited for capacity were not sent");
}

/// Results of the load.
#[derive(Debug, Default)]
struct Counts {
    correct: AtomicUsize,
    wrong: AtomicUsize,
    misses_on_others: AtomicUsize,
    errors_on_others: AtomicUsize,
    errors: AtomicUsize,
}

/// Gets all keys repeatedly, from several tasks, until it is stopped.
struct Load {
    counts: Arc<Counts>,
    stop: Arc<AtomicBool>,
    tasks: Vec<JoinHandle<()>>,
}

impl Load {
    fn start(client: &Client, failing: &str) -> Self {
        let (counts, stop) = (Arc::<Counts>::default(), Arc::<AtomicBool>::default());
        let tasks = (0..20).map(|task| {
            let (client, failing) = (client.clone(), failing.to_owned());
            let (counts, stop) = (Arc::clone(&counts), Arc::clone(&stop));
            tokio::spawn(async move {
                for round in 0.. {
                    if stop.load(Ordering::Relaxed) {
                        return;
                    }
                    counts.get(&client, (task * 31 + round) % KEYS, &failing).await;
                    tokio::task::yield_now().await;
                }
            })
        });
        let tasks = tasks.collect();
        Self { counts, stop, tasks }
    }

    /// Waits until `count` more requests have succeeded.
    async fn wait_for_successes(&self, count: usize) {
        let before = self.counts.correct.load(Ordering::Relaxed);
        wait_until("requests succeed", async || self.counts.correct.load(Ordering::Relaxed) >= before + count).await;
    }

    async fn end(self) -> Arc<Counts> {
        self.stop.store(true, Ordering::Relaxed);
        for task in self.tasks {
            task.await.unwrap();
        }
        self.counts
    }
}

const KEYS: usize = 300;

impl Counts {
    async fn get(&self, client: &Client, n: usize, failing: &str) {
        let on_failing = client.locate(key(n)).unwrap().unwrap().name() == failing;
        let counter = match client.get(key(n)).await {
            Ok(Some(item)) if item.value == value(n) => &self.correct,
            Ok(Some(_)) => &self.wrong,
            Ok(None) if on_failing => {
                // After its restart the server is empty.
                let _ = client.set(key(n), value(n)).await;
                return;
            }
            Ok(None) => &self.misses_on_others,
            Err(error) if on_failing && error.server() == Some(failing) => &self.errors,
            Err(_) => &self.errors_on_others,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    fn assert_only_one_server_failed(&self) {
        let count = |counter: &AtomicUsize| counter.load(Ordering::Relaxed);
        let on_others = (count(&self.wrong), count(&self.misses_on_others), count(&self.errors_on_others));
        assert_eq!(on_others, (0, 0, 0), "{self:?}");
        assert!(count(&self.errors) > 0 && count(&self.correct) > 0, "{self:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_killed_repeatedly_is_used_again_each_time() {
    let (mut servers, client) = three_servers();
    let all: Vec<usize> = (0..KEYS).collect();
    store(&client, &all).await;
    let failing = servers[2].addr();
    let load = Load::start(&client, &failing);
    let handle = client.servers().remove(2);
    for round in 0..5 {
        load.wait_for_successes(500).await;
        servers[2].kill();
        wait_until("the server is down", async || is_down(&handle)).await;
        load.wait_for_successes(500).await;
        servers[2].restart();
        wait_until("the server is up", async || handle.status().state == ConnectionState::Connected).await;
        assert!(client.is_usable(), "round {round}");
    }
    load.wait_for_successes(500).await;
    load.end().await.assert_only_one_server_failed();
    assert!(client.servers().iter().all(|server| (server.in_flight(), server.waiting()) == (0, 0)));
}

#[tokio::test]
async fn a_server_can_start_after_its_client() {
    let mut server = Memcached::start(&[]);
    server.kill();
    let client = client_of(&server);
    let error = client.get("k").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Disconnected(Delivery::NotSent));
    server.restart();
    wait_until("the server is up", async || client.is_usable()).await;
    assert!(client.set("k", "v").await.unwrap().is_applied());
}

// ---- SIGSTOP ----

#[tokio::test]
async fn a_stopped_server_times_out_then_fails_fast_then_recovers() {
    let server = Memcached::start(&[]);
    let client = Client::with_config([server.addr()], patient_config().timeout(millis(2_000))).unwrap();
    let handle = only_server(&client);
    for n in 0..100 {
        client.set(key(n), value(n)).timeout(Duration::from_secs(60)).await.unwrap();
    }
    server.stop();
    let mut timeouts = 0;
    for get in get_each(&client, &(0..100).collect::<Vec<_>>()) {
        let error = get.await.unwrap().1.expect_err("the server is stopped");
        timeouts += usize::from(error.is_timeout());
        // After three timeouts the breaker fails the requests whose deadline is a few milliseconds later.
        assert!(error.is_unavailable() && error.may_have_executed(), "{error}");
    }
    wait_until("the server is down", async || is_down(&handle)).await;
    assert!(timeouts >= 3, "{timeouts} timeouts");
    // The kernel still accepts connections: only a reply shows that the server is up.
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(2) {
        let error = client.get(key(1)).await.expect_err("the server is down");
        assert_eq!(error.kind(), ErrorKind::Disconnected(Delivery::NotSent), "{error}");
        assert!(is_down(&handle) && !client.is_usable());
        tokio::time::sleep(millis(5)).await;
    }
    server.cont();
    wait_until("the server is up", async || handle.status().state == ConnectionState::Connected).await;
    for round in 0..10 {
        for n in 0..100 {
            let item = client.get(key(n)).timeout(Duration::from_secs(60)).await.unwrap();
            assert_eq!(item.expect("the item is still stored").value, value(n), "round {round}: a late reply");
        }
    }
    assert_eq!((handle.in_flight(), handle.waiting()), (0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_stopped_briefly_loses_no_request() {
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
async fn a_stopped_server_does_not_affect_others() {
    let servers = [Memcached::start(&[]), Memcached::start(&[])];
    let client =
        Client::with_config(servers.iter().map(Memcached::addr), patient_config().timeout(millis(3_000))).unwrap();
    let stopped = servers[0].addr();
    let (stopped_keys, healthy_keys) = (numbers(&client, &stopped, true, 50), numbers(&client, &stopped, false, 50));
    for &n in stopped_keys.iter().chain(&healthy_keys) {
        client.set(key(n), value(n)).timeout(Duration::from_secs(60)).await.unwrap();
    }
    servers[0].stop();
    let both: Vec<usize> = stopped_keys.iter().chain(&healthy_keys).copied().collect();
    for _ in 0..5 {
        let got = client.get_many(both.iter().map(|&n| key(n))).timeout(Duration::from_secs(10)).await;
        assert_eq!((got.found().count(), got.failed().count()), (50, 50), "{:?}", got.failed().next());
        assert!(got.failed().all(|(_, error)| error.server() == Some(&*stopped) && error.is_unavailable()));
    }
}

// ---- Connections that close ----

#[tokio::test]
async fn an_idle_connection_closed_by_the_server_is_not_an_error() {
    let server = Memcached::start(&["-o", "idle_timeout=1"]);
    let proxy = Proxy::start(server.addr()).await;
    let hour = Duration::from_secs(3600);
    let client = Client::with_config([proxy.addr()], patient_config().keepalive(hour, hour)).unwrap();
    client.set("k", "v").await.unwrap();
    let handle = only_server(&client);
    for closed in 1..=2 {
        wait_until("the server closes the connection", async || handle.status().state == ConnectionState::Idle).await;
        assert!(client.is_usable());
        assert_eq!(client.get("k").await.unwrap().unwrap().value, "v");
        assert_eq!(proxy.accepted(), closed + 1);
    }
}

#[tokio::test]
async fn keepalive_prevents_an_idle_timeout_of_the_server() {
    let server = Memcached::start(&["-o", "idle_timeout=4"]);
    let proxy = Proxy::start(server.addr()).await;
    let client =
        Client::with_config([proxy.addr()], patient_config().keepalive(millis(200), Duration::from_secs(60))).unwrap();
    client.set("k", "v").await.unwrap();
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(client.get("k").await.unwrap().unwrap().value, "v");
    assert_eq!(proxy.accepted(), 1);
}

#[tokio::test]
async fn a_reset_fails_requests_in_flight_and_none_after_the_reconnect() {
    let server = Memcached::start(&[]);
    let proxy = Proxy::start(server.addr()).await;
    let client = Client::with_config([proxy.addr()], patient_config()).unwrap();
    let all: Vec<usize> = (0..200).collect();
    store(&client, &all).await;
    for (round, how) in [Close::Rst, Close::Fin, Close::Rst, Close::Fin].into_iter().enumerate() {
        proxy.change(|rules| rules.replies.delay = Duration::from_secs(3600));
        let gets = get_each(&client, &all);
        wait_until("all requests are in flight", async || only_server(&client).in_flight() == 200).await;
        proxy.change(|rules| rules.replies.delay = Duration::ZERO);
        proxy.close_connections(how);
        for get in gets {
            let (n, got) = get.await.unwrap();
            assert!(got.is_err_and(|error| error.is_disconnected()), "round {round}: {}", key(n));
        }
        wait_until("the server is up", async || only_server(&client).status().state == ConnectionState::Connected)
            .await;
        assert_all_found(get_each(&client, &all)).await;
    }
}

/// G6: a request that may have been executed is not retried.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_increment_is_executed_twice_after_resets() {
    const CALLS: u64 = 5000;
    let seed = seed();
    let server = Memcached::start(&[]);
    let proxy = Proxy::start(server.addr()).await;
    let config = patient_config().reconnect_delay(millis(1), millis(5));
    let client = Client::with_config([proxy.addr()], config).unwrap();
    client.set("n", "0").await.unwrap();
    let counts: Arc<[AtomicU64; 3]> = Arc::default();
    let tasks: Vec<_> = (0..50)
        .map(|_| {
            let (client, counts) = (client.clone(), Arc::clone(&counts));
            tokio::spawn(async move {
                for _ in 0..CALLS / 50 {
                    let index = match client.increment("n", 1).await {
                        Ok(counter) => usize::from(counter.is_none()) * 3,
                        Err(error) => 1 + usize::from(error.may_have_executed()),
                    };
                    counts[index].fetch_add(1, Ordering::Relaxed);
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
    let [executed, not_sent, maybe] = [0, 1, 2].map(|index| counts[index].load(Ordering::Relaxed));
    assert_eq!(executed + not_sent + maybe, CALLS);
    let counter = client_of(&server).increment("n", 0).await.unwrap().unwrap().value;
    assert!(
        (executed..=executed + maybe).contains(&counter),
        "{executed} executed, {maybe} maybe executed, but the counter is {counter}"
    );
    assert!(not_sent + maybe > 0, "no reset affected a request");
}

/// G13: a dead server gets few connection attempts, however many requests there are.
#[tokio::test]
async fn a_dead_server_is_retried_with_backoff() {
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
async fn a_server_that_refuses_connections_and_resumes() {
    let server = Memcached::start(&[]);
    let proxy = Proxy::start(server.addr()).await;
    let client = Client::with_config([proxy.addr()], patient_config()).unwrap();
    client.set("k", "v").await.unwrap();
    proxy.refuse().await;
    proxy.close_connections(Close::Rst);
    wait_until("the server is down", async || is_down(&only_server(&client))).await;
    let error = client.get("k").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Disconnected(Delivery::NotSent));
    proxy.resume().await;
    wait_until("the server is up", async || client.is_usable()).await;
    assert_eq!(client.get("k").await.unwrap().unwrap().value, "v");
}

#[tokio::test]
async fn a_dead_server_can_be_removed() {
    let (mut dead, alive) = (Memcached::start(&[]), Memcached::start(&[]));
    let client = client_of(&dead);
    client.noop().await[0].1.as_ref().unwrap();
    dead.kill();
    wait_until("the server is down", async || client.get("k").await.is_err() && !client.is_usable()).await;
    client.set_servers([alive.addr()]).unwrap();
    assert!(client.is_usable());
    assert!(client.set("k", "v").await.unwrap().is_applied());
}

#[tokio::test]
async fn closing_a_client_whose_server_is_down_completes() {
    let client = Client::with_config([format!("127.0.0.1:{}", unused_port())], patient_config()).unwrap();
    assert!(client.get("k").await.is_err());
    client.close().await;
    assert_eq!(only_server(&client).status().state, ConnectionState::Closed);
}

#[test]
fn a_namespace_is_hashed_as_in_the_original_client() {
    use remcache::distribution::Distribution;
    let place = |distribution: Distribution, namespace: &str, key: &str| {
        let config = Config::new().distribution(distribution).namespace(namespace);
        let client = Client::with_config(["a", "b", "c", "d", "e"], config).unwrap();
        client.locate(key).unwrap().unwrap().name().to_owned()
    };
    let keys: Vec<String> = (0..100).map(|number| format!("key:{number}")).collect();
    for (distribution, is_hashed) in [(Distribution::KETAMA, true), (Distribution::LIBMEMCACHED_KETAMA_WEIGHTED, false)]
    {
        let same = keys.iter().filter(|key| place(distribution, "shop:", key) == place(distribution, "", key)).count();
        assert_eq!(same == keys.len(), !is_hashed, "{distribution}: {same}");
        let with_namespace =
            keys.iter().all(|key| place(distribution, "shop:", key) == place(distribution, "", &format!("shop:{key}")));
        assert_eq!(with_namespace, is_hashed, "{distribution}");
    }
}
