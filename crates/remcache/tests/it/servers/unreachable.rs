//! Servers that refuse connections.

use std::time::{Duration, Instant};

use remcache::health::ConnectionState;
use remcache::{Client, Delivery, ErrorKind};
use remcache_testkit::{Close, Memcached, Proxy, unused_port};

use super::{client_of, is_down, millis};
use crate::support::{only_server, patient_config, wait_until};

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
async fn a_server_that_refuses_connections_is_used_again_when_it_resumes() {
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
