//! What operators see of servers: states, numbers, events.

#![cfg(feature = "client")]

#[path = "support/eventually.rs"]
mod eventually;
#[path = "support/only_server.rs"]
mod only_server;
#[path = "support/patient.rs"]
mod patient;

use std::time::Duration;

use eventually::eventually;
use only_server::only_server;
use patient::patient;
use remcache::client::{Condition, Overload};
use remcache::{Client, Config, Request, Status};
use remcache_server::{Close, Fault, Server};
use remcache_testkit::Memcached;

#[tokio::test]
async fn events_tell_what_becomes_of_a_server() {
    let mut server = Memcached::start(&[]);
    let client = Client::with_config([server.addr()], patient()).unwrap();
    let mut events = client.events();
    client.set("k", "v").await.unwrap();
    server.kill();
    eventually("its loss is noticed", async || client.get("k").await.is_err() && !client.is_usable()).await;
    server.restart();
    eventually("it is back", async || client.is_usable()).await;
    client.close().await;
    drop(client);
    let mut seen = Vec::new();
    while let Some(event) = events.next().await {
        assert_eq!((&*event.server, event.missed), (&*server.addr(), 0));
        if let Some((_, after)) = seen.last() {
            assert_eq!(*after, event.before, "each event goes on where the last one ended");
        }
        seen.push((event.before, event.after));
    }
    let after: Vec<_> = seen.iter().map(|(_, after)| after.clone()).collect();
    let [Condition::Connecting, Condition::Connected, ..] = after[..] else { panic!("{after:?}") };
    let was_down =
        after.iter().position(|condition| matches!(condition, Condition::Down(reason) if !reason.is_empty()));
    let was_back = after.iter().rposition(|condition| *condition == Condition::Connected);
    assert!(was_down.is_some() && was_down < was_back, "{after:?}");
    assert_eq!(after.last(), Some(&Condition::Closed));
}

#[tokio::test]
async fn a_server_in_numbers() {
    let server = Server::start().await.unwrap();
    let client = Client::with_config([server.address()], patient().connections(2)).unwrap();
    let handle = only_server(&client);
    let idle = handle.gauges();
    assert_eq!((idle.connections, idle.open, idle.in_flight, idle.round_trip), (2, 0, 0, None));
    for _ in 0..10 {
        client.set("k", "v").await.unwrap();
    }
    let gauges = handle.gauges();
    assert_eq!((gauges.connections, gauges.open, gauges.in_flight, gauges.waiting), (2, 2, 0, 0));
    assert_eq!((gauges.state.condition, gauges.reconnects), (Condition::Connected, 0));
    assert!(gauges.round_trip.unwrap() > Duration::ZERO);
    assert_eq!(gauges.errors, idle.errors);
}

#[tokio::test]
async fn the_round_trip_follows_the_server() {
    let server = Server::start().await.unwrap();
    let client = Client::with_config([server.address()], patient()).unwrap();
    client.set("k", "v").await.unwrap();
    server.inject(Fault::Delay(Duration::from_millis(50)));
    for _ in 0..20 {
        // Of those in one read, one is measured.
        client.get_many(["k"; 10]).await;
    }
    let slow = only_server(&client).gauges().round_trip.unwrap();
    assert!(slow >= Duration::from_millis(30), "{slow:?}");
}

#[tokio::test]
async fn errors_are_counted_by_kind() {
    let server = Server::builder().item_size_max(2_000).start().await.unwrap();
    let config = Config::new()
        .timeout(Duration::from_millis(300))
        .max_in_flight(2)
        .overload(Overload::Fail)
        .breaker(0)
        .reconnect_delay(Duration::from_millis(1), Duration::from_millis(5));
    let client = Client::with_config([server.address()], config).unwrap();
    let handle = only_server(&client);
    let errors = || handle.gauges().errors;
    let is_back = async || client.get("k").timeout(Duration::from_secs(30)).await.is_ok();

    assert_eq!(client.call(Request::set("large", vec![0; 3_000])).await.status, Status::ValueTooLarge);
    assert_eq!(client.call(Request::get("absent")).await.status, Status::KeyNotFound);
    assert_eq!((errors().server, errors().timeouts), (1, 0));

    server.inject(Fault::NeverAnswer);
    let (one, other) = tokio::join!(client.call(Request::get("k")), async {
        tokio::task::yield_now().await;
        let (second, third) = tokio::join!(client.call(Request::get("k")), client.call(Request::get("k")));
        assert_eq!(third.status, Status::Overloaded);
        second
    });
    assert!(matches!((one.status, other.status), (Status::TimedOut(_), Status::TimedOut(_))));
    assert_eq!((errors().timeouts, errors().overloaded), (2, 1));
    server.clear_faults().unwrap();
    eventually("it is back", is_back).await;

    server.inject(Fault::Garbage { seed: 7 }.on_reply(1));
    let before = errors();
    assert!(matches!(client.call(Request::get("k")).await.status, Status::Disconnected(_)));
    assert_eq!((errors().protocol, errors().disconnects), (before.protocol + 1, before.disconnects + 1));
    eventually("it is back", is_back).await;
    assert!(handle.gauges().reconnects > 0);

    server.inject(Fault::Cut { after: 0, close: Close::Rst });
    assert!(matches!(client.call(Request::get("k")).await.status, Status::Disconnected(_)));
    eventually("it is down", async || !client.is_usable()).await;
    let before = errors();
    client.call(Request::get("k")).await;
    assert_eq!(errors().refused, before.refused + 1);
}
