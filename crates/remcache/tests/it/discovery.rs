//! Discovery: server lists from files, streams, configuration endpoints and DNS, which change while requests are made.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[cfg(feature = "dns")]
mod dns;
mod endpoint;
mod file;

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_core::Stream;
use remcache::discovery::{self, Discover, DiscoverError, Event, Events, Subscription};
use remcache::{Client, ErrorKind};
use remcache_testkit::{Memcached, Proxy, unused_port};
use tokio::sync::mpsc;

use crate::support::{patient_config, stat, wait_until};

/// A stream of the items that a test sends.
struct ChannelStream<T>(mpsc::UnboundedReceiver<T>);

impl<T> Stream for ChannelStream<T> {
    type Item = T;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        self.0.poll_recv(cx)
    }
}

fn channel<T>() -> (mpsc::UnboundedSender<T>, ChannelStream<T>) {
    let (sender, receiver) = mpsc::unbounded_channel();
    (sender, ChannelStream(receiver))
}

fn list(addresses: &[&str]) -> Vec<String> {
    addresses.iter().map(|address| (*address).to_owned()).collect()
}

fn names(client: &Client) -> Vec<String> {
    client.servers().iter().map(|server| server.name().to_owned()).collect()
}

/// Waits until the source's error contains these words, and returns it.
async fn failure(subscription: &Subscription, expected: &str) -> remcache::Error {
    let error = || subscription.state().error.filter(|error| error.to_string().contains(expected));
    wait_until(expected, async || error().is_some()).await;
    error().unwrap()
}

async fn change(events: &mut Events) -> (Vec<String>, Vec<String>) {
    loop {
        match events.next().await.expect("the source has not ended") {
            Event::Changed { added, removed, .. } => return (added, removed),
            Event::Failed(_) | Event::Recovered => {}
            other => panic!("{other:?}"),
        }
    }
}

// ---- Streams ----

#[tokio::test]
async fn a_stream_of_lists_is_applied_until_it_ends() {
    let client = Client::new(["a"]).unwrap();
    let (lists_sender, lists) = channel::<Vec<String>>();
    let subscription = discovery::follow(&client, discovery::stream("the test", lists));
    let mut events = subscription.events();
    lists_sender.send(list(&["a:11211", "b:1", "b:1:3"])).unwrap();
    assert_eq!(change(&mut events).await, (list(&["b:1"]), vec![]));
    assert_eq!(names(&client), ["a:11211", "b:1"]);
    let state = subscription.state();
    assert_eq!((state.servers, state.duplicates), (list(&["a:11211", "b:1"]), list(&["b:1:3"])));
    assert!(state.confirmed.is_some() && state.changed.is_some() && state.source == "the test");

    lists_sender.send(list(&["b:1:2", "c"])).unwrap();
    assert_eq!(change(&mut events).await, (list(&["b:1:2", "c"]), list(&["a:11211", "b:1"])));
    drop(lists_sender);
    assert!(matches!(events.next().await, Some(Event::Ended)));
    assert!(events.next().await.is_none());
    assert!(subscription.state().ended);
    assert_eq!(names(&client), ["b:1", "c:11211"], "the last list stays");
}

#[tokio::test]
async fn an_invalid_list_changes_nothing_and_is_reported() {
    let client = Client::new(["a"]).unwrap();
    let (lists_sender, lists) = channel::<Result<Vec<String>, &'static str>>();
    let subscription = discovery::follow(&client, discovery::stream("the test", lists));
    let mut events = subscription.events();
    for (item, word) in [
        (Err("the registry is unavailable"), "the registry is unavailable"),
        (Ok(vec![]), "empty"),
        (Ok(list(&["b:1", "b:port"])), "b:port"),
        (Ok(list(&["<html>"])), "<html>"),
        (Ok(list(&["a,b"])), "a,b"),
    ] {
        lists_sender.send(item).unwrap();
        let error = failure(&subscription, word).await;
        assert_eq!(error.kind(), ErrorKind::Discovery);
        assert!(error.to_string().starts_with("the test: "), "{error}");
        assert_eq!(names(&client), ["a:11211"]);
    }
    assert_eq!(subscription.state().failures, 5);
    lists_sender.send(Ok(list(&["b:1"]))).unwrap();
    assert_eq!(change(&mut events).await, (list(&["b:1"]), list(&["a:11211"])));
    let state = subscription.state();
    assert!(state.error.is_none() && state.failures == 0, "{state:?}");
}

#[tokio::test]
async fn events_arrive_in_order() {
    let client = Client::new(["a"]).unwrap();
    let (lists_sender, lists) = channel::<Result<Vec<String>, &'static str>>();
    let subscription = discovery::follow(&client, discovery::stream("the test", lists));
    let mut events = subscription.events();
    for item in [Ok(list(&["a"])), Err("unavailable"), Ok(list(&["a"])), Ok(list(&["b"]))] {
        lists_sender.send(item).unwrap();
    }
    // A list that equals the current one causes no event.
    assert!(matches!(events.next().await, Some(Event::Failed(_))));
    assert!(matches!(events.next().await, Some(Event::Recovered)));
    assert!(matches!(events.next().await, Some(Event::Changed { .. })));
}

#[tokio::test]
async fn a_reordered_list_is_a_change() {
    let client = Client::new(["a", "b"]).unwrap();
    let (lists_sender, lists) = channel::<Vec<String>>();
    let subscription = discovery::follow(&client, discovery::stream("the test", lists));
    let mut events = subscription.events();
    lists_sender.send(list(&["b", "a"])).unwrap();
    assert_eq!(change(&mut events).await, (vec![], vec![]));
    assert_eq!(names(&client), ["b:11211", "a:11211"]);
}

#[tokio::test]
async fn dropping_the_subscription_stops_its_task() {
    let client = Client::new(["a"]).unwrap();
    let (lists_sender, lists) = channel::<Vec<String>>();
    let subscription = discovery::follow(&client, discovery::stream("the test", lists));
    let mut events = subscription.events();
    lists_sender.send(list(&["b"])).unwrap();
    change(&mut events).await;
    drop(subscription);
    wait_until("the task has ended", async || lists_sender.is_closed()).await;
    assert_eq!(names(&client), ["b:11211"]);
}

// ---- The first list ----

#[tokio::test]
async fn a_client_is_created_from_the_first_valid_list() {
    let (lists_sender, lists) = channel::<Result<Vec<String>, &'static str>>();
    for item in [Err("not yet"), Ok(vec![]), Ok(list(&["b", "a"]))] {
        lists_sender.send(item).unwrap();
    }
    let config = patient_config().server("memcached://ignored/?connections=2").unwrap();
    let (client, subscription) = discovery::connect(discovery::stream("the test", lists), config).await.unwrap();
    assert_eq!(names(&client), ["b:11211", "a:11211"]);
    assert_eq!(subscription.state().servers, ["b", "a"]);
    assert!(subscription.state().changed.is_some());
    let mut events = subscription.events();
    lists_sender.send(Ok(list(&["a"]))).unwrap();
    assert_eq!(change(&mut events).await, (vec![], list(&["b"])));
}

#[tokio::test]
async fn without_a_valid_list_the_last_failure_is_returned() {
    let limit = Duration::from_millis(300);
    let (lists_sender, lists) = channel::<Result<Vec<String>, &'static str>>();
    lists_sender.send(Err("the registry is unavailable")).unwrap();
    let source = discovery::stream("the test", lists);
    let error = discovery::connect_with_timeout(source, patient_config(), limit).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.to_string()),
        (ErrorKind::Discovery, "the test: the registry is unavailable".into())
    );

    let (_lists_sender, lists) = channel::<Vec<String>>();
    let source = discovery::stream("the test", lists);
    let error = discovery::connect_with_timeout(source, patient_config(), limit).await.unwrap_err();
    assert!(error.to_string().contains("no reply within 300ms"), "{error}");

    let (_, lists) = channel::<Vec<String>>();
    let error = discovery::connect(discovery::stream("the test", lists), patient_config()).await.unwrap_err();
    assert!(error.to_string().contains("ended"), "{error}");

    let (lists_sender, lists) = channel::<Vec<String>>();
    lists_sender.send(list(&["a"])).unwrap();
    let source = discovery::stream("the test", lists);
    let error = discovery::connect(source, patient_config().connections(0)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config, "{error}");
}

/// A source that always fails immediately.
struct Broken(mpsc::UnboundedSender<()>);

impl Discover for Broken {
    fn name(&self) -> String {
        "broken".to_owned()
    }
    fn interval(&self) -> Duration {
        Duration::ZERO
    }
    async fn fetch_servers(&mut self) -> Result<Option<Vec<String>>, DiscoverError> {
        let _ = self.0.send(());
        Err("broken".into())
    }
}

#[tokio::test(start_paused = true)]
async fn a_source_that_fails_immediately_is_polled_with_backoff() {
    let client = Client::new(["a"]).unwrap();
    let (sender, mut polls) = mpsc::unbounded_channel();
    let _subscription = discovery::follow(&client, Broken(sender));
    tokio::time::sleep(Duration::from_secs(60)).await;
    let mut count = 0;
    while polls.try_recv().is_ok() {
        count += 1;
    }
    assert!((60..=200).contains(&count), "{count} polls in a minute");
}

// ---- During requests ----

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn list_changes_do_not_affect_servers_that_stay() {
    let servers: Vec<_> = (0..4).map(|_| Memcached::start(&[])).collect();
    let stays = Proxy::start(servers[0].addr()).await;
    let addresses: Vec<String> = [stays.addr()].into_iter().chain(servers[1..].iter().map(Memcached::addr)).collect();
    let (lists_sender, lists) = channel::<Vec<String>>();
    lists_sender.send(addresses[..3].to_vec()).unwrap();
    let (client, subscription) =
        discovery::connect(discovery::stream("the test", lists), patient_config()).await.unwrap();
    let mut events = subscription.events();

    let is_done = Arc::new(AtomicBool::new(false));
    let tasks: Vec<_> = (0..8)
        .map(|task| {
            let (client, is_done) = (client.clone(), Arc::clone(&is_done));
            tokio::spawn(async move {
                let mut requests = 0_u64;
                while !is_done.load(Ordering::Relaxed) {
                    let key = format!("key{}", (requests * 8 + task) % 997);
                    // A key may be on a server that was just added: then it is a miss, but not a failure.
                    client.set(&key[..], &key[..]).await.unwrap();
                    let item = client.get(&key[..]).await.unwrap();
                    assert!(item.is_none_or(|item| item.value == key));
                    requests += 1;
                }
                requests
            })
        })
        .collect();
    for round in 0..100 {
        let mut now = addresses.clone();
        now.remove(1 + round % 3);
        lists_sender.send(now).unwrap();
        change(&mut events).await;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    is_done.store(true, Ordering::Relaxed);
    for task in tasks {
        assert!(task.await.unwrap() > 0);
    }
    assert_eq!(stays.accepted(), 1, "the server that stays keeps its connection");
    let handle = client.servers().into_iter().find(|server| server.name() == stays.addr()).unwrap();
    assert_eq!(stat(&handle, "curr_connections").await, 1);
}

#[tokio::test]
async fn requests_in_flight_on_a_removed_server_are_answered() {
    let servers = [Memcached::start(&[]), Memcached::start(&[])];
    let (lists_sender, lists) = channel::<Vec<String>>();
    lists_sender.send(vec![servers[0].addr()]).unwrap();
    let (client, subscription) =
        discovery::connect(discovery::stream("the test", lists), patient_config()).await.unwrap();
    let mut events = subscription.events();
    client.set("k", "v").await.unwrap();
    // A stopped server keeps the requests in flight.
    servers[0].stop();
    let leaving = client.servers().remove(0);
    let gets: Vec<_> = (0..100)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move { client.get("k").await })
        })
        .collect();
    wait_until("all requests are in flight", async || leaving.in_flight() == 100).await;
    lists_sender.send(vec![servers[1].addr()]).unwrap();
    change(&mut events).await;
    assert_eq!(client.get("k").await.unwrap(), None, "the other server gets new requests");
    servers[0].cont();
    for get in gets {
        assert_eq!(get.await.unwrap().unwrap().unwrap().value, "v");
    }
}

/// Returns an address where nothing listens.
fn refused_address() -> String {
    format!("127.0.0.1:{}", unused_port())
}
