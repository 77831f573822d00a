//! Lists of servers that change while requests flow: from files, streams, configuration endpoints and DNS.

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
use remcache::discovery::{self, Discover, Event, Events, Failure, Subscription};
use remcache::{Client, ErrorKind};
use remcache_testkit::{Memcached, Proxy, unused_port};
use tokio::sync::mpsc;

use crate::support::{patient_config, stat, wait_until};

/// What a test tells, as a stream.
struct Told<T>(mpsc::UnboundedReceiver<T>);

impl<T> Stream for Told<T> {
    type Item = T;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        self.0.poll_recv(cx)
    }
}

fn told<T>() -> (mpsc::UnboundedSender<T>, Told<T>) {
    let (sender, receiver) = mpsc::unbounded_channel();
    (sender, Told(receiver))
}

fn list(addresses: &[&str]) -> Vec<String> {
    addresses.iter().map(|address| (*address).to_owned()).collect()
}

fn names(client: &Client) -> Vec<String> {
    client.servers().iter().map(|server| server.name().to_owned()).collect()
}

/// The error that a source has now; waits until it has one that says so.
async fn failure(following: &Subscription, word: &str) -> remcache::Error {
    let told = || following.state().error.filter(|error| error.to_string().contains(word));
    wait_until(word, async || told().is_some()).await;
    told().unwrap()
}

async fn change(events: &mut Events) -> (Vec<String>, Vec<String>) {
    loop {
        match events.next().await.expect("the source goes on") {
            Event::Changed { added, removed, .. } => return (added, removed),
            Event::Failed(_) | Event::Recovered => {}
            other => panic!("{other:?}"),
        }
    }
}

// ---- Streams ----

#[tokio::test]
async fn a_stream_of_lists_is_followed_until_it_ends() {
    let client = Client::new(["a"]).unwrap();
    let (tell, lists) = told::<Vec<String>>();
    let following = discovery::follow(&client, discovery::stream("the test", lists));
    let mut events = following.events();
    tell.send(list(&["a:11211", "b:1", "b:1:3"])).unwrap();
    assert_eq!(change(&mut events).await, (list(&["b:1"]), vec![]));
    assert_eq!(names(&client), ["a:11211", "b:1"]);
    let state = following.state();
    assert_eq!((state.servers, state.duplicates), (list(&["a:11211", "b:1"]), list(&["b:1:3"])));
    assert!(state.confirmed.is_some() && state.changed.is_some() && state.source == "the test");

    tell.send(list(&["b:1:2", "c"])).unwrap();
    assert_eq!(change(&mut events).await, (list(&["b:1:2", "c"]), list(&["a:11211", "b:1"])));
    drop(tell);
    assert!(matches!(events.next().await, Some(Event::Ended)));
    assert!(events.next().await.is_none());
    assert!(following.state().ended);
    assert_eq!(names(&client), ["b:1", "c:11211"], "the list stays");
}

#[tokio::test]
async fn what_is_no_list_changes_nothing_and_is_named() {
    let client = Client::new(["a"]).unwrap();
    let (tell, lists) = told::<Result<Vec<String>, &'static str>>();
    let following = discovery::follow(&client, discovery::stream("the test", lists));
    let mut events = following.events();
    for (item, word) in [
        (Err("the registry is away"), "the registry is away"),
        (Ok(vec![]), "empty"),
        (Ok(list(&["b:1", "b:port"])), "b:port"),
        (Ok(list(&["<html>"])), "<html>"),
        (Ok(list(&["a,b"])), "a,b"),
    ] {
        tell.send(item).unwrap();
        let error = failure(&following, word).await;
        assert_eq!(error.kind(), ErrorKind::Discovery);
        assert!(error.to_string().starts_with("the test: "), "{error}");
        assert_eq!(names(&client), ["a:11211"]);
    }
    assert_eq!(following.state().failures, 5);
    tell.send(Ok(list(&["b:1"]))).unwrap();
    assert_eq!(change(&mut events).await, (list(&["b:1"]), list(&["a:11211"])));
    let state = following.state();
    assert!(state.error.is_none() && state.failures == 0, "{state:?}");
}

#[tokio::test]
async fn events_are_told_in_order() {
    let client = Client::new(["a"]).unwrap();
    let (tell, lists) = told::<Result<Vec<String>, &'static str>>();
    let following = discovery::follow(&client, discovery::stream("the test", lists));
    let mut events = following.events();
    for item in [Ok(list(&["a"])), Err("away"), Ok(list(&["a"])), Ok(list(&["b"]))] {
        tell.send(item).unwrap();
    }
    // The list that the client had anyway, and equal ones, are no events.
    assert!(matches!(events.next().await, Some(Event::Failed(_))));
    assert!(matches!(events.next().await, Some(Event::Recovered)));
    assert!(matches!(events.next().await, Some(Event::Changed { .. })));
}

#[tokio::test]
async fn a_list_in_another_order_is_another_list() {
    let client = Client::new(["a", "b"]).unwrap();
    let (tell, lists) = told::<Vec<String>>();
    let following = discovery::follow(&client, discovery::stream("the test", lists));
    let mut events = following.events();
    tell.send(list(&["b", "a"])).unwrap();
    assert_eq!(change(&mut events).await, (vec![], vec![]));
    assert_eq!(names(&client), ["b:11211", "a:11211"]);
}

#[tokio::test]
async fn nobody_follows_after_the_drop() {
    let client = Client::new(["a"]).unwrap();
    let (tell, lists) = told::<Vec<String>>();
    let following = discovery::follow(&client, discovery::stream("the test", lists));
    let mut events = following.events();
    tell.send(list(&["b"])).unwrap();
    change(&mut events).await;
    drop(following);
    wait_until("the task is gone", async || tell.is_closed()).await;
    assert_eq!(names(&client), ["b:11211"]);
}

// ---- The first list ----

#[tokio::test]
async fn a_client_is_made_of_the_first_good_list() {
    let (tell, lists) = told::<Result<Vec<String>, &'static str>>();
    for item in [Err("not yet"), Ok(vec![]), Ok(list(&["b", "a"]))] {
        tell.send(item).unwrap();
    }
    let config = patient_config().server("memcached://ignored/?connections=2").unwrap();
    let (client, following) = discovery::connect(discovery::stream("the test", lists), config).await.unwrap();
    assert_eq!(names(&client), ["b:11211", "a:11211"]);
    assert_eq!(following.state().servers, ["b", "a"]);
    assert!(following.state().changed.is_some());
    let mut events = following.events();
    tell.send(Ok(list(&["a"]))).unwrap();
    assert_eq!(change(&mut events).await, (vec![], list(&["b"])));
}

#[tokio::test]
async fn without_a_first_list_the_last_failure_is_told() {
    let limit = Duration::from_millis(300);
    let (tell, lists) = told::<Result<Vec<String>, &'static str>>();
    tell.send(Err("the registry is away")).unwrap();
    let source = discovery::stream("the test", lists);
    let error = discovery::connect_within(source, patient_config(), limit).await.unwrap_err();
    assert_eq!((error.kind(), error.to_string()), (ErrorKind::Discovery, "the test: the registry is away".into()));

    let (_tell, lists) = told::<Vec<String>>();
    let source = discovery::stream("the test", lists);
    let error = discovery::connect_within(source, patient_config(), limit).await.unwrap_err();
    assert!(error.to_string().contains("no answer within 300ms"), "{error}");

    let (_, lists) = told::<Vec<String>>();
    let error = discovery::connect(discovery::stream("the test", lists), patient_config()).await.unwrap_err();
    assert!(error.to_string().contains("ended"), "{error}");

    let (tell, lists) = told::<Vec<String>>();
    tell.send(list(&["a"])).unwrap();
    let source = discovery::stream("the test", lists);
    let error = discovery::connect(source, patient_config().connections(0)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config, "{error}");
}

/// Fails at once, whenever it is asked.
struct Broken(mpsc::UnboundedSender<()>);

impl Discover for Broken {
    fn name(&self) -> String {
        "broken".to_owned()
    }
    fn interval(&self) -> Duration {
        Duration::ZERO
    }
    async fn look(&mut self) -> Result<Option<Vec<String>>, Failure> {
        let _ = self.0.send(());
        Err("broken".into())
    }
}

#[tokio::test(start_paused = true)]
async fn a_source_that_fails_at_once_is_not_asked_all_the_time() {
    let client = Client::new(["a"]).unwrap();
    let (sender, mut looks) = mpsc::unbounded_channel();
    let _following = discovery::follow(&client, Broken(sender));
    tokio::time::sleep(Duration::from_secs(60)).await;
    let mut count = 0;
    while looks.try_recv().is_ok() {
        count += 1;
    }
    assert!((60..=200).contains(&count), "{count} looks in a minute");
}

// ---- While requests flow ----

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_that_stay_notice_nothing_of_those_that_come_and_go() {
    let servers: Vec<_> = (0..4).map(|_| Memcached::start(&[])).collect();
    let stays = Proxy::start(servers[0].addr()).await;
    let addresses: Vec<String> = [stays.addr()].into_iter().chain(servers[1..].iter().map(Memcached::addr)).collect();
    let (tell, lists) = told::<Vec<String>>();
    tell.send(addresses[..3].to_vec()).unwrap();
    let (client, following) = discovery::connect(discovery::stream("the test", lists), patient_config()).await.unwrap();
    let mut events = following.events();

    let over = Arc::new(AtomicBool::new(false));
    let tasks: Vec<_> = (0..8)
        .map(|task| {
            let (client, over) = (client.clone(), Arc::clone(&over));
            tokio::spawn(async move {
                let mut requests = 0_u64;
                while !over.load(Ordering::Relaxed) {
                    let key = format!("key{}", (requests * 8 + task) % 997);
                    // A key may be on a server that has just joined: then it is a miss, but no failure.
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
        tell.send(now).unwrap();
        change(&mut events).await;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    over.store(true, Ordering::Relaxed);
    for task in tasks {
        assert!(task.await.unwrap() > 0);
    }
    assert_eq!(stays.accepted(), 1, "the server that stays kept its connection");
    let handle = client.servers().into_iter().find(|server| server.name() == stays.addr()).unwrap();
    assert_eq!(stat(&handle, "curr_connections").await, 1);
}

#[tokio::test]
async fn requests_on_a_server_that_leaves_are_answered() {
    let servers = [Memcached::start(&[]), Memcached::start(&[])];
    let slow = Proxy::start(servers[0].addr()).await;
    let (tell, lists) = told::<Vec<String>>();
    tell.send(vec![slow.addr()]).unwrap();
    let (client, following) = discovery::connect(discovery::stream("the test", lists), patient_config()).await.unwrap();
    let mut events = following.events();
    client.set("k", "v").await.unwrap();
    slow.change(|rules| rules.replies.delay = Duration::from_millis(500));
    let leaving = client.servers().remove(0);
    let gets: Vec<_> = (0..100)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move { client.get("k").await })
        })
        .collect();
    wait_until("all are in flight", async || leaving.in_flight() == 100).await;
    tell.send(vec![servers[1].addr()]).unwrap();
    change(&mut events).await;
    assert_eq!(client.get("k").await.unwrap(), None, "the other server is asked now");
    for get in gets {
        assert_eq!(get.await.unwrap().unwrap().unwrap().value, "v");
    }
}

/// An address where nothing listens.
fn nowhere() -> String {
    format!("127.0.0.1:{}", unused_port())
}
