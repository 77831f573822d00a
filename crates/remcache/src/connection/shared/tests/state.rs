//! The state of a connection, and the counters.

use std::future::Future;
use std::pin::pin;
use std::task::Context;

use super::*;
use crate::health::state::ConnectionState;

fn down() -> ConnectionState {
    ConnectionState::Down("lost".to_owned())
}

#[test]
fn a_connection_is_closed_once() {
    let fixture = Fixture::new();
    assert!(fixture.connection.is_usable() && !fixture.connection.is_closed());
    fixture.connection.close();
    assert!(!fixture.connection.is_usable() && fixture.connection.is_closed());
    fixture.connection.change(fixture.connection.lock(), ConnectionState::Idle, None);
    assert!(fixture.connection.is_closed());
}

#[test]
fn down_for_another_reason_is_no_change() {
    let fixture = Fixture::new();
    fixture.get();
    let task = fixture.start_task();
    let changes = [
        ConnectionState::Connecting,
        ConnectionState::Connecting,
        down(),
        ConnectionState::Down("another reason".to_owned()),
        ConnectionState::Connected,
        down(),
    ];
    assert_eq!(changes.map(|state| task.set_state(state)), [true, false, true, false, true, true]);
}

#[test]
fn waiting_for_a_server_ends_with_the_next_attempt_to_connect() {
    let fixture = Fixture::new();
    fixture.get();
    let task = fixture.start_task();
    let mut cx = Context::from_waker(Waker::noop());
    assert_eq!(pin!(fixture.connection.wait_for_return()).poll(&mut cx), Poll::Ready(true));
    for (next, returns) in [(ConnectionState::Connected, true), (down(), false), (ConnectionState::Closed, false)] {
        task.set_state(down());
        let mut wait = pin!(fixture.connection.wait_for_return());
        assert_eq!(wait.as_mut().poll(&mut cx), Poll::Pending);
        task.set_state(next);
        assert_eq!(wait.poll(&mut cx), Poll::Ready(returns));
    }
    assert_eq!(pin!(fixture.connection.wait_for_return()).poll(&mut cx), Poll::Ready(false), "it is closed");
}

#[test]
fn an_open_connection_is_described_for_observers() {
    let fixture = Fixture::new();
    let config = Config::new().protocol(ProtocolSetting::Text);
    assert_eq!(ConnectionHandle::for_test(&config, 0).protocol(), Some(Protocol::Text));
    assert_eq!(ConnectionHandle::for_test(&Config::new(), 0).protocol(), None);
    fixture.get();
    let task = fixture.start_task();
    let peer = Some(([127, 0, 0, 1], 11211).into());
    task.connected(Negotiated::assumed(Protocol::Binary), peer, Some(vec![4, 2]), fixture.at(7));
    let established = fixture.connection.established();
    assert_eq!((established.since, established.peer), (Some(fixture.at(7)), peer));
    assert_eq!(established.protocol, Some(Protocol::Binary));
    assert_eq!(fixture.connection.peer_certificate(), Some(vec![4, 2]));
    assert_eq!(fixture.connection.with_counters(|counters| counters.connects), 1);
}

#[test]
fn only_the_first_request_and_earlier_deadlines_need_attention() {
    let fixture = Fixture::new();
    let needs_attention = |millis, deadline| fixture.submit_at(millis, deadline).1;
    assert!(needs_attention(0, 100), "there is no task");
    let task = fixture.start_task();
    assert!(needs_attention(0, 100), "the deadline is not registered");
    fixture.connection.claim_watch(fixture.start);
    assert!(!needs_attention(0, 100) && !needs_attention(0, 200) && !needs_attention(1_100, 2_000));
    assert!(needs_attention(0, 99));
    assert!(needs_attention(1_101, 2_000), "the watchdog does not run");
    task.end("the runtime ended");
    assert!(needs_attention(0, 100), "there is no task");
}

#[test]
fn requests_that_are_not_accepted_are_counted() {
    let fixture = Fixture::new();
    fixture.connection.count_overloaded(2);
    fixture.connection.close();
    let slot = Slot::Waiting(Waker::noop().clone());
    let deadline = fixture.deadline(100);
    let submitted = fixture.connection.submit(&Request::get("key"), deadline, slot, fixture.start, None);
    assert!(matches!(submitted, Submitted::Refused(_)));
    let errors = fixture.connection.with_counters(|counters| counters.errors);
    assert_eq!((errors.overloaded, errors.refused), (2, 1));
}
