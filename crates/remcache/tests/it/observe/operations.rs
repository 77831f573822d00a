//! Every operation is reported once, with its outcome and numbers.

use std::time::Duration;

use remcache::config::ProtocolSetting;
use remcache::observe::{OperationName, Outcome};
use remcache::policy::{Failover, Hedge, Retries};
use remcache::{Client, Delivery, ErrorKind, Request};
use remcache_server::{Close, Fault, Server};
use remcache_testkit::Memcached;

use super::recorder::observed;
use crate::support::patient_config;

const MINUTE: Duration = Duration::from_secs(60);

/// Returns a key of this server.
fn key_on(client: &Client, server: &str) -> String {
    (0..).map(|n| format!("key{n}")).find(|key| client.locate(key).unwrap().unwrap().name() == server).unwrap()
}

#[tokio::test]
async fn a_call_is_reported_with_its_figures() {
    let server = Memcached::start(&[]);
    let (client, recorder) = observed(&[server.addr()], patient_config().namespace("ns:"));
    client.set("key", "value").await.unwrap();
    let set = recorder.only();
    assert_eq!((set.operation, set.outcome, set.counts, set.keys), (OperationName::Set, Outcome::Ok, (0, 0, 0), 1));
    assert_eq!((set.bytes, set.attempts), ((0, 3 + 3 + 5), 1));
    assert_eq!((set.server, set.has_peer), (Some(server.addr()), true));
    client.get("key").await.unwrap();
    let hit = recorder.only();
    assert_eq!((hit.outcome, hit.counts, hit.bytes.0), (Outcome::Hit, (1, 0, 0), 5));
    client.get("absent").await.unwrap();
    let miss = recorder.only();
    assert_eq!((miss.outcome, miss.counts), (Outcome::Miss, (0, 1, 0)));
    assert_eq!(miss.outcome.error_type(), None);
    assert!(!client.add("key", "other").await.unwrap().is_applied());
    assert_eq!(recorder.only().outcome, Outcome::Ok, "the server decided");
    client.get("k".repeat(300)).await.unwrap_err();
    let failed = recorder.only();
    assert_eq!(failed.outcome, Outcome::Failed(ErrorKind::InvalidKey));
    assert_eq!((failed.counts, failed.attempts), ((0, 0, 1), 0));
    client.set("key", "text").await.unwrap();
    client.increment("key", 1).await.unwrap_err();
    assert_eq!(recorder.take()[1].outcome, Outcome::Failed(ErrorKind::NonNumericValue));
    assert!(recorder.take_exchanges().is_empty(), "a single request is not reported as an exchange");
    assert_eq!(recorder.started(), 7);
}

#[tokio::test]
async fn a_multi_key_call_is_one_operation_with_one_exchange_per_server() {
    let servers = [Memcached::start(&[]), Memcached::start(&[]), Memcached::start(&[])];
    let names: Vec<_> = servers.iter().map(Memcached::addr).collect();
    let (client, recorder) = observed(&names, patient_config());
    let keys: Vec<_> = (0..300).map(|n| format!("key{n}")).collect();
    let _ = client.set_many(keys[..200].iter().map(|key| (key, "value"))).await;
    let set = recorder.only();
    assert_eq!((set.operation, set.outcome, set.keys), (OperationName::SetMany, Outcome::Ok, 200));
    recorder.take_exchanges();
    let _ = client.get_many(&keys).await;
    let get = recorder.only();
    assert_eq!((get.operation, get.counts, get.server), (OperationName::GetMany, (200, 100, 0), None));
    assert_eq!((get.attempts, get.bytes.0), (3, 1_000));
    let exchanges = recorder.take_exchanges();
    assert_eq!((exchanges.len(), exchanges.iter().map(|exchange| exchange.1).sum::<usize>()), (3, 300));
    let _ = client.get_many([""; 0]).await;
    assert!(recorder.take().is_empty(), "a call without keys");
    client.call_many([Request::get("a"), Request::get("k".repeat(300))]).await;
    let call = recorder.only();
    assert_eq!((call.operation, call.counts.2), (OperationName::CallMany, 1));
    let _ = client.version().await;
    let version = recorder.only();
    assert_eq!((version.operation, version.attempts, version.outcome), (OperationName::Version, 3, Outcome::Ok));
    let mut stats = client.servers()[0].stats("");
    while let Some(stat) = stats.next().await {
        stat.unwrap();
    }
    let stats = recorder.only();
    assert_eq!((stats.operation, stats.outcome), (OperationName::Stats, Outcome::Ok));
}

#[tokio::test]
async fn a_recipe_is_one_operation() {
    for protocol in [ProtocolSetting::Binary, ProtocolSetting::Meta, ProtocolSetting::Text] {
        let server = Memcached::start(&[]);
        let (client, recorder) = observed(&[server.addr()], patient_config().protocol(protocol));
        let check = |operation, outcome| {
            let ended = recorder.only();
            assert_eq!((ended.operation, ended.outcome), (operation, outcome), "{protocol:?}: {ended:?}");
            assert_eq!(ended.server.as_deref(), Some(&*server.addr()));
        };
        client.exists("a").await.unwrap();
        check(OperationName::Exists, Outcome::Miss);
        client.update("a", MINUTE, |_| Some("1".into())).await.unwrap();
        check(OperationName::Update, Outcome::Ok);
        assert!(client.append_or_create("b", "x", MINUTE).await.unwrap().is_applied());
        check(OperationName::AppendOrCreate, Outcome::Ok);
        client.increment_or_create("c", 1, 1, MINUTE).await.unwrap();
        check(OperationName::IncrementOrCreate, Outcome::Ok);
        client.take("a").await.unwrap();
        check(OperationName::Take, Outcome::Hit);
        client.delete("b").tombstone(MINUTE).await.unwrap();
        check(OperationName::Delete, Outcome::Ok);
        client.fetch("page", MINUTE, || async { Ok::<_, remcache::Error>("page") }).await.unwrap();
        check(OperationName::Fetch, Outcome::Loaded);
        client.invalidate("page", MINUTE).await.unwrap();
        check(OperationName::Invalidate, Outcome::Ok);
    }
}

#[tokio::test]
async fn retries_hedges_and_failovers_are_counted_in_one_operation() {
    let servers = [Server::start().await.unwrap(), Server::start().await.unwrap()];
    let names: Vec<_> = servers.iter().map(Server::address).collect();
    let (client, recorder) = observed(&names, patient_config().retries(Retries::up_to(2)));
    let key = key_on(&client, &names[0]);
    client.get(&key).await.unwrap();
    recorder.take();
    recorder.take_exchanges();
    servers[0].inject(Fault::Disconnect { after: 0, close: Close::Fin }.on_reply(1));
    client.get(&key).await.unwrap();
    let retried = recorder.only();
    assert_eq!((retried.outcome, retried.attempts, retried.extra), (Outcome::Miss, 2, (1, 0, 0)));
    let outcomes: Vec<_> = recorder.take_exchanges().iter().map(|exchange| exchange.2).collect();
    assert_eq!(outcomes, ["Disconnected", "miss"]);

    let hedge = Hedge::after(Duration::from_millis(5)).max_percent(100);
    let (client, recorder) = observed(&names, patient_config().replicas(2).hedge(hedge));
    client.set(&key, "value").await.unwrap();
    recorder.take();
    servers[0].inject(Fault::BlackHole);
    client.get(&key).await.unwrap();
    let hedged = recorder.only();
    assert_eq!((hedged.outcome, hedged.attempts, hedged.extra), (Outcome::Hit, 2, (0, 1, 0)));
    assert_eq!(hedged.server.as_deref(), Some(&*names[1]), "the server that answered");
    servers[0].clear_faults().unwrap();

    let (client, recorder) =
        observed(&["127.0.0.1:1".to_owned(), names[1].clone()], patient_config().failover(Failover::next()));
    // Not the key that was set before.
    let is_away = |key: &String| client.locate(key).unwrap().unwrap().name() == "127.0.0.1:1";
    let key = (0..).map(|n| format!("absent{n}")).find(is_away).unwrap();
    client.get(&key).await.unwrap();
    let failed_over = recorder.only();
    assert_eq!((failed_over.outcome, failed_over.extra), (Outcome::Miss, (0, 0, 1)));
    assert_eq!(failed_over.server.as_deref(), Some(&*names[1]));
    let many = client.get_many([&key]).await;
    assert!(many.is_complete());
    assert_eq!(recorder.only().extra, (0, 0, 1));
}

#[tokio::test]
async fn a_dropped_future_ends_as_cancelled() {
    let server = Server::start().await.unwrap();
    let (client, recorder) = observed(&[server.address()], patient_config());
    client.set("key", "value").await.unwrap();
    recorder.take();
    server.inject(Fault::BlackHole);
    drop(client.get("key"));
    assert!(recorder.take().is_empty(), "it was never polled");
    let moment = Duration::from_millis(20);
    tokio::time::timeout(moment, client.get("key")).await.unwrap_err();
    let get = recorder.only();
    assert_eq!((get.operation, get.outcome, get.counts), (OperationName::Get, Outcome::Cancelled, (0, 0, 1)));
    tokio::time::timeout(moment, client.get_many(["a", "b"]).into_future()).await.unwrap_err();
    assert_eq!((recorder.only().outcome, recorder.take_exchanges()[0].2), (Outcome::Cancelled, "cancelled"));
    tokio::time::timeout(moment, client.update("key", MINUTE, |_| None)).await.unwrap_err();
    assert_eq!(recorder.only().outcome, Outcome::Cancelled);
    let mut stats = client.servers()[0].stats("");
    tokio::time::timeout(moment, stats.next()).await.unwrap_err();
    drop(stats);
    assert_eq!(recorder.only().outcome, Outcome::Cancelled);
    server.clear_faults().unwrap();
    let load = || async move {
        std::future::pending::<()>().await;
        Ok::<_, remcache::Error>("late")
    };
    tokio::time::timeout(Duration::from_secs(1), client.fetch("slow", MINUTE, load)).await.unwrap_err();
    assert_eq!(recorder.take().last().unwrap().outcome, Outcome::Cancelled);
}

#[tokio::test]
async fn connections_are_reported_from_opening_to_closing() {
    let server = Server::start().await.unwrap();
    let (client, recorder) = observed(&[server.address(), "127.0.0.1:1".to_owned()], patient_config());
    let key = key_on(&client, &server.address());
    client.get(&key).await.unwrap();
    assert_eq!(recorder.connections(), ["Connecting", "Connected"]);
    let key = key_on(&client, "127.0.0.1:1");
    let error = client.get(&key).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Disconnected(Delivery::NotSent));
    let failed = recorder.take().pop().unwrap();
    assert_eq!((failed.outcome.label(), failed.server.as_deref()), ("Disconnected", Some("127.0.0.1:1")));
    client.close().await;
    let seen = recorder.connections();
    assert_eq!(seen[2..4], ["Connecting", "Down"]);
    assert_eq!(seen.iter().filter(|state| *state == "Closed").count(), 2, "{seen:?}");
}

#[tokio::test]
async fn a_stream_of_keys_is_one_operation() {
    use futures_util::stream;

    let server = Memcached::start(&[]);
    let (client, recorder) = observed(&[server.addr()], patient_config());
    let mut stored = client.set_stream(stream::iter([("a", "1"), ("b", "2")]));
    while let Some((_, outcome)) = stored.next().await {
        outcome.unwrap();
    }
    assert_eq!((recorder.only().operation, recorder.take_exchanges().len()), (OperationName::SetMany, 2));
    let too_long = "k".repeat(300);
    let mut items = client.get_stream(stream::iter(["a", "absent", &too_long, "b"]));
    while items.next().await.is_some() {}
    let get = recorder.only();
    assert_eq!((get.operation, get.counts), (OperationName::GetMany, (2, 1, 1)));
    assert_eq!(get.outcome, Outcome::Failed(ErrorKind::InvalidKey));
    assert!(items.next().await.is_none());
    let mut items = client.get_stream(stream::iter(["a", "b"]));
    items.next().await.unwrap().1.unwrap();
    drop(items);
    assert_eq!(recorder.only().outcome, Outcome::Cancelled);
    assert_eq!(recorder.started(), 3);
}
