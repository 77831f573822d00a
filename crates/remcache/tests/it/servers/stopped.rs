//! Servers that are stopped (SIGSTOP) and resumed.

use std::time::{Duration, Instant};

use remcache::health::ConnectionState;
use remcache::{Client, Delivery, ErrorKind};
use remcache_testkit::Memcached;

use super::{KEYS, assert_all_found, client_of, get_each, is_down, key, millis, numbers, store, value};
use crate::support::{only_server, patient_config, wait_until};

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
