//! Tests of the connection state machine in virtual time.

#![expect(clippy::arithmetic_side_effects, reason = "the numbers of a test do not overflow")]
#![expect(clippy::disallowed_methods, reason = "virtual time needs one real instant to start from")]

mod authentication;
mod edges;
pub(crate) mod multiget;
pub(crate) mod text;

mod wrong_replies;

use std::time::{Duration, Instant};

use bytes::{Buf, Bytes};

use crate::binary::{Opcode, Packet};
use crate::*;

const SECOND: Duration = Duration::from_secs(1);

struct Harness {
    connection: Connection,
    input: InputBuffer,
    start: Instant,
}

impl Harness {
    fn new(limits: Limits, opaque: u32) -> Self {
        let start = Instant::now();
        Self { connection: Connection::new(limits, opaque, start), input: InputBuffer::new(), start }
    }

    fn at(&self, millis: u64) -> Instant {
        self.start + Duration::from_millis(millis)
    }

    fn submit(&mut self, request: &Request<'_>, tag: u64, at: u64) -> Result<RequestId, Rejected> {
        let deadline = Deadline { at: self.at(at) + SECOND, extend_by: Duration::ZERO };
        self.connection.submit(request, Some(Tag(tag)), deadline, self.at(at))
    }

    /// Takes the output and parses it, as a server does.
    fn sent(&mut self) -> Vec<Packet> {
        let mut output = Output::new();
        self.connection.take_output(&mut output);
        self.connection.handle_written(output.remaining());
        let mut input = InputBuffer::new();
        input.extend(&output.copy_to_bytes(output.remaining()));
        std::iter::from_fn(|| Packet::decode(&mut input, 1 << 20).unwrap()).collect()
    }

    fn answer(&mut self, opaque: u32, opcode: u8, status: Status) -> Result<Vec<(u64, Status)>, ProtocolError> {
        let mut output = Output::new();
        binary::encode_reply(&Reply::new(status), Opcode(opcode), opaque, &mut output);
        self.input.extend(output.small());
        self.events()
    }

    fn events(&mut self) -> Result<Vec<(u64, Status)>, ProtocolError> {
        let mut events = Vec::new();
        while let Some(event) = self.connection.poll_event(&mut self.input)? {
            events.push((event.tag.0, event.reply.status));
        }
        Ok(events)
    }
}

/// The binary protocol has one status code for both.
#[test]
fn a_disabled_flush_is_distinguished_from_an_unauthenticated_one() {
    let mut harness = Harness::new(Limits::default(), 7);
    harness.submit(&Request::flush(), 1, 0).unwrap();
    let opcodes: Vec<u8> = harness.sent().iter().map(|packet| packet.header.opcode).collect();
    assert_eq!(opcodes, [0x0a, 0x08]);
    assert_eq!(harness.answer(7, 0x0a, Status::NoError).unwrap(), []);
    assert_eq!(harness.answer(8, 0x08, Status::AuthError).unwrap(), [(1, Status::Unsupported)]);
    assert!(!harness.connection.is_auth_required());

    harness.submit(&Request::flush().quiet(), 2, 0).unwrap();
    harness.sent();
    assert_eq!(harness.answer(9, 0x0a, Status::AuthError).unwrap(), []);
    assert!(harness.connection.is_auth_required(), "the no-op has no caller and still reports missing authentication");
    assert_eq!(harness.answer(10, 0x18, Status::AuthError).unwrap(), [(2, Status::AuthError)]);
    harness.connection.close(&Bytes::new(), harness.at(0));
    assert!(!harness.connection.is_auth_required());
}

#[test]
fn a_refused_password_does_not_count_as_missing_authentication() {
    for request in [Request::sasl_auth("PLAIN", "secret"), Request::sasl_step("PLAIN", "secret")] {
        let mut harness = Harness::new(Limits::default(), 7);
        harness.submit(&request, 1, 0).unwrap();
        let opcode = harness.sent()[0].header.opcode;
        assert_eq!(harness.answer(7, opcode, Status::AuthError).unwrap(), [(1, Status::AuthError)]);
        assert!(!harness.connection.is_auth_required());
    }
}

/// Submits gets (q = quiet, n = non-quiet), replies to the n-th, and compares the results (- = completed without a
/// reply, ! = answered).
#[track_caller]
fn check(requests: &str, answered: u32, expected: &str) {
    for opaque in [0, u32::MAX - 1] {
        let mut harness = Harness::new(Limits::default(), opaque);
        for (tag, kind) in requests.chars().enumerate() {
            let request = Request::get("key");
            let request = if kind == 'q' { request.quiet() } else { request };
            harness.submit(&request, tag as u64, 0).unwrap();
        }
        let opcode = harness.sent()[answered as usize].header.opcode;
        let found = match harness.answer(opaque.wrapping_add(answered), opcode, Status::NoError) {
            Err(_) => "desync".to_owned(),
            Ok(events) => {
                let mark = |status| if status == Status::KeyNotFound { '-' } else { '!' };
                events.into_iter().map(|(_, status)| mark(status)).collect()
            }
        };
        assert_eq!(found, expected, "{requests}, reply to {answered}, first opaque {opaque}");
    }
}

#[test]
fn a_non_quiet_reply_completes_earlier_quiet_requests() {
    check("qqn", 2, "--!");
}

#[test]
fn a_quiet_hit_can_be_answered_first() {
    check("qqq", 1, "!");
}

#[test]
fn a_quiet_success_is_confirmed_by_a_later_reply() {
    let mut harness = Harness::new(Limits::default(), 7);
    for tag in 0..3 {
        harness.submit(&Request::get("key").quiet(), tag, 0).unwrap();
    }
    harness.sent();
    assert_eq!(harness.answer(8, 0x09, Status::NoError), Ok(vec![(1, Status::NoError)]));
    let missing = |tag| (tag, Status::KeyNotFound);
    assert_eq!(harness.answer(10, 0x0a, Status::NoError), Ok(vec![missing(0), missing(2)]));
}

#[test]
fn a_late_reply_is_a_protocol_error() {
    let mut harness = Harness::new(Limits::default(), 7);
    for tag in 0..3 {
        harness.submit(&Request::get("key").quiet(), tag, 0).unwrap();
    }
    harness.sent();
    harness.answer(8, 0x09, Status::NoError).unwrap();
    assert_eq!(harness.answer(7, 0x09, Status::NoError), Err(ProtocolError::LateReply));
}

#[test]
fn skipping_a_non_quiet_request_is_a_desync() {
    check("qnq", 2, "desync");
    check("nn", 1, "desync");
}

#[test]
fn a_noop_completes_trailing_quiet_requests() {
    check("nqq", 0, "!");
    let mut harness = Harness::new(Limits::default(), 7);
    harness.submit(&Request::set("a", "1").quiet(), 1, 0).unwrap();
    harness.submit(&Request::get("b").quiet(), 2, 0).unwrap();
    let opcodes: Vec<_> = harness.sent().iter().map(|packet| packet.header.opcode).collect();
    assert_eq!(opcodes, [0x11, 0x09, 0x0a], "a no-op is added after trailing quiet requests");
    assert_eq!(harness.answer(9, 0x0a, Status::NoError), Ok(vec![(1, Status::NoError), (2, Status::KeyNotFound)]));
    assert_eq!(harness.connection.in_flight(), 0);
}

#[test]
fn a_reply_must_repeat_opaque_and_opcode() {
    for (opaque, opcode, error) in [
        (8, 0x00, ProtocolError::UnknownOpaque(8)),
        (6, 0x00, ProtocolError::UnknownOpaque(6)),
        (7, 0x01, ProtocolError::WrongOpcode { expected: 0x00, found: 0x01 }),
        (7, 0x09, ProtocolError::WrongOpcode { expected: 0x00, found: 0x09 }),
    ] {
        let mut harness = Harness::new(Limits::default(), 7);
        harness.submit(&Request::get("a"), 1, 0).unwrap();
        harness.sent();
        assert_eq!(harness.answer(opaque, opcode, Status::NoError), Err(error));
    }
}

#[test]
fn a_repeated_reply_is_not_delivered() {
    let mut harness = Harness::new(Limits::default(), 7);
    harness.submit(&Request::get("a"), 1, 0).unwrap();
    harness.sent();
    harness.answer(7, 0x00, Status::NoError).unwrap();
    assert_eq!(harness.answer(7, 0x00, Status::NoError), Err(ProtocolError::UnknownOpaque(7)));
}

#[test]
fn a_stat_has_replies_until_its_end() {
    let mut harness = Harness::new(Limits::default(), 7);
    harness.submit(&Request::stat(""), 1, 0).unwrap();
    harness.submit(&Request::noop(), 2, 0).unwrap();
    harness.sent();
    let mut output = Output::new();
    let stat = Reply { key: Bytes::from("pid"), value: Bytes::from("42"), ..Reply::new(Status::NoError) };
    binary::encode_reply(&stat, Opcode::STAT, 7, &mut output);
    harness.input.extend(output.small());
    let event = harness.connection.poll_event(&mut harness.input).unwrap().unwrap();
    assert_eq!((event.tag, event.last), (Tag(1), false));
    assert_eq!(harness.answer(8, 0x0a, Status::NoError), Err(ProtocolError::SkippedReply));
}

#[test]
fn expired_requests_that_were_not_taken_become_noops() {
    let mut harness = Harness::new(Limits::default(), 7);
    let large = Bytes::from(vec![b'v'; 10_000]);
    for (tag, key) in ["a", "b", "c"].into_iter().enumerate() {
        let at = if key == "b" { 0 } else { 500 };
        harness.submit(&Request::set(key, &large), tag as u64, at).unwrap();
    }
    harness.connection.expire_due(harness.at(1000));
    assert_eq!(harness.events(), Ok(vec![(1, Status::TimedOut(Delivery::NotSent))]));
    let sent: Vec<_> = harness.sent().iter().map(|packet| (packet.key.clone(), packet.header.opaque)).collect();
    let expected = [(Bytes::from("a"), 7), (Bytes::new(), 8), (Bytes::from("c"), 9)];
    assert_eq!(sent, expected, "a no-op replaces the expired request");
    harness.connection.close(&Bytes::from("gone"), harness.at(1000));
    let disconnected = Status::Disconnected(Delivery::MaybeSent);
    assert_eq!(harness.events(), Ok(vec![(0, disconnected), (2, disconnected)]));
}

#[test]
fn sent_requests_may_have_executed() {
    let mut harness = Harness::new(Limits::default(), 7);
    harness.submit(&Request::delete("a"), 1, 0).unwrap();
    harness.sent();
    harness.connection.handle_timeout(harness.at(999)).unwrap();
    assert_eq!(harness.events(), Ok(vec![]));
    harness.connection.handle_timeout(harness.at(1000)).unwrap();
    assert_eq!(harness.events(), Ok(vec![(1, Status::TimedOut(Delivery::MaybeSent))]));
    assert_eq!(harness.answer(7, 0x04, Status::NoError), Ok(vec![]), "the late reply is discarded");
    assert_eq!((harness.connection.in_flight(), harness.connection.abandoned()), (0, 0));
}

#[test]
fn delivery_depends_on_the_bytes_written() {
    for (written, expected) in [(0, "NN"), (1, "MN"), (25, "MN"), (26, "MM"), (50, "MM")] {
        let mut harness = Harness::new(Limits::default(), 7);
        harness.submit(&Request::delete("a"), 1, 0).unwrap();
        harness.submit(&Request::delete("b"), 2, 0).unwrap();
        harness.connection.take_output(&mut Output::new());
        harness.connection.handle_written(written);
        harness.connection.close(&Bytes::new(), harness.at(0));
        let marks = harness.events().unwrap().into_iter().map(|(_, status)| match status {
            Status::Disconnected(Delivery::NotSent) => 'N',
            Status::Disconnected(Delivery::MaybeSent) => 'M',
            other => panic!("{other}"),
        });
        assert_eq!(marks.collect::<String>(), expected, "{written} bytes written");
    }
}

#[test]
fn bytes_taken_by_an_io_loop_that_ended_count_as_sent() {
    let mut harness = Harness::new(Limits::default(), 7);
    harness.submit(&Request::delete("a"), 1, 0).unwrap();
    harness.connection.take_output(&mut Output::new());
    harness.submit(&Request::delete("b"), 2, 0).unwrap();
    harness.connection.assume_written();
    harness.connection.close(&Bytes::new(), harness.at(0));
    let expected = [Delivery::MaybeSent, Delivery::NotSent].map(Status::Disconnected);
    assert_eq!(harness.events().unwrap(), [(1, expected[0]), (2, expected[1])]);
}

#[test]
fn limits_hold_and_one_large_request_always_fits() {
    let mut harness =
        Harness::new(Limits { max_in_flight: 2, max_output: 100, max_value_size: 1000, ..Limits::default() }, 7);
    let large = vec![0; 1000];
    harness.submit(&Request::set("a", &large), 1, 0).unwrap();
    assert_eq!(harness.submit(&Request::get("b"), 2, 0), Err(Rejected::Full), "too many bytes");
    harness.sent();
    harness.submit(&Request::get("b"), 2, 0).unwrap();
    assert_eq!(harness.submit(&Request::get("c"), 3, 0), Err(Rejected::Full), "too many requests");
    let too_large = Request::set("a", vec![0; 1001]);
    let error = InvalidRequest::ValueTooLarge { length: 1001, limit: 1000 };
    assert_eq!(harness.submit(&too_large, 4, 0), Err(Rejected::Invalid(error)));
}

#[test]
fn too_many_abandoned_requests_close_the_connection() {
    let mut harness = Harness::new(Limits { max_abandoned: (2, SECOND), ..Limits::default() }, 7);
    let request_ids: Vec<_> = (0..4).map(|tag| harness.submit(&Request::get("a"), tag, 0).unwrap()).collect();
    harness.sent();
    for request_id in &request_ids[..3] {
        harness.connection.abandon(*request_id, harness.at(100));
        harness.connection.abandon(*request_id, harness.at(100));
    }
    assert_eq!(harness.connection.abandoned(), 3);
    harness.connection.handle_timeout(harness.at(999)).unwrap();
    harness.answer(7, 0x00, Status::KeyNotFound).unwrap();
    assert_eq!(harness.connection.abandoned(), 2);
    harness.connection.abandon(request_ids[3], harness.at(999));
    let outcome = harness.connection.handle_timeout(harness.at(1999));
    assert_eq!(outcome, Err(ProtocolError::TooManyAbandoned(3)));
}

#[test]
fn an_idle_connection_is_probed_and_an_unresponsive_one_fails() {
    let mut harness = Harness::new(Limits::default(), 7);
    assert_eq!(harness.connection.poll_timeout(), Some(harness.at(5000)));
    harness.connection.handle_timeout(harness.at(4999)).unwrap();
    assert!(!harness.connection.has_output());
    harness.connection.handle_timeout(harness.at(5000)).unwrap();
    assert_eq!(harness.sent()[0].header.opcode, 0x0a);
    assert_eq!(harness.connection.poll_timeout(), Some(harness.at(20_000)));
    harness.connection.handle_timeout(harness.at(19_999)).unwrap();
    assert_eq!(harness.connection.handle_timeout(harness.at(20_000)), Err(ProtocolError::Unresponsive));
}

#[test]
fn an_overdue_request_at_the_head_closes_the_connection() {
    let mut harness = Harness::new(Limits::default(), 7);
    harness.submit(&Request::get("a"), 1, 0).unwrap();
    harness.sent();
    harness.connection.handle_received(harness.at(1900));
    harness.connection.handle_timeout(harness.at(1999)).unwrap();
    assert_eq!(harness.connection.handle_timeout(harness.at(2000)), Err(ProtocolError::Unresponsive));
}

#[test]
fn an_extendable_deadline_moves_with_each_reply() {
    let mut harness = Harness::new(Limits::default(), 7);
    let deadline = Deadline { at: harness.at(1000), extend_by: SECOND };
    for tag in 0..3 {
        harness.connection.submit(&Request::get("a"), Some(Tag(tag)), deadline, harness.at(0)).unwrap();
    }
    harness.sent();
    harness.connection.handle_received(harness.at(900));
    harness.answer(7, 0x00, Status::KeyNotFound).unwrap();
    harness.connection.handle_timeout(harness.at(1899)).unwrap();
    assert_eq!(harness.events(), Ok(vec![]));
    harness.connection.handle_timeout(harness.at(1900)).unwrap();
    let due = Status::TimedOut(Delivery::MaybeSent);
    assert_eq!(harness.events(), Ok(vec![(1, due), (2, due)]));
}

#[test]
fn the_state_machine_serves_the_next_connection_after_a_close() {
    let mut harness = Harness::new(Limits::default(), u32::MAX);
    for round in 0..3_u32 {
        harness.submit(&Request::get("a"), 1, 0).unwrap();
        harness.submit(&Request::get("b").quiet(), 2, 0).unwrap();
        let first = harness.sent()[0].header.opaque;
        harness.answer(first, 0x00, Status::KeyNotFound).unwrap();
        harness.connection.close(&Bytes::from("gone"), harness.at(0));
        assert_eq!(harness.events(), Ok(vec![(2, Status::Disconnected(Delivery::MaybeSent))]), "round {round}");
        assert_eq!((harness.connection.in_flight(), harness.connection.unwritten_bytes()), (0, 0));
    }
}

#[test]
fn counters_match_the_queue() {
    let mut harness = Harness::new(Limits::default(), 7);
    assert_eq!((harness.connection.has_output(), harness.connection.earliest_deadline()), (false, None));
    for tag in 0..4 {
        harness.submit(&Request::get("a"), tag, 0).unwrap();
    }
    assert_eq!(
        (harness.connection.has_output(), harness.connection.earliest_deadline()),
        (true, Some(harness.at(1000)))
    );
    harness.sent();
    assert_eq!((harness.connection.has_output(), harness.connection.in_flight()), (false, 4));
    harness.connection.abandon_where(|tag| tag.0 > 1, harness.at(0));
    let Harness { connection, .. } = &harness;
    assert_eq!((connection.in_flight(), connection.waiting_callers(), connection.abandoned()), (4, 2, 2));
}

#[test]
fn the_limit_of_abandoned_requests_counts_from_the_last_excess() {
    let patient = Limits { max_abandoned: (2, SECOND), max_overdue: SECOND * 60, ..Limits::default() };
    let mut harness = Harness::new(patient, 7);
    let request_ids: Vec<_> = (0..4).map(|tag| harness.submit(&Request::get("a"), tag, 0).unwrap()).collect();
    harness.sent();
    request_ids[..3].iter().for_each(|request_id| harness.connection.abandon(*request_id, harness.start));
    harness.answer(7, 0x00, Status::KeyNotFound).unwrap();
    harness.connection.abandon(request_ids[3], harness.at(900));
    harness.connection.handle_timeout(harness.at(1899)).unwrap();
    assert_eq!(harness.connection.handle_timeout(harness.at(1900)), Err(ProtocolError::TooManyAbandoned(3)));
}

#[test]
fn as_many_abandoned_requests_as_allowed_are_no_excess() {
    let patient = Limits { max_abandoned: (2, SECOND), max_overdue: SECOND * 60, ..Limits::default() };
    let mut harness = Harness::new(patient, 7);
    let request_ids: Vec<_> = (0..3).map(|tag| harness.submit(&Request::get("a"), tag, 0).unwrap()).collect();
    harness.sent();
    request_ids[..2].iter().for_each(|request_id| harness.connection.abandon(*request_id, harness.start));
    harness.connection.abandon(request_ids[2], harness.at(900));
    harness.connection.handle_timeout(harness.at(1899)).unwrap();
    assert_eq!(harness.connection.handle_timeout(harness.at(1900)), Err(ProtocolError::TooManyAbandoned(3)));
}

#[test]
fn a_write_contains_whole_requests_or_one_longer_request() {
    // With a key of 3 bytes, a get has 27 bytes, and a set of n bytes 35 + n.
    let get = || Request::get("key");
    let set = |length| Request::set("key", vec![b'v'; length]);
    let cases: &[(&[Request<'_>], usize, &[usize])] = &[
        (&[get(), get(), get()], 1000, &[81]),
        (&[get(), get(), get()], 81, &[81]),
        (&[get(), get(), get()], 80, &[54, 27]),
        (&[get(), get(), get()], 26, &[27, 27, 27]),
        (&[get(), set(100), get()], 100, &[27, 135, 27]),
        (&[set(5000), get(), get(), set(10)], 100, &[5035, 99]),
        (&[set(5000), set(6000)], 100, &[5035, 6035]),
        (&[set(5000)], 5035, &[5035]),
        (&[], 100, &[]),
    ];
    for (requests, limit, expected) in cases {
        let mut harness = Harness::new(Limits::default(), 0);
        for request in *requests {
            harness.submit(request, 0, 0).unwrap();
        }
        assert_eq!(harness.connection.whole_requests_len(*limit), 0, "output that was not taken is not written");
        let mut output = Output::new();
        harness.connection.take_output(&mut output);
        harness.submit(&get(), 1, 0).unwrap();
        let mut writes = Vec::new();
        while output.has_remaining() {
            let count = harness.connection.whole_requests_len(*limit);
            writes.push(count);
            output.advance(count);
            harness.connection.handle_written(count);
        }
        assert_eq!(writes, *expected, "{requests:?}, limit {limit}");
    }
}

#[test]
fn boundaries_are_correct_after_expired_requests_and_early_replies() {
    let mut harness = Harness::new(Limits::default(), u32::MAX);
    for tag in 0..3 {
        harness.submit(&Request::get("key"), tag, 0).unwrap();
    }
    // Requests that expire before they are taken become no-ops of 24 bytes.
    harness.connection.expire_due(harness.at(1000));
    harness.submit(&Request::get("key"), 3, 1000).unwrap();
    let mut output = Output::new();
    harness.connection.take_output(&mut output);
    assert_eq!(harness.connection.whole_requests_len(60), 48);
    harness.connection.handle_written(48);
    // Replies to requests that were not written do not change the boundaries.
    harness.answer(u32::MAX, Opcode::NOOP.0, Status::NoError).unwrap();
    harness.answer(0, Opcode::NOOP.0, Status::NoError).unwrap();
    harness.answer(1, Opcode::NOOP.0, Status::NoError).unwrap();
    harness.answer(2, Opcode::GET.0, Status::NoError).unwrap();
    assert_eq!(harness.connection.whole_requests_len(60), 24 + 27);
    assert_eq!(harness.connection.whole_requests_len(30), 24 + 27, "the inner boundary is no longer known");
}
