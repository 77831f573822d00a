//! The task's access: demand, state, bytes in and out, timeouts.

use super::*;
use crate::connection::shared::ParkResult;
use crate::connection_failure::Failure;
use crate::policy::Tripped;

fn is_finished(result: &ParkResult) -> bool {
    matches!(result, ParkResult::Finished)
}

#[test]
fn a_task_knows_whether_callers_wait() {
    let fixture = Fixture::new();
    let flight = fixture.get();
    let task = fixture.start_task();
    assert!(task.has_waiters());
    fixture.connection.abandon(flight);
    assert!(!task.has_waiters());
    assert!(!task.disconnect("lost"), "no caller waits");
    let flight = fixture.get();
    assert!(task.disconnect("lost"));
    assert_eq!(fixture.status(flight), LOST);
}

#[test]
fn a_refused_connection_fails_requests_with_its_status() {
    let fixture = Fixture::new();
    let flight = fixture.get();
    let task = fixture.start_task();
    assert!(task.refuse(Status::AuthError, "wrong password"));
    assert_eq!(fixture.status(flight), Some(Status::AuthError));
    assert!(!task.refuse(Status::AuthError, "wrong password"), "the server was down before");
}

#[test]
fn a_probe_is_no_request_of_a_caller() {
    let fixture = Fixture::new();
    fixture.connection.abandon(fixture.get());
    let task = fixture.connect();
    fixture.answer(&task, 0, 0..1);
    task.connected(Negotiated::assumed(Protocol::Binary), None, None, fixture.start);
    assert_eq!(fixture.connection.load().in_flight, 0);
    task.probe(fixture.deadline(100), fixture.start);
    assert_eq!(fixture.connection.load().in_flight, 1);
    assert!(!task.has_waiters() && !task.has_replied());
    write(&task);
    let mut noop = Output::new();
    encode_reply(&Reply::new(Status::NoError), Opcode::NOOP, 1, &mut noop);
    let mut input = InputBuffer::new();
    input.extend(&noop.small()[..23]);
    task.handle_input(&mut input, fixture.start, &mut Vec::new()).expect("a part of a reply");
    assert!(!task.has_replied(), "the reply is not complete");
    input.extend(&noop.small()[23..]);
    task.handle_input(&mut input, fixture.start, &mut Vec::new()).expect("the rest");
    assert!(task.has_replied() && !task.has_answered());
}

#[test]
fn a_timeout_is_no_answer() {
    let fixture = Fixture::new();
    fixture.submit(100);
    fixture.get();
    let task = fixture.connect_and_write();
    assert_eq!(task.expire(fixture.at(99), &mut Vec::new()), Some(fixture.at(100)));
    assert_eq!(task.expire(fixture.at(100), &mut Vec::new()), Some(fixture.at(60_000)));
    assert_eq!(fixture.connection.with_counters(|counters| counters.errors.timeouts), 1);
    assert!(!task.has_answered() && !task.has_replied());
    fixture.answer(&task, 110, 0..2);
    assert!(task.has_answered() && task.has_replied());
}

#[test]
fn authentication_is_demanded_by_the_reply_to_any_request() {
    let fixture = Fixture::new();
    let flight = fixture.get();
    let task = fixture.connect_and_write();
    assert!(!task.is_auth_required());
    let mut input = InputBuffer::new();
    input.extend(&reply(Status::AuthError, 0));
    task.handle_input(&mut input, fixture.start, &mut Vec::new()).expect("the reply is valid");
    assert!(task.is_auth_required());
    assert_eq!(fixture.status(flight), Some(Status::AuthError));
    task.disconnect("authentication is required");
    assert!(task.is_auth_required(), "until another connection is open");
    task.connected(Negotiated::assumed(Protocol::Binary), None, None, fixture.start);
    assert!(!task.is_auth_required());
}

#[test]
fn protocol_violations_are_counted() {
    let fixture = Fixture::new();
    fixture.get();
    let task = fixture.connect_and_write();
    let mut input = InputBuffer::new();
    input.extend(&[b'x'; 24]);
    assert!(task.handle_input(&mut input, fixture.start, &mut Vec::new()).is_err());
    assert_eq!(fixture.connection.with_counters(|counters| counters.errors.protocol), 1);
}

#[test]
fn written_bytes_make_room_for_callers_that_wait() {
    let mut config = Config::new();
    config.limits.max_output = 100;
    let fixture = Fixture::with(config);
    let (counter, waker) = counter();
    fixture.connection.send_no_reply(&Request::set("key", vec![b'x'; 200]), fixture.deadline(100), fixture.start);
    let _waiting = fixture.connection.queue(50, &waker);
    let task = fixture.connect();
    assert_eq!(woken(&counter), 0);
    let mut output = Output::new();
    task.take_output(&mut output);
    task.handle_written(output.small().len());
    assert_eq!(woken(&counter), 1);
}

#[test]
fn each_timeout_counts_once_for_the_breaker() {
    let fixture = Fixture::with(Config::new().timeout(Duration::from_millis(100)).breaker(3));
    fixture.submit(100);
    let task = fixture.connect_and_write();
    let handle_timeout = |millis| task.handle_timeout(fixture.at(millis), &mut Vec::new()).expect("it is not overdue");
    assert_eq!(handle_timeout(101), None);
    fixture.submit_at(102, 150);
    assert_eq!(handle_timeout(151), None);
    fixture.submit_at(152, 180);
    assert_eq!(handle_timeout(181), Some(Tripped(3)));
}

#[test]
fn the_loop_is_woken_by_the_waker_that_it_parked_with_last() {
    let fixture = Fixture::new();
    fixture.get();
    let task = fixture.connect_and_write();
    let [(first, first_waker), (last, last_waker)] = [counter(), counter()];
    for waker in [&first_waker, &last_waker] {
        assert!(matches!(task.park(waker, true), ParkResult::Until(Some(until)) if until <= fixture.at(60_000)));
    }
    fixture.get();
    assert_eq!((woken(&first), woken(&last)), (0, 1));
    assert!(matches!(task.park(&last_waker, true), ParkResult::HasOutput));
    assert!(matches!(task.park(&last_waker, false), ParkResult::Until(_)));
}

#[test]
fn the_loop_ends_when_the_connection_is_closed_and_nothing_is_in_flight() {
    let fixture = Fixture::new();
    fixture.get();
    let task = fixture.connect_and_write();
    assert!(!task.is_closed() && !is_finished(&task.park(Waker::noop(), true)));
    fixture.connection.close();
    assert!(task.is_closed() && !is_finished(&task.park(Waker::noop(), true)), "a request is in flight");
    fixture.answer(&task, 0, 0..1);
    assert!(is_finished(&task.park(Waker::noop(), true)));
    let fixture = Fixture::new();
    fixture.get();
    let task = fixture.connect_and_write();
    fixture.answer(&task, 0, 0..1);
    assert!(!is_finished(&task.park(Waker::noop(), true)), "it is not closed");
}

#[test]
fn only_an_idle_connection_releases_memory() {
    let fixture = Fixture::new();
    fixture.get();
    let task = fixture.connect();
    assert!(!task.shrink());
    write(&task);
    fixture.answer(&task, 0, 0..1);
    assert!(task.shrink());
}

#[test]
fn failures_are_recorded_and_a_server_that_responds_is_not_unresponsive() {
    let fixture = Fixture::with(Config::new().timeout(Duration::from_millis(100)).breaker(1));
    for deadline in [100, 101] {
        fixture.submit(deadline);
    }
    let task = fixture.connect_and_write();
    let failure = Failure::unreachable("reset", std::io::Error::other("reset"));
    task.record_failure(&failure);
    assert!(fixture.connection.health.cause_of("reset").is_some());
    assert!(task.handle_timeout(fixture.at(110), &mut Vec::new()).expect("it is not overdue").is_some());
    assert!(fixture.connection.health.is_unresponsive());
    task.mark_alive();
    assert!(!fixture.connection.health.is_unresponsive());
}

#[test]
fn output_is_divided_between_requests() {
    let fixture = Fixture::new();
    fixture.get();
    fixture.get();
    let task = fixture.connect();
    let mut output = Output::new();
    task.take_output(&mut output);
    let length = output.small().len() / 2;
    assert_eq!(task.whole_requests_len(1_000), 2 * length);
    assert_eq!(task.whole_requests_len(2 * length - 1), length);
    assert_eq!(task.whole_requests_len(1), length, "exactly one that is longer");
}
