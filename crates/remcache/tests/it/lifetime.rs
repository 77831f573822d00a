//! The lifetime of a client with real servers: addresses, connections, changes of the server list, closing.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use remcache::health::ConnectionState;
use remcache::{Client, Config, Delivery, ErrorKind, Request};
use remcache_testkit::{Memcached, Proxy, scratch};

use crate::support::{only_server, patient_config, stat, wait_until};

fn client_of(server: &Memcached) -> Client {
    Client::with_config([server.addr()], patient_config()).unwrap()
}

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

// ---- Addresses ----

async fn assert_works(client: &Client, name: &str) {
    assert_eq!(only_server(client).name(), name);
    client.set("k", vec![7; 100_000]).await.unwrap();
    assert_eq!(client.get("k").await.unwrap().unwrap().value, vec![7; 100_000]);
    assert_eq!(only_server(client).status().state, ConnectionState::Connected);
}

#[tokio::test]
async fn a_unix_socket_is_connected() {
    let dir = scratch();
    let path = dir.path().join("socket");
    let server = Memcached::start_unix(&path, &[]);
    let path = path.to_str().unwrap();
    assert_works(&client_of(&server), path).await;
    let by_url = Client::with_config([format!("unix://{path}")], patient_config()).unwrap();
    assert_works(&by_url, path).await;
}

#[tokio::test]
async fn an_ipv6_address_is_connected() {
    let server = Memcached::start(&["-l", "::1"]);
    let address = format!("[::1]:{}", server.port());
    assert_works(&Client::with_config([&address], patient_config()).unwrap(), &address).await;
}

#[tokio::test]
async fn a_host_name_is_connected() {
    let server = Memcached::start(&[]);
    let address = format!("localhost:{}", server.port());
    assert_works(&Client::with_config([&address], patient_config()).unwrap(), &address).await;
    let by_url = Client::new([format!("memcached://{address}/?timeout=60s")]).unwrap();
    assert_works(&by_url, &address).await;
    let by_url = Client::with_config([format!("tcp://{address}")], patient_config()).unwrap();
    assert_works(&by_url, &address).await;
}

// ---- Lifetime ----

#[tokio::test]
async fn connections_are_opened_lazily() {
    let server = Memcached::start(&[]);
    let proxy = Proxy::start(server.addr()).await;
    let client = Client::with_config([proxy.addr()], patient_config()).unwrap();
    assert_eq!(only_server(&client).status().state, ConnectionState::Idle);
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!((proxy.accepted(), client.is_usable()), (0, true));
    client.noop().await[0].1.as_ref().unwrap();
    assert_eq!(proxy.accepted(), 1);
}

#[tokio::test]
async fn all_callers_share_one_connection() {
    let server = Memcached::start(&[]);
    let proxy = Proxy::start(server.addr()).await;
    let client = Client::with_config([proxy.addr()], patient_config()).unwrap();
    fill(&client, 100).await;
    assert_eq!(get_all(&client, 100).await, 100);
    assert_eq!(proxy.accepted(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_can_have_several_connections() {
    let server = Memcached::start(&[]);
    let proxy = Proxy::start(server.addr()).await;
    let client = Client::with_config([proxy.addr()], patient_config().connections(4)).unwrap();
    fill(&client, 200).await;
    for _ in 0..5 {
        assert_eq!(get_all(&client, 200).await, 200);
    }
    assert_eq!(proxy.accepted(), 4);
    let keys: Vec<String> = (0..200).map(|n| format!("key{n}")).collect();
    assert_eq!(client.get_many(&keys).await.found().count(), 200);
    assert_eq!((only_server(&client).in_flight(), only_server(&client).waiting()), (0, 0));
}

async fn fill(client: &Client, count: usize) {
    let made = client.set_many((0..count).map(|n| (format!("key{n}"), format!("value{n}")))).await;
    assert_eq!(made.applied().count(), count);
}

/// Gets every key in its own task. Returns how many values were correct.
async fn get_all(client: &Client, count: usize) -> usize {
    let tasks: Vec<_> = (0..count)
        .map(|n| {
            let client = client.clone();
            tokio::spawn(
                async move { client.get(format!("key{n}")).await.unwrap().unwrap().value == format!("value{n}") },
            )
        })
        .collect();
    let mut correct = 0;
    for task in tasks {
        correct += usize::from(task.await.unwrap());
    }
    correct
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_can_be_shared_by_threads() {
    let server = Memcached::start(&[]);
    let client = client_of(&server);
    fill(&client, 300).await;
    for _ in 0..3 {
        assert_eq!(get_all(&client, 300).await, 300);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_server_list_can_change_during_requests() {
    let (staying, leaving) = (Memcached::start(&[]), Memcached::start(&[]));
    let slow = Proxy::start(leaving.addr()).await;
    let both = [staying.addr(), slow.addr()];
    let observer = client_of(&staying);
    let before = stat(&only_server(&observer), "total_connections").await;
    let client = Client::with_config(&both, patient_config()).unwrap();
    fill(&client, 400).await;
    let is_on = |n: usize, addr: &str| client.locate(format!("key{n}")).unwrap().unwrap().name() == addr;
    let staying_keys: Arc<[usize]> = (0..400).filter(|&n| is_on(n, &staying.addr())).collect();
    let leaving_keys: Vec<usize> = (0..400).filter(|&n| is_on(n, &slow.addr())).collect();
    assert!(staying_keys.len() > 50 && leaving_keys.len() > 50);

    let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let tasks: Vec<_> = (0..8)
        .map(|start| {
            let (client, stop, done, keys) = (client.clone(), stop.clone(), done.clone(), staying_keys.clone());
            tokio::spawn(async move {
                for n in keys.iter().cycle().skip(start * 5) {
                    if stop.load(Ordering::Relaxed) {
                        return;
                    }
                    let item = client.get(format!("key{n}")).await.unwrap().unwrap();
                    assert_eq!(item.value, format!("value{n}"));
                    done.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    let wait_for_requests = async |count: usize| {
        let before = done.load(Ordering::Relaxed);
        wait_until("requests succeed", async || done.load(Ordering::Relaxed) >= before + count).await;
    };
    wait_for_requests(200).await;

    // A stopped server keeps the requests in flight.
    leaving.stop();
    let mut in_flight: Vec<_> = leaving_keys.iter().map(|n| (n, Box::pin(client.get(format!("key{n}"))))).collect();
    for (_, get) in &mut in_flight {
        assert!(get.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    }
    let removed = client.servers().remove(1);
    assert_eq!(removed.in_flight(), leaving_keys.len());
    client.set_servers([staying.addr()]).unwrap();
    assert_eq!(only_server(&client).name(), staying.addr());
    leaving.cont();
    for (n, get) in in_flight {
        assert_eq!(get.await.unwrap().unwrap().value, format!("value{n}"), "in flight on the removed server");
    }
    wait_for_requests(200).await;
    client.set_servers(&both).unwrap();
    wait_for_requests(200).await;
    stop.store(true, Ordering::Relaxed);
    for task in tasks {
        task.await.expect("no error on the staying server");
    }
    let after = stat(&only_server(&observer), "total_connections").await;
    assert_eq!(after, before + 1, "the staying server keeps its connection");
}

#[tokio::test]
async fn a_malformed_list_leaves_the_old_one_in_use() {
    let server = Memcached::start(&[]);
    let client = client_of(&server);
    let error = client.set_servers(["localhost:x"]).unwrap_err();
    assert!(error.to_string().contains("localhost:x"), "{error}");
    assert!(client.set_servers([""; 0]).is_err());
    assert_works(&client, &server.addr()).await;
}

#[tokio::test]
async fn a_removed_server_gets_no_requests_and_is_disconnected() {
    let (first, second) = (Memcached::start(&[]), Memcached::start(&[]));
    let client = client_of(&first);
    let old = only_server(&client);
    old.noop().await.unwrap();
    let observer = Client::with_config([first.addr()], patient_config()).unwrap();
    let with_client = stat(&only_server(&observer), "curr_connections").await;
    client.set_servers([second.addr()]).unwrap();
    drop(old);
    wait_until("the connection is closed", async || {
        stat(&only_server(&observer), "curr_connections").await == with_client - 1
    })
    .await;
    assert_works(&client, &second.addr()).await;
}

#[tokio::test]
async fn closing_waits_for_requests_in_flight() {
    let server = Memcached::start(&[]);
    let client = client_of(&server);
    fill(&client, 50).await;
    // A stopped server keeps the requests in flight.
    server.stop();
    let tasks: Vec<_> = (0..50)
        .map(|n| {
            let client = client.clone();
            tokio::spawn(async move { client.get(format!("key{n}")).await.unwrap().unwrap().value })
        })
        .collect();
    let handle = only_server(&client);
    wait_until("all requests are in flight", async || handle.in_flight() == 50).await;
    tokio::join!(client.close(), async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert_eq!(handle.in_flight(), 50, "closing waits");
        server.cont();
    });
    assert_eq!(handle.in_flight(), 0);
    assert_eq!(handle.status().state, ConnectionState::Closed);
    for (n, task) in tasks.into_iter().enumerate() {
        assert_eq!(task.await.unwrap(), format!("value{n}"));
    }
    let error = client.get("key0").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Disconnected(Delivery::NotSent));
    assert!(error.to_string().contains("closed"), "{error}");
    assert!(!client.is_usable() && !client.send_no_reply(Request::noop()));
    client.close().await;
}

#[tokio::test]
async fn closing_resolves_all_requests_of_an_unresponsive_server() {
    let server = Memcached::start(&[]);
    let proxy = Proxy::start(server.addr()).await;
    let config = Config::new().timeout(seconds(3)).max_in_flight(10);
    let client = Client::with_config([proxy.addr()], config).unwrap();
    wait_until("the client connects", async || client.set("k", "v").timeout(seconds(60)).await.is_ok()).await;
    proxy.change(|rules| rules.replies.black_hole = true);
    let tasks: Vec<_> = (0..30)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move { client.get("k").await })
        })
        .collect();
    wait_until("ten requests are in flight", async || only_server(&client).in_flight() == 10).await;
    client.close().await;
    for task in tasks {
        let error = task.await.unwrap().unwrap_err();
        assert!(error.is_unavailable(), "{error}");
    }
    assert_eq!((only_server(&client).in_flight(), only_server(&client).waiting()), (0, 0));
}

#[tokio::test]
async fn a_client_that_was_never_used_closes() {
    let client = Client::new(["localhost:1", "localhost:2"]).unwrap();
    client.close().await;
    assert!(!client.is_usable());
}

#[tokio::test]
async fn dropping_the_last_clone_closes_the_connection() {
    let server = Memcached::start(&[]);
    let observer = client_of(&server);
    let observed = only_server(&observer);
    let alone = stat(&observed, "curr_connections").await;
    let client = client_of(&server);
    let clone = client.clone();
    client.set("k", "v").await.unwrap();
    assert_eq!(stat(&observed, "curr_connections").await, alone + 1);
    drop(client);
    assert!(clone.get("k").await.unwrap().is_some());
    assert_eq!(stat(&observed, "curr_connections").await, alone + 1);
    drop(clone);
    wait_until("the connection is closed", async || stat(&observed, "curr_connections").await == alone).await;
}

#[tokio::test]
async fn requests_outlive_their_client() {
    let server = Memcached::start(&[]);
    let client = client_of(&server);
    client.set("k", "v").await.unwrap();
    let mut stats = only_server(&client).stats("");
    let version = only_server(&client).version();
    drop(client);
    assert!(stats.next().await.unwrap().is_ok());
    assert!(!version.await.unwrap().is_empty());
    assert!(stats.collect().await.unwrap().len() > 20);
}

#[test]
fn a_call_outside_a_runtime_fails_with_an_explanation() {
    let client = Client::new(["localhost:1"]).unwrap();
    let mut call = pin!(client.get("k"));
    let mut context = Context::from_waker(Waker::noop());
    let result = (0..10).find_map(|_| match call.as_mut().poll(&mut context) {
        Poll::Ready(result) => Some(result),
        Poll::Pending => None,
    });
    let error = result.expect("the call does not hang").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Disconnected(Delivery::NotSent));
    assert!(error.to_string().contains("runtime"), "{error}");
}

#[test]
fn a_client_outlives_a_runtime() {
    let server = Memcached::start(&[]);
    let client = client_of(&server);
    for _ in 0..3 {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            client.set("k", "v").await.unwrap();
            assert!(client.get("k").await.unwrap().is_some());
        });
    }
}
