//! A cache that is away: the loader runs, and nothing else.

use std::time::Duration;

use remcache::config::ProtocolSetting;
use remcache::{Client, Config};
use remcache_server::{Close, Fault, Server};
use remcache_testkit::Memcached;

use crate::fetch::loader::{Ending, Held};
use crate::fetch::{PROTOCOLS, client_at, fetch, patient_freshness, stored};

#[tokio::test]
async fn without_a_server_the_loader_runs() {
    for protocol in PROTOCOLS.into_iter().chain([ProtocolSetting::Auto]) {
        let client = Client::with_config(["127.0.0.1:1"], Config::new().protocol(protocol)).unwrap();
        for value in ["one", "two"] {
            assert_eq!(fetch(&client, patient_freshness(), value).await.unwrap(), value, "{protocol}");
        }
        let held = Held::begin(&client, patient_freshness()).await;
        assert_eq!(held.end(Ending::Failure).await.unwrap_err(), "the source failed", "{protocol}: only its own error");
    }
}

#[tokio::test]
async fn a_server_that_dies_meanwhile_costs_the_caller_nothing_but_the_cache() {
    for protocol in PROTOCOLS.into_iter().chain([ProtocolSetting::Auto]) {
        let mut server = Memcached::start(&[]);
        let client = client_at(&server.addr(), protocol);
        let held = Held::begin(&client, patient_freshness()).await;
        server.kill();
        assert_eq!(held.end(Ending::Value("loaded")).await.unwrap().unwrap(), "loaded", "{protocol}");
        assert_eq!(fetch(&client, patient_freshness(), "again").await.unwrap(), "again", "{protocol}");
        server.restart();
        crate::support::wait_until("the server is back", async || client.get("key").await.is_ok()).await;
        assert_eq!(fetch(&client, patient_freshness(), "stored").await.unwrap(), "stored", "{protocol}");
        assert_eq!(stored(&client).await.unwrap(), "stored", "{protocol}");
    }
}

/// A caller who waits for another process's value, when the server dies.
#[tokio::test]
async fn who_waits_for_another_process_loads_when_the_server_dies() {
    for protocol in PROTOCOLS {
        let mut server = Memcached::start(&[]);
        let (one, other) = crate::fetch::loader::two(&server.addr(), protocol);
        let held = Held::begin(&one, patient_freshness()).await;
        let (waiting, began) = Held::ask(&other, patient_freshness());
        tokio::time::sleep(Duration::from_millis(30)).await;
        server.kill();
        began.acquire().await.unwrap().forget();
        assert_eq!(waiting.end(Ending::Value("mine")).await.unwrap().unwrap(), "mine", "{protocol}");
        assert_eq!(held.end(Ending::Value("theirs")).await.unwrap().unwrap(), "theirs", "{protocol}");
    }
}

/// While the cache is away, callers of one process still have one loader at a time.
#[tokio::test]
async fn without_a_server_who_asked_before_the_load_takes_its_value() {
    let client = Client::new(["127.0.0.1:1"]).unwrap();
    let first = Held::begin(&client, patient_freshness()).await;
    let (second, second_began) = Held::ask(&client, patient_freshness());
    let (third, third_began) = Held::ask(&client, patient_freshness());
    tokio::time::sleep(Duration::from_millis(30)).await;
    first.end(Ending::Value("first")).await.unwrap();
    // One of the two loads, since the first load began before they asked; the other takes its value.
    tokio::select! {
        _ = second_began.acquire() => {
            assert_eq!(second.end(Ending::Value("next")).await.unwrap().unwrap(), "next");
            assert_eq!(third.task.await.unwrap().unwrap().unwrap(), "next");
        }
        _ = third_began.acquire() => {
            assert_eq!(third.end(Ending::Value("next")).await.unwrap().unwrap(), "next");
            assert_eq!(second.task.await.unwrap().unwrap().unwrap(), "next");
        }
    }
}

/// A reply is lost, whichever: the caller loads, and what it may have left is cleared away.
#[tokio::test]
async fn a_lease_whose_reply_is_lost_strands_nobody() {
    for protocol in PROTOCOLS {
        for lost in 1..=5 {
            let server = Server::start().await.unwrap();
            let (one, other) = crate::fetch::loader::two(&server.address(), protocol);
            one.get("warm").await.unwrap();
            server.inject(Fault::Disconnect { after: 0, close: Close::Rst }.on_reply(lost));
            assert_eq!(fetch(&one, patient_freshness(), "value").await.unwrap(), "value", "{protocol}");
            server.clear_faults().unwrap();
            assert_eq!(fetch(&other, patient_freshness(), "value").await.unwrap(), "value", "{protocol}, {lost}");
            assert_eq!(stored(&other).await.unwrap(), "value", "{protocol}, {lost}");
        }
    }
}

#[tokio::test]
async fn a_server_without_cas_values_is_told_of() {
    let server = Memcached::start(&["-C"]);
    for protocol in PROTOCOLS {
        let client = client_at(&server.addr(), protocol);
        let load = || async { Ok::<_, remcache::Error>(Some("value")) };
        let error = client.fetch("key", patient_freshness(), load).await.unwrap_err();
        assert_eq!(error.kind(), remcache::ErrorKind::Unsupported, "{protocol}: {error}");
        assert!(error.to_string().contains("-C"), "{protocol}: {error}");
        assert_eq!(client.get("key").await.unwrap(), None, "{protocol}: nothing is left");
    }
}

#[tokio::test]
async fn a_value_that_is_too_large_is_returned_and_not_stored() {
    let server = Memcached::start(&[]);
    // The server refuses the first, for what it keeps beside it, and the client the second.
    for (protocol, length) in
        PROTOCOLS.into_iter().flat_map(|protocol| [(protocol, (1 << 20) - 6), (protocol, 2 << 20)])
    {
        let client = client_at(&server.addr(), protocol);
        let large = vec![b'x'; length];
        for _ in 0..2 {
            let value = large.clone();
            let load = move || async move { Ok::<_, remcache::Error>(Some(value)) };
            let found = client.fetch("key", patient_freshness(), load).await.unwrap();
            assert!(found.as_deref() == Some(&*large), "{protocol}, {length}");
            assert_eq!(client.get("key").await.unwrap(), None, "{protocol}, {length}: nobody waits for it");
        }
    }
}
