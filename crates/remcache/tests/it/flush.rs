//! Flushes: immediate, delayed, and at times that have passed, on real memcached and the embedded server.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::{Duration, SystemTime};

use remcache::config::ProtocolSetting;
use remcache::{Client, ErrorKind, Request, Ttl};
use remcache_server::Server;
use remcache_testkit::Memcached;

use crate::support::{only_server, patient_config, wait_until};

/// Runs a test on each protocol of a real memcached and of the embedded server.
async fn each(run: impl AsyncFn(&Client)) {
    let (real, embedded) = (Memcached::start(&[]), Server::start().await.unwrap());
    for address in [real.addr(), embedded.address()] {
        for protocol in ProtocolSetting::ALL {
            run(&Client::with_config([&address], patient_config().protocol(protocol)).unwrap()).await;
        }
    }
}

async fn item_exists(client: &Client) -> bool {
    client.get("k").await.unwrap().is_some()
}

#[tokio::test]
async fn a_flush_without_a_delay_is_immediate() {
    each(async |client| {
        for delay in [None, Some(Duration::ZERO)] {
            client.set("k", "v").await.unwrap();
            let flush = client.flush();
            match delay {
                None => flush.await,
                Some(delay) => flush.after(delay).await,
            }
            .into_result()
            .unwrap();
            assert!(!item_exists(client).await, "{delay:?}");
        }
        client.set("k", "v").await.unwrap();
        only_server(client).flush().await.unwrap();
        assert!(!item_exists(client).await);
    })
    .await;
}

#[tokio::test]
async fn a_delayed_flush_takes_effect_later() {
    let server = Memcached::start(&[]);
    let client = Client::with_config([server.addr()], patient_config()).unwrap();
    client.set("k", "v").await.unwrap();
    client.flush().after(Duration::from_secs(3600)).await.into_result().unwrap();
    assert!(item_exists(&client).await);
    only_server(&client).flush().after(Duration::from_secs(2)).await.unwrap();
    wait_until("the flush takes effect", async || !item_exists(&client).await).await;
}

#[tokio::test]
async fn a_delay_in_the_past_flushes_immediately() {
    each(async |client| {
        client.set("k", "v").await.unwrap();
        let reply = only_server(client).call(Request::flush().ttl(Ttl::Expired)).await;
        assert!(reply.is_ok(), "{}", reply.text());
        assert!(!item_exists(client).await);
    })
    .await;
}

#[tokio::test]
async fn a_time_that_has_just_passed_flushes_immediately() {
    each(async |client| {
        client.set("k", "v").await.unwrap();
        let past = Ttl::At(SystemTime::now() - Duration::from_secs(5));
        assert!(only_server(client).call(Request::flush().ttl(past)).await.is_ok());
        assert!(!item_exists(client).await);
    })
    .await;
}

#[tokio::test]
async fn the_result_names_the_servers_that_failed() {
    let server = Memcached::start(&[]);
    let unreachable = "127.0.0.1:1".to_owned();
    let client = Client::with_config([server.addr(), unreachable.clone()], patient_config()).unwrap();
    let results = client.flush().await;
    assert_eq!((results.len(), results.failed().count()), (2, 1));
    let error = results.into_result().unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Disconnected(_)), "{error}");
    assert_eq!(error.server(), Some(&*unreachable));
}
