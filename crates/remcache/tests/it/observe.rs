//! Observability: states, metrics and events of servers; reports to observers.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[cfg(all(feature = "metrics", feature = "opentelemetry", feature = "spans"))]
mod keys;
mod layers;
#[cfg(feature = "metrics")]
mod metrics;
mod migrations;
mod misbehaviour;
mod operations;
#[cfg(feature = "opentelemetry")]
mod otel;
mod recorder;
#[cfg(feature = "spans")]
mod spans;
mod totals;

use std::time::{Duration, SystemTime};

use remcache::config::Overload;
use remcache::health::{ConnectionState, ServerEvents};
use remcache::{Client, Config, Request, Status};
use remcache_server::{Close, Fault, Server};
use remcache_testkit::Memcached;
use tokio::time::timeout;

use crate::support::{only_server, patient_config, wait_until};

#[tokio::test]
async fn events_report_the_state_changes_of_a_server() {
    let mut server = Memcached::start(&[]);
    let client = Client::with_config([server.addr()], patient_config()).unwrap();
    let mut events = client.events();
    client.set("k", "v").await.unwrap();
    server.kill();
    wait_until("the server is down", async || client.get("k").await.is_err() && !client.is_usable()).await;
    server.restart();
    wait_until("the server is up", async || client.is_usable()).await;
    client.close().await;
    drop(client);
    let mut seen = Vec::new();
    while let Some(event) = events.next().await {
        assert_eq!((&*event.server, event.missed), (&*server.addr(), 0));
        if let Some((_, after)) = seen.last() {
            assert_eq!(*after, event.before, "each event starts with the state of the previous one");
        }
        seen.push((event.before, event.after));
    }
    let after: Vec<_> = seen.iter().map(|(_, after)| after.clone()).collect();
    let [ConnectionState::Connecting, ConnectionState::Connected, ..] = after[..] else { panic!("{after:?}") };
    let was_down =
        after.iter().position(|condition| matches!(condition, ConnectionState::Down(reason) if !reason.is_empty()));
    let up_again = after.iter().rposition(|condition| *condition == ConnectionState::Connected);
    assert!(was_down.is_some() && was_down < up_again, "{after:?}");
    assert_eq!(after.last(), Some(&ConnectionState::Closed));
}

/// Returns the states reported since the last call.
async fn reported_states(events: &mut ServerEvents) -> Vec<ConnectionState> {
    let mut states = Vec::new();
    while let Ok(Some(event)) = timeout(Duration::ZERO, events.next()).await {
        states.push(event.after);
    }
    states
}

fn is_down(condition: &ConnectionState) -> bool {
    matches!(condition, ConnectionState::Down(reason) if !reason.is_empty())
}

/// Asserts that the server went down exactly once; an idle connection that closes is not yet a loss.
#[track_caller]
fn assert_one_loss(states: &[ConnectionState]) {
    let losses = states.iter().filter(|condition| is_down(condition)).count();
    assert!(losses == 1 && states.last().is_some_and(is_down), "{states:?}");
}

/// Losing four connections one after the other is one loss.
#[tokio::test]
async fn a_server_with_four_connections_goes_down_once_and_comes_up_once() {
    let mut server = Memcached::start(&[]);
    let client = Client::with_config([server.addr()], patient_config().connections(4)).unwrap();
    let handle = only_server(&client);
    for _ in 0..8 {
        client.set("k", "v").await.unwrap();
    }
    let mut events = client.events();
    let before = SystemTime::now();
    server.kill();
    wait_until("the server is down", async || client.get("k").await.is_err() && handle.metrics().open == 0).await;
    let status = handle.status();
    assert!(is_down(&status.state) && (before..=SystemTime::now()).contains(&status.since), "{status:?}");
    assert_one_loss(&reported_states(&mut events).await);
    server.restart();
    wait_until("all connections are open", async || client.get("k").await.is_ok() && handle.metrics().open == 4).await;
    assert_eq!(reported_states(&mut events).await, [ConnectionState::Connected]);
}

/// Connections that were never opened do not count as evidence that the server is up.
#[tokio::test]
async fn a_loss_is_reported_although_other_connections_were_never_opened() {
    let mut server = Memcached::start(&[]);
    let client = Client::with_config([server.addr()], patient_config().connections(4)).unwrap();
    client.set("k", "v").await.unwrap();
    let mut events = client.events();
    server.kill();
    let is_reported = || is_down(&only_server(&client).status().state);
    wait_until("the loss is reported", async || client.get("k").await.is_err() && is_reported()).await;
    assert_one_loss(&reported_states(&mut events).await);
}

/// A stopped server keeps its sockets open: one connection detects that it is unresponsive.
#[tokio::test]
async fn one_connection_detects_an_unresponsive_server_for_all() {
    let server = Memcached::start(&[]);
    let config = Config::new().timeout(Duration::from_secs(2)).connections(4);
    let client = Client::with_config([server.addr()], config).unwrap();
    let handle = only_server(&client);
    wait_until("all connections are open", async || {
        let stored = client.set("k", "v").timeout(Duration::from_secs(60)).await;
        stored.is_ok() && handle.metrics().open == 4
    })
    .await;
    let mut events = client.events();
    server.stop();
    wait_until("the server is down", async || client.get("k").await.is_err() && !client.is_usable()).await;
    let states = reported_states(&mut events).await;
    assert!(matches!(&states[..], [down] if is_down(down)), "{states:?}");
    assert!(is_down(&handle.status().state));
    server.cont();
    wait_until("the server is up", async || client.is_usable()).await;
    wait_until("the recovery is reported", async || handle.status().state == ConnectionState::Connected).await;
    assert_eq!(reported_states(&mut events).await, [ConnectionState::Connected]);
}

#[tokio::test]
async fn metrics_of_a_server_are_those_of_its_connections() {
    let server = Server::start().await.unwrap();
    let client = Client::with_config([server.address()], patient_config().connections(2)).unwrap();
    let handle = only_server(&client);
    let idle = handle.metrics();
    assert_eq!((idle.connections, idle.open, idle.in_flight, idle.round_trip), (2, 0, 0, None));
    for _ in 0..10 {
        client.set("k", "v").await.unwrap();
    }
    let metrics = handle.metrics();
    assert_eq!((metrics.connections, metrics.open, metrics.in_flight, metrics.waiting), (2, 2, 0, 0));
    assert_eq!((metrics.status.state, metrics.reconnects), (ConnectionState::Connected, 0));
    assert!(metrics.round_trip.unwrap() > Duration::ZERO);
    assert_eq!(metrics.errors, idle.errors);
}

#[tokio::test]
async fn the_round_trip_follows_the_server() {
    let server = Server::start().await.unwrap();
    let client = Client::with_config([server.address()], patient_config()).unwrap();
    client.set("k", "v").await.unwrap();
    server.inject(Fault::Delay(Duration::from_millis(50)));
    for _ in 0..20 {
        // One reply per read is measured.
        let _ = client.get_many(["k"; 10]).await;
    }
    let slow = only_server(&client).metrics().round_trip.unwrap();
    assert!(slow >= Duration::from_millis(30), "{slow:?}");
}

#[tokio::test]
async fn errors_are_counted_by_kind() {
    let server = Server::builder().item_size_max(2_000).start().await.unwrap();
    let config = Config::new()
        .timeout(Duration::from_secs(3))
        .max_in_flight(2)
        .overload(Overload::Fail)
        .breaker(0)
        .reconnect_delay(Duration::from_millis(1), Duration::from_millis(5));
    let client = Client::with_config([server.address()], config).unwrap();
    let handle = only_server(&client);
    let errors = || handle.metrics().errors;
    let is_up = async || client.get("k").timeout(Duration::from_secs(30)).await.is_ok();

    assert_eq!(client.call(Request::set("large", vec![0; 3_000])).await.status, Status::ValueTooLarge);
    assert_eq!(client.call(Request::get("absent")).await.status, Status::KeyNotFound);
    assert_eq!((errors().server, errors().timeouts), (1, 0));

    server.inject(Fault::BlackHole);
    let (one, other) = tokio::join!(client.call(Request::get("k")), async {
        tokio::task::yield_now().await;
        let (second, third) = tokio::join!(client.call(Request::get("k")), client.call(Request::get("k")));
        assert_eq!(third.status, Status::Overloaded);
        second
    });
    assert!(matches!((one.status, other.status), (Status::TimedOut(_), Status::TimedOut(_))));
    assert_eq!((errors().timeouts, errors().overloaded), (2, 1));
    server.clear_faults().unwrap();
    wait_until("the server is up", is_up).await;

    server.inject(Fault::Garbage { seed: 7 }.on_reply(1));
    let before = errors();
    assert!(matches!(client.call(Request::get("k")).await.status, Status::Disconnected(_)));
    assert_eq!((errors().protocol, errors().disconnects), (before.protocol + 1, before.disconnects + 1));
    wait_until("the server is up", is_up).await;
    assert!(handle.metrics().reconnects > 0);

    server.inject(Fault::Disconnect { after: 0, close: Close::Rst });
    assert!(matches!(client.call(Request::get("k")).await.status, Status::Disconnected(_)));
    wait_until("the server is down", async || !client.is_usable()).await;
    let before = errors();
    client.call(Request::get("k")).await;
    assert_eq!(errors().refused, before.refused + 1);
}
