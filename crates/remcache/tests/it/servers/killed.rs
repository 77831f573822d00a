//! Servers that are killed, and servers that start after their client.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use remcache::health::ConnectionState;
use remcache::{Client, Delivery, ErrorKind};
use remcache_testkit::Memcached;
use tokio::task::JoinHandle;

use super::{KEYS, assert_all_found, client_of, get_each, is_down, key, numbers, store, three_servers, value};
use crate::support::{only_server, patient_config, wait_until};

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
