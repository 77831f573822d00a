//! Connections that the server closes or resets.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use remcache::Client;
use remcache::health::ConnectionState;
use remcache_testkit::{Close, Memcached, Proxy, seed};

use super::{assert_all_found, client_of, get_each, key, millis, store};
use crate::support::{only_server, patient_config, wait_until};

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
