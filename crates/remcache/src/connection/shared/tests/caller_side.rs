//! Submitting requests, and polling for or abandoning their replies.

use super::*;
use crate::connection::shared::submission::SubmittedBatch;
use crate::health::state::ConnectionState;

impl Fixture {
    fn submit_batch(&self, count: usize) -> SubmittedBatch {
        self.connection.submit_batch(count, |_| Request::get("key"), self.deadline(60_000), self.start, None)
    }

    fn abandon_batch(&self) {
        let slot = self.submit_batch(1).slot.expect("a request is in flight");
        self.connection.abandon_batch(slot);
    }

    /// Returns the round trip that is measured when replies to gets with these opaques arrive after 50 ms.
    fn round_trip_of(&self, opaques: std::ops::Range<u32>) -> Option<Duration> {
        let task = self.connect_and_write();
        self.answer(&task, 50, opaques);
        self.connection.with_counters(super::super::ConnCounters::round_trip)
    }
}

#[test]
fn a_batch_has_a_slot_if_any_of_its_requests_is_in_flight() {
    let fixture = Fixture::new();
    let batch = fixture.submit_batch(3);
    assert_eq!((batch.processed, batch.refused.len(), batch.needs_attention), (3, 0, true));
    assert!(batch.slot.is_some());
    assert_eq!(fixture.connection.load().callers, 1);
    fixture.connection.close();
    let batch = fixture.submit_batch(3);
    assert_eq!((batch.processed, batch.refused.len(), batch.needs_attention), (3, 3, false));
    assert_eq!(batch.slot, None);
    assert_eq!(fixture.connection.load().callers, 1);
}

#[test]
fn a_batch_is_refused_although_others_wait_for_capacity() {
    let fixture = Fixture::with(Config::new().max_in_flight(1));
    fixture.get();
    let _waiting = fixture.connection.queue(0, Waker::noop());
    assert_eq!(fixture.submit_batch(2).processed, 0);
    fixture.start_task().set_state(ConnectionState::Down("lost".to_owned()));
    assert_eq!(fixture.submit_batch(2).processed, 2);
}

#[test]
fn only_requests_that_are_lost_with_their_task_are_interrupted() {
    let fixture = Fixture::new();
    let (late, lost) = (fixture.submit(100).0, fixture.get());
    let task = fixture.start_task();
    task.expire(fixture.at(100), &mut Vec::new());
    task.end("the runtime ended");
    assert_eq!(fixture.poll(late), (Some(Status::TimedOut(Delivery::NotSent)), None));
    assert_eq!(fixture.poll(lost), (None, LOST));
    let lost = fixture.get();
    let task = fixture.start_task();
    task.disconnect("lost");
    assert_eq!(fixture.poll(lost), (LOST, None));
    let lost = fixture.get();
    fixture.connection.close();
    task.end("the client was closed");
    assert_eq!(fixture.poll(lost), (LOST, None));
}

#[test]
fn a_reply_of_a_batch_is_interrupted_if_its_task_ended() {
    let fixture = Fixture::new();
    let epoch = fixture.get().epoch;
    let [lost, late] = [Status::Disconnected(Delivery::NotSent), Status::TimedOut(Delivery::NotSent)].map(Reply::new);
    let is_interrupted = |reply| fixture.connection.is_interrupted(epoch, reply);
    assert!(!is_interrupted(&lost));
    fixture.start_task().end("the runtime ended");
    assert!(is_interrupted(&lost) && !is_interrupted(&late));
    fixture.connection.close();
    assert!(!is_interrupted(&lost));
}

#[test]
fn a_request_without_a_reply_needs_a_task() {
    let fixture = Fixture::new();
    let needs_attention =
        || match fixture.connection.send_no_reply(&Request::get("key"), fixture.deadline(100), fixture.start) {
            Submitted::NoReply { needs_attention } => needs_attention,
            other => panic!("{other:?}"),
        };
    assert!(needs_attention());
    let _task = fixture.start_task();
    assert!(!needs_attention());
}

#[test]
fn the_round_trip_of_an_abandoned_request_is_not_measured() {
    let fixture = Fixture::new();
    let abandoned = fixture.get();
    fixture.connection.abandon(abandoned);
    fixture.submit_at(10, 60_000);
    assert_eq!(fixture.round_trip_of(0..2), Some(Duration::from_millis(40)));
}

#[test]
fn the_round_trip_of_an_abandoned_batch_is_not_measured() {
    let fixture = Fixture::new();
    fixture.abandon_batch();
    fixture.submit_at(10, 60_000);
    assert_eq!(fixture.round_trip_of(0..2), Some(Duration::from_millis(40)));
}

#[test]
fn the_round_trip_is_measured_although_another_request_is_abandoned() {
    let fixture = Fixture::new();
    fixture.get();
    fixture.connection.abandon(fixture.get());
    fixture.abandon_batch();
    assert_eq!(fixture.round_trip_of(0..3), Some(Duration::from_millis(50)));
}
