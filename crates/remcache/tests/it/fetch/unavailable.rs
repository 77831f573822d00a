//! A cache that is unavailable: the loader runs, and its result is returned.

use std::time::Duration;

use remcache::config::ProtocolSetting;
use remcache::value::{ByteString, Codec};
use remcache::{Cache, Client, Config, Error};
use remcache_server::{Close, Fault, Server};
use remcache_testkit::Memcached;

use crate::fetch::paused_fetch::{LoadResult, PausedFetch};
use crate::fetch::{LONG, PROTOCOLS, client_at, fetch, patient_policy, stored};
use crate::support::wait_until;

#[tokio::test]
async fn without_a_server_the_loader_runs() {
    for protocol in PROTOCOLS.into_iter().chain([ProtocolSetting::Auto]) {
        let client = Client::with_config(["127.0.0.1:1"], Config::new().protocol(protocol)).unwrap();
        for value in ["one", "two"] {
            assert_eq!(fetch(&client, patient_policy(), value).await.unwrap(), value, "{protocol}");
        }
        let paused = PausedFetch::start(&client, patient_policy()).await;
        assert_eq!(
            paused.finish(LoadResult::Failure).await.unwrap_err(),
            "the source failed",
            "{protocol}: the error of the loader"
        );
    }
}

#[tokio::test]
async fn if_the_server_dies_during_the_load_the_caller_gets_its_value() {
    for protocol in PROTOCOLS.into_iter().chain([ProtocolSetting::Auto]) {
        let mut server = Memcached::start(&[]);
        let client = client_at(&server.addr(), protocol);
        let paused = PausedFetch::start(&client, patient_policy()).await;
        server.kill();
        assert_eq!(paused.finish(LoadResult::Value("loaded")).await.unwrap().unwrap(), "loaded", "{protocol}");
        assert_eq!(fetch(&client, patient_policy(), "again").await.unwrap(), "again", "{protocol}");
        server.restart();
        wait_until("the server is up", async || client.get("key").await.is_ok()).await;
        assert_eq!(fetch(&client, patient_policy(), "stored").await.unwrap(), "stored", "{protocol}");
        assert_eq!(stored(&client).await.unwrap(), "stored", "{protocol}");
    }
}

#[tokio::test]
async fn a_caller_that_waits_for_another_process_loads_if_the_server_dies() {
    for protocol in PROTOCOLS {
        let mut server = Memcached::start(&[]);
        let (one, other) = crate::fetch::paused_fetch::two_clients(&server.addr(), protocol);
        let paused = PausedFetch::start(&one, patient_policy()).await;
        let (waiting, started) = PausedFetch::spawn(&other, patient_policy());
        tokio::time::sleep(Duration::from_millis(30)).await;
        server.kill();
        started.acquire().await.unwrap().forget();
        assert_eq!(waiting.finish(LoadResult::Value("mine")).await.unwrap().unwrap(), "mine", "{protocol}");
        assert_eq!(paused.finish(LoadResult::Value("theirs")).await.unwrap().unwrap(), "theirs", "{protocol}");
    }
}

/// While the cache is unavailable, a process still runs one loader at a time.
#[tokio::test]
async fn without_a_server_callers_that_wait_share_the_next_load() {
    let client = Client::new(["127.0.0.1:1"]).unwrap();
    let first = PausedFetch::start(&client, patient_policy()).await;
    let (second, second_started) = PausedFetch::spawn(&client, patient_policy());
    let (third, third_started) = PausedFetch::spawn(&client, patient_policy());
    tokio::time::sleep(Duration::from_millis(30)).await;
    first.finish(LoadResult::Value("first")).await.unwrap();
    // The first load started before they called, so one of the two loads again, and the other takes its value.
    tokio::select! {
        _ = second_started.acquire() => {
            assert_eq!(second.finish(LoadResult::Value("next")).await.unwrap().unwrap(), "next");
            assert_eq!(third.task.await.unwrap().unwrap().unwrap(), "next");
        }
        _ = third_started.acquire() => {
            assert_eq!(third.finish(LoadResult::Value("next")).await.unwrap().unwrap(), "next");
            assert_eq!(second.task.await.unwrap().unwrap().unwrap(), "next");
        }
    }
}

/// Whichever reply is lost, the caller loads, and a lease that it may have left is released.
#[tokio::test]
async fn a_lease_whose_reply_is_lost_blocks_no_caller() {
    for protocol in PROTOCOLS {
        for lost in 1..=5 {
            let server = Server::start().await.unwrap();
            let (one, other) = crate::fetch::paused_fetch::two_clients(&server.address(), protocol);
            one.get("warm").await.unwrap();
            server.inject(Fault::Disconnect { after: 0, close: Close::Rst }.on_reply(lost));
            assert_eq!(fetch(&one, patient_policy(), "value").await.unwrap(), "value", "{protocol}");
            server.clear_faults().unwrap();
            assert_eq!(fetch(&other, patient_policy(), "value").await.unwrap(), "value", "{protocol}, {lost}");
            assert_eq!(stored(&other).await.unwrap(), "value", "{protocol}, {lost}");
        }
    }
}

#[tokio::test]
async fn a_server_without_cas_values_is_an_error() {
    let server = Memcached::start(&["-C"]);
    for protocol in PROTOCOLS {
        let client = client_at(&server.addr(), protocol);
        let load = || async { Ok::<_, Error>(Some("value")) };
        let error = client.fetch_optional("key", patient_policy(), load).await.unwrap_err();
        assert_eq!(error.kind(), remcache::ErrorKind::Unsupported, "{protocol}: {error}");
        assert!(error.to_string().contains("-C"), "{protocol}: {error}");
        assert_eq!(client.get("key").await.unwrap(), None, "{protocol}: no lease is left");
    }
}

#[tokio::test]
async fn a_value_that_is_too_large_is_returned_and_not_stored() {
    let server = Memcached::start(&[]);
    // The server rejects the first value because of its own metadata, the client the second.
    for (protocol, length) in
        PROTOCOLS.into_iter().flat_map(|protocol| [(protocol, (1 << 20) - 6), (protocol, 2 << 20)])
    {
        let client = client_at(&server.addr(), protocol);
        let large = vec![b'x'; length];
        for _ in 0..2 {
            let value = large.clone();
            let load = move || async move { Ok::<_, Error>(Some(value)) };
            let found = client.fetch_optional("key", patient_policy(), load).await.unwrap();
            assert!(found.as_deref() == Some(&*large), "{protocol}, {length}");
            assert_eq!(client.get("key").await.unwrap(), None, "{protocol}, {length}: no lease is left");
        }
    }
}

/// A fetch asks several times: for the value, the lease and the item that says when it is refreshed.
#[tokio::test]
async fn a_fetch_of_a_server_that_is_down_counts_as_one_refused_request() {
    for protocol in PROTOCOLS.into_iter().chain([ProtocolSetting::Auto]) {
        let mut server = Memcached::start(&[]);
        let client = client_at(&server.addr(), protocol);
        client.set("key", "value").await.unwrap();
        server.kill();
        wait_until("the server is down", async || {
            let _ = client.get("key").await;
            !client.is_usable()
        })
        .await;
        let refused = || client.servers()[0].metrics().errors.refused;
        let plain = patient_policy();
        let policies = [plain, plain.stale_for(LONG), plain.refresh_ahead(LONG / 2).negative_ttl(LONG)];
        for (number, policy) in policies.into_iter().enumerate() {
            let before = refused();
            for _ in 0..20 {
                assert_eq!(fetch(&client, policy, "loaded").await.unwrap(), "loaded", "{protocol}");
            }
            assert_eq!(refused() - before, 20, "{protocol}, policy {number}");
            let texts = Cache::new(&client, "", Codec::text());
            let load = || async { Ok::<_, Error>(ByteString::from("loaded")) };
            assert_eq!(texts.fetch("key", policy, load).await.unwrap(), "loaded", "{protocol}");
            assert_eq!(refused() - before, 21, "{protocol}, policy {number}: a cache");
        }
    }
}
