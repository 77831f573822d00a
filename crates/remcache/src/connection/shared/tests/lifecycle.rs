//! Start, end and replacement of the task, and deadlines that the watchdog enforces.

use std::future::Future;
use std::pin::pin;
use std::task::Context;
use std::time::Duration;

use tokio::runtime::{Builder, Id, Runtime};

use super::*;
use crate::connection::watchdog::Watched;
use crate::health::state::ConnectionState;
use crate::policy::Tripped;

impl Fixture {
    /// Creates a connection whose task, on this runtime, has missed a deadline at 100 ms.
    fn stalled(runtime: Option<Id>) -> (Self, TaskHandle) {
        let fixture = Self::new();
        let (flight, _) = fixture.submit(100);
        let task = fixture.connection.claim_task(PROCESS, runtime).expect("there is no task");
        assert_eq!(fixture.enforce(100), None, "nothing else is in flight");
        assert_eq!(fixture.status(flight), Some(Status::TimedOut(Delivery::NotSent)));
        (fixture, task)
    }

    fn claim_watch(&self, millis: u64) -> Option<std::time::Instant> {
        self.connection.claim_watch(self.at(millis))
    }

    /// Registers the earliest deadline with the watchdog, which acts at this instant.
    fn enforce(&self, millis: u64) -> Option<std::time::Instant> {
        let due = self.claim_watch(0).expect("the earliest deadline is not registered");
        self.connection.enforce(due, self.at(millis).into_std())
    }

    fn give_up(&self, runtime: Option<Id>, millis: u64) -> bool {
        self.connection.give_up_stalled_task(runtime, self.at(millis))
    }
}

fn runtime() -> Runtime {
    Builder::new_current_thread().build().expect("a runtime without drivers")
}

#[test]
fn a_stalled_task_is_replaced_after_a_second() {
    let (fixture, task) = Fixture::stalled(None);
    let (counter, waker) = counter();
    fixture.connection.lock().task_waker = Some(waker);
    assert!(!fixture.give_up(None, 1_099));
    assert_eq!(woken(&counter), 0);
    assert!(fixture.give_up(None, 1_100));
    assert!(!task.is_current() && task.is_closed());
    assert_eq!(woken(&counter), 1, "so that it ends if it runs again");
}

#[test]
fn a_task_that_runs_again_is_not_replaced() {
    let (fixture, task) = Fixture::stalled(None);
    assert!(task.is_current());
    assert!(!fixture.give_up(None, 60_000));
}

#[test]
fn a_stalled_task_is_not_replaced_by_one_on_the_same_runtime() {
    let (own, other) = (runtime(), runtime());
    let (fixture, _task) = Fixture::stalled(Some(own.handle().id()));
    assert!(!fixture.give_up(Some(own.handle().id()), 60_000));
    assert!(fixture.give_up(Some(other.handle().id()), 60_000));
}

#[test]
fn a_task_of_the_parent_process_is_given_up() {
    let fixture = Fixture::new();
    let flight = fixture.get();
    fixture.connection.give_up_task_of_parent(PROCESS + 1, true);
    assert_eq!(fixture.status(flight), None, "without a task nothing ends");
    let task = fixture.start_task();
    fixture.connection.give_up_task_of_parent(PROCESS, true);
    assert!(task.is_current());
    fixture.connection.give_up_task_of_parent(PROCESS + 1, true);
    assert!(!task.is_current());
}

#[test]
fn only_a_closed_connection_stays_closed_when_its_task_ends() {
    for (before, after) in [
        (ConnectionState::Idle, ConnectionState::Idle),
        (ConnectionState::Connected, ConnectionState::Idle),
        (ConnectionState::Down("lost".to_owned()), ConnectionState::Idle),
        (ConnectionState::Closed, ConnectionState::Closed),
    ] {
        let fixture = Fixture::new();
        fixture.get();
        let task = fixture.start_task();
        task.set_state(before);
        task.end("the runtime ended");
        assert_eq!(fixture.connection.status().state, after);
        assert_eq!(fixture.connection.is_closed(), after == ConnectionState::Closed);
        assert_eq!(fixture.connection.is_usable(), after == ConnectionState::Idle);
    }
}

/// Polls a future; returns whether it is ready, and whether it wants to be polled again at once.
async fn poll(future: std::pin::Pin<&mut impl Future>) -> (bool, bool) {
    let (counter, waker) = counter();
    let is_ready = future.poll(&mut Context::from_waker(&waker)).is_ready();
    // A future that never waits is woken only after the other tasks have run.
    tokio::task::yield_now().await;
    (is_ready, woken(&counter) > 0)
}

#[tokio::test(start_paused = true)]
async fn the_end_of_a_task_is_awaited_until_no_caller_waits() {
    let fixture = Fixture::new();
    let (flight, _) = fixture.submit(100);
    let _task = fixture.start_task();
    fixture.connection.close();
    let mut end = pin!(fixture.connection.wait_for_end(fixture.at(50)));
    for millis in [10, 60, 90, 110] {
        tokio::time::advance(fixture.at(millis) - Instant::now()).await;
        assert_eq!(poll(end.as_mut()).await, (false, false), "after {millis} ms");
    }
    assert_eq!(fixture.enforce(115), None);
    assert!(fixture.status(flight).is_some());
    tokio::time::advance(Duration::from_millis(50)).await;
    assert_eq!(poll(end.as_mut()).await, (true, false));
}

#[test]
fn only_earlier_deadlines_are_registered_with_the_watchdog() {
    let fixture = Fixture::new();
    assert_eq!(fixture.claim_watch(0), None, "nothing is in flight");
    fixture.submit(100);
    assert_eq!(fixture.claim_watch(0), Some(fixture.at(100).into_std()));
    assert_eq!(fixture.claim_watch(0), None);
    fixture.submit(200);
    assert_eq!(fixture.claim_watch(0), None);
    fixture.submit(50);
    assert_eq!(fixture.claim_watch(0), Some(fixture.at(50).into_std()));
    assert_eq!(fixture.claim_watch(1_050), None);
    assert_eq!(fixture.claim_watch(1_051), Some(fixture.at(50).into_std()), "the watchdog does not run");
}

#[test]
fn the_watchdog_enforces_the_next_deadline_too() {
    let fixture = Fixture::new();
    let flights = [fixture.submit(100).0, fixture.submit(200).0];
    assert_eq!(fixture.enforce(100), Some(fixture.at(200).into_std()));
    assert_eq!(flights.map(|flight| fixture.status(flight).is_some()), [true, false]);
}

#[test]
fn a_task_that_breaks_its_promise_to_connect_is_replaced() {
    let fixture = Fixture::new();
    let flight = fixture.get();
    let task = fixture.start_task();
    task.disconnect("lost");
    assert_eq!(fixture.status(flight), LOST);
    let due = task.register_takeover_deadline(fixture.at(100), fixture.start);
    assert_eq!(due, Some(fixture.at(1_100).into_std()));
    assert_eq!(fixture.connection.enforce_deadlines(due.unwrap(), fixture.at(1_099)), due);
    assert!(task.is_current());
    task.set_state(ConnectionState::Down("lost".to_owned()));
    assert_eq!(fixture.connection.enforce_deadlines(due.unwrap(), fixture.at(1_100)), None);
    assert!(!task.is_current());
}

#[test]
fn a_task_that_has_connected_makes_no_promise_any_more() {
    let fixture = Fixture::new();
    fixture.get();
    let task = fixture.connect();
    fixture.answer(&task, 0, 0..1);
    task.register_takeover_deadline(fixture.at(100), fixture.start);
    task.set_state(ConnectionState::Connected);
    assert_eq!(fixture.connection.enforce_deadlines(fixture.at(1_100).into_std(), fixture.at(2_000)), None);
    assert!(task.is_current());
}

/// A connection whose breaker opens after this many timeouts and 100 ms without a reply.
fn with_breaker(timeouts: u32) -> Fixture {
    Fixture::with(Config::new().timeout(Duration::from_millis(100)).breaker(timeouts))
}

#[test]
fn timeouts_that_the_watchdog_enforced_count_for_the_breaker() {
    let fixture = with_breaker(3);
    fixture.submit(100);
    let task = fixture.connect_and_write();
    let handle_timeout = |millis| task.handle_timeout(fixture.at(millis), &mut Vec::new()).unwrap();
    fixture.enforce(115);
    assert_eq!(handle_timeout(116), None);
    fixture.submit_at(116, 180);
    fixture.submit_at(116, 181);
    fixture.enforce(195);
    assert_eq!(handle_timeout(196), Some(Tripped(3)));
}

#[test]
fn deadlines_of_answered_requests_are_no_sign_of_a_stall() {
    let fixture = with_breaker(1);
    fixture.submit(100);
    let task = fixture.connect_and_write();
    fixture.submit(190);
    fixture.answer(&task, 50, 0..1);
    assert_eq!(fixture.enforce(115), Some(fixture.at(190).into_std()));
    assert_eq!(task.handle_timeout(fixture.at(191), &mut Vec::new()).unwrap(), Some(Tripped(1)));
}
