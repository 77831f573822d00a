//! The machine in virtual time: conversations as data.

#![expect(clippy::arithmetic_side_effects, reason = "the numbers of a test are its own")]
#![expect(clippy::disallowed_methods, reason = "virtual time needs one instant to begin with")]

mod edges;
pub(crate) mod multiget;
pub(crate) mod text;

mod liar;

use std::time::{Duration, Instant};

use bytes::{Buf, Bytes};

use crate::binary::{Opcode, Packet};
use crate::*;

const SECOND: Duration = Duration::from_secs(1);

struct Bench {
    connection: Connection,
    input: InputBuffer,
    start: Instant,
}

impl Bench {
    fn new(limits: Limits, opaque: u32) -> Self {
        let start = Instant::now();
        Self { connection: Connection::new(limits, opaque, start), input: InputBuffer::new(), start }
    }

    fn at(&self, millis: u64) -> Instant {
        self.start + Duration::from_millis(millis)
    }

    fn submit(&mut self, request: &Request<'_>, tag: u64, at: u64) -> Result<Ticket, Rejected> {
        let deadline = Deadline { at: self.at(at) + SECOND, extend_by: Duration::ZERO };
        self.connection.submit(request, Some(Tag(tag)), deadline, self.at(at))
    }

    /// Takes the output and parses it, as a server would.
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

/// The protocol has one code for both.
#[test]
fn a_disabled_flush_is_distinguished_from_an_unauthenticated_one() {
    let mut bench = Bench::new(Limits::default(), 7);
    bench.submit(&Request::flush(), 1, 0).unwrap();
    let opcodes: Vec<u8> = bench.sent().iter().map(|packet| packet.header.opcode).collect();
    assert_eq!(opcodes, [0x0a, 0x08]);
    assert_eq!(bench.answer(7, 0x0a, Status::NoError).unwrap(), []);
    assert_eq!(bench.answer(8, 0x08, Status::AuthError).unwrap(), [(1, Status::Unsupported)]);
    assert!(!bench.connection.is_auth_required());

    bench.submit(&Request::flush().quiet(), 2, 0).unwrap();
    bench.sent();
    assert_eq!(bench.answer(9, 0x0a, Status::AuthError).unwrap(), []);
    assert!(bench.connection.is_auth_required(), "the no-op has no caller and still reports missing authentication");
    assert_eq!(bench.answer(10, 0x18, Status::AuthError).unwrap(), [(2, Status::AuthError)]);
    bench.connection.close(&Bytes::new(), bench.at(0));
    assert!(!bench.connection.is_auth_required());
}

/// q = quiet get, l = non-quiet get; the reply is to the n-th; - = settled without a reply, ! = answered.
#[track_caller]
fn check(requests: &str, answered: u32, expected: &str) {
    for opaque in [0, u32::MAX - 1] {
        let mut bench = Bench::new(Limits::default(), opaque);
        for (tag, kind) in requests.chars().enumerate() {
            let request = Request::get("key");
            let request = if kind == 'q' { request.quiet() } else { request };
            bench.submit(&request, tag as u64, 0).unwrap();
        }
        let opcode = bench.sent()[answered as usize].header.opcode;
        let found = match bench.answer(opaque.wrapping_add(answered), opcode, Status::NoError) {
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
fn a_non_quiet_reply_settles_earlier_quiet_requests() {
    check("qql", 2, "--!");
}

#[test]
fn quiet_hit_answers_in_the_middle() {
    check("qqq", 1, "!");
}

#[test]
fn a_quiet_success_is_confirmed_by_a_later_reply() {
    let mut bench = Bench::new(Limits::default(), 7);
    for tag in 0..3 {
        bench.submit(&Request::get("key").quiet(), tag, 0).unwrap();
    }
    bench.sent();
    assert_eq!(bench.answer(8, 0x09, Status::NoError), Ok(vec![(1, Status::NoError)]));
    let silent = |tag| (tag, Status::KeyNotFound);
    assert_eq!(bench.answer(10, 0x0a, Status::NoError), Ok(vec![silent(0), silent(2)]));
}

#[test]
fn a_late_reply_is_a_protocol_error() {
    let mut bench = Bench::new(Limits::default(), 7);
    for tag in 0..3 {
        bench.submit(&Request::get("key").quiet(), tag, 0).unwrap();
    }
    bench.sent();
    bench.answer(8, 0x09, Status::NoError).unwrap();
    assert_eq!(bench.answer(7, 0x09, Status::NoError), Err(ProtocolError::LateReply));
}

#[test]
fn skipping_a_non_quiet_request_is_a_desync() {
    check("qlq", 2, "desync");
    check("ll", 1, "desync");
}

#[test]
fn the_fence_settles_a_quiet_tail() {
    check("lqq", 0, "!");
    let mut bench = Bench::new(Limits::default(), 7);
    bench.submit(&Request::set("a", "1").quiet(), 1, 0).unwrap();
    bench.submit(&Request::get("b").quiet(), 2, 0).unwrap();
    let opcodes: Vec<_> = bench.sent().iter().map(|packet| packet.header.opcode).collect();
    assert_eq!(opcodes, [0x11, 0x09, 0x0a], "a run that ends quiet is closed with a no-op");
    assert_eq!(bench.answer(9, 0x0a, Status::NoError), Ok(vec![(1, Status::NoError), (2, Status::KeyNotFound)]));
    assert_eq!(bench.connection.in_flight(), 0);
}

#[test]
fn a_reply_must_repeat_opaque_and_opcode() {
    for (opaque, opcode, error) in [
        (8, 0x00, ProtocolError::UnknownOpaque(8)),
        (6, 0x00, ProtocolError::UnknownOpaque(6)),
        (7, 0x01, ProtocolError::WrongOpcode { expected: 0x00, found: 0x01 }),
        (7, 0x09, ProtocolError::WrongOpcode { expected: 0x00, found: 0x09 }),
    ] {
        let mut bench = Bench::new(Limits::default(), 7);
        bench.submit(&Request::get("a"), 1, 0).unwrap();
        bench.sent();
        assert_eq!(bench.answer(opaque, opcode, Status::NoError), Err(error));
    }
}

#[test]
fn a_repeated_reply_is_not_delivered() {
    let mut bench = Bench::new(Limits::default(), 7);
    bench.submit(&Request::get("a"), 1, 0).unwrap();
    bench.sent();
    bench.answer(7, 0x00, Status::NoError).unwrap();
    assert_eq!(bench.answer(7, 0x00, Status::NoError), Err(ProtocolError::UnknownOpaque(7)));
}

#[test]
fn a_stat_has_replies_until_its_end() {
    let mut bench = Bench::new(Limits::default(), 7);
    bench.submit(&Request::stat(""), 1, 0).unwrap();
    bench.submit(&Request::noop(), 2, 0).unwrap();
    bench.sent();
    let mut output = Output::new();
    let stat = Reply { key: Bytes::from("pid"), value: Bytes::from("42"), ..Reply::new(Status::NoError) };
    binary::encode_reply(&stat, Opcode::STAT, 7, &mut output);
    bench.input.extend(output.small());
    let event = bench.connection.poll_event(&mut bench.input).unwrap().unwrap();
    assert_eq!((event.tag, event.last), (Tag(1), false));
    assert_eq!(bench.answer(8, 0x0a, Status::NoError), Err(ProtocolError::SkippedReply));
}

#[test]
fn unclaimed_capacity_is_withdrawn_when_due() {
    let mut bench = Bench::new(Limits::default(), 7);
    let large = Bytes::from(vec![b'v'; 10_000]);
    for (tag, key) in ["a", "b", "c"].into_iter().enumerate() {
        let at = if key == "b" { 0 } else { 500 };
        bench.submit(&Request::set(key, &large), tag as u64, at).unwrap();
    }
    bench.connection.expire_due(bench.at(1000));
    assert_eq!(bench.events(), Ok(vec![(1, Status::TimedOut(Delivery::NotSent))]));
    let sent: Vec<_> = bench.sent().iter().map(|packet| (packet.key.clone(), packet.header.opaque)).collect();
    let expected = [(Bytes::from("a"), 7), (Bytes::new(), 8), (Bytes::from("c"), 9)];
    assert_eq!(sent, expected, "a no-op in the place of what was given up");
    bench.connection.close(&Bytes::from("gone"), bench.at(1000));
    let gone = Status::Disconnected(Delivery::MaybeSent);
    assert_eq!(bench.events(), Ok(vec![(0, gone), (2, gone)]));
}

#[test]
fn sent_requests_may_have_executed() {
    let mut bench = Bench::new(Limits::default(), 7);
    bench.submit(&Request::delete("a"), 1, 0).unwrap();
    bench.sent();
    bench.connection.handle_timeout(bench.at(999)).unwrap();
    assert_eq!(bench.events(), Ok(vec![]));
    bench.connection.handle_timeout(bench.at(1000)).unwrap();
    assert_eq!(bench.events(), Ok(vec![(1, Status::TimedOut(Delivery::MaybeSent))]));
    assert_eq!(bench.answer(7, 0x04, Status::NoError), Ok(vec![]), "the late reply is thrown away");
    assert_eq!((bench.connection.in_flight(), bench.connection.abandoned()), (0, 0));
}

#[test]
fn delivery_is_reported_by_the_byte() {
    for (written, expected) in [(0, "NN"), (1, "MN"), (25, "MN"), (26, "MM"), (50, "MM")] {
        let mut bench = Bench::new(Limits::default(), 7);
        bench.submit(&Request::delete("a"), 1, 0).unwrap();
        bench.submit(&Request::delete("b"), 2, 0).unwrap();
        bench.connection.take_output(&mut Output::new());
        bench.connection.handle_written(written);
        bench.connection.close(&Bytes::new(), bench.at(0));
        let marks = bench.events().unwrap().into_iter().map(|(_, status)| match status {
            Status::Disconnected(Delivery::NotSent) => 'N',
            Status::Disconnected(Delivery::MaybeSent) => 'M',
            other => panic!("{other}"),
        });
        assert_eq!(marks.collect::<String>(), expected, "{written} bytes written");
    }
}

#[test]
fn bytes_that_were_taken_by_a_loop_that_reports_no_more_may_be_written() {
    let mut bench = Bench::new(Limits::default(), 7);
    bench.submit(&Request::delete("a"), 1, 0).unwrap();
    bench.connection.take_output(&mut Output::new());
    bench.submit(&Request::delete("b"), 2, 0).unwrap();
    bench.connection.assume_written();
    bench.connection.close(&Bytes::new(), bench.at(0));
    let expected = [Delivery::MaybeSent, Delivery::NotSent].map(Status::Disconnected);
    assert_eq!(bench.events().unwrap(), [(1, expected[0]), (2, expected[1])]);
}

#[test]
fn limits_hold_and_one_large_request_always_fits() {
    let mut bench = Bench::new(Limits { in_flight: 2, output: 100, value: 1000, ..Limits::default() }, 7);
    let large = vec![0; 1000];
    bench.submit(&Request::set("a", &large), 1, 0).unwrap();
    assert_eq!(bench.submit(&Request::get("b"), 2, 0), Err(Rejected::Full), "too many bytes");
    bench.sent();
    bench.submit(&Request::get("b"), 2, 0).unwrap();
    assert_eq!(bench.submit(&Request::get("c"), 3, 0), Err(Rejected::Full), "too many requests");
    let too_large = Request::set("a", vec![0; 1001]);
    let error = InvalidRequest::ValueTooLarge { length: 1001, limit: 1000 };
    assert_eq!(bench.submit(&too_large, 4, 0), Err(Rejected::Invalid(error)));
}

#[test]
fn too_many_abandoned_requests_close_the_connection() {
    let mut bench = Bench::new(Limits { abandoned: (2, SECOND), ..Limits::default() }, 7);
    let tickets: Vec<_> = (0..4).map(|tag| bench.submit(&Request::get("a"), tag, 0).unwrap()).collect();
    bench.sent();
    for ticket in &tickets[..3] {
        bench.connection.abandon(*ticket, bench.at(100));
        bench.connection.abandon(*ticket, bench.at(100));
    }
    assert_eq!(bench.connection.abandoned(), 3);
    bench.connection.handle_timeout(bench.at(999)).unwrap();
    bench.answer(7, 0x00, Status::KeyNotFound).unwrap();
    assert_eq!(bench.connection.abandoned(), 2);
    bench.connection.abandon(tickets[3], bench.at(999));
    let outcome = bench.connection.handle_timeout(bench.at(1999));
    assert_eq!(outcome, Err(ProtocolError::TooManyAbandoned(3)));
}

#[test]
fn an_idle_connection_is_asked_and_a_silent_one_given_up() {
    let mut bench = Bench::new(Limits::default(), 7);
    assert_eq!(bench.connection.poll_timeout(), Some(bench.at(5000)));
    bench.connection.handle_timeout(bench.at(4999)).unwrap();
    assert!(!bench.connection.has_output());
    bench.connection.handle_timeout(bench.at(5000)).unwrap();
    assert_eq!(bench.sent()[0].header.opcode, 0x0a);
    assert_eq!(bench.connection.poll_timeout(), Some(bench.at(20_000)));
    bench.connection.handle_timeout(bench.at(19_999)).unwrap();
    assert_eq!(bench.connection.handle_timeout(bench.at(20_000)), Err(ProtocolError::Silent));
}

#[test]
fn an_overdue_request_at_the_head_closes_the_connection() {
    let mut bench = Bench::new(Limits::default(), 7);
    bench.submit(&Request::get("a"), 1, 0).unwrap();
    bench.sent();
    bench.connection.handle_received(bench.at(1900));
    bench.connection.handle_timeout(bench.at(1999)).unwrap();
    assert_eq!(bench.connection.handle_timeout(bench.at(2000)), Err(ProtocolError::Silent));
}

#[test]
fn a_patient_request_waits_as_long_as_replies_come() {
    let mut bench = Bench::new(Limits::default(), 7);
    let deadline = Deadline { at: bench.at(1000), extend_by: SECOND };
    for tag in 0..3 {
        bench.connection.submit(&Request::get("a"), Some(Tag(tag)), deadline, bench.at(0)).unwrap();
    }
    bench.sent();
    bench.connection.handle_received(bench.at(900));
    bench.answer(7, 0x00, Status::KeyNotFound).unwrap();
    bench.connection.handle_timeout(bench.at(1899)).unwrap();
    assert_eq!(bench.events(), Ok(vec![]));
    bench.connection.handle_timeout(bench.at(1900)).unwrap();
    let due = Status::TimedOut(Delivery::MaybeSent);
    assert_eq!(bench.events(), Ok(vec![(1, due), (2, due)]));
}

#[test]
fn the_state_machine_serves_the_next_connection_after_a_close() {
    let mut bench = Bench::new(Limits::default(), u32::MAX);
    for round in 0..3_u32 {
        bench.submit(&Request::get("a"), 1, 0).unwrap();
        bench.submit(&Request::get("b").quiet(), 2, 0).unwrap();
        let first = bench.sent()[0].header.opaque;
        bench.answer(first, 0x00, Status::KeyNotFound).unwrap();
        bench.connection.close(&Bytes::from("gone"), bench.at(0));
        assert_eq!(bench.events(), Ok(vec![(2, Status::Disconnected(Delivery::MaybeSent))]), "round {round}");
        assert_eq!((bench.connection.in_flight(), bench.connection.waiting_output()), (0, 0));
    }
}

#[test]
fn counts_are_told_as_they_are() {
    let mut bench = Bench::new(Limits::default(), 7);
    assert_eq!((bench.connection.has_output(), bench.connection.earliest_deadline()), (false, None));
    for tag in 0..4 {
        bench.submit(&Request::get("a"), tag, 0).unwrap();
    }
    assert_eq!((bench.connection.has_output(), bench.connection.earliest_deadline()), (true, Some(bench.at(1000))));
    bench.sent();
    assert_eq!((bench.connection.has_output(), bench.connection.in_flight()), (false, 4));
    bench.connection.abandon_where(|tag| tag.0 > 1, bench.at(0));
    let Bench { connection, .. } = &bench;
    assert_eq!((connection.in_flight(), connection.awaited(), connection.abandoned()), (4, 2, 2));
}

#[test]
fn as_many_abandoned_requests_as_allowed_are_borne() {
    let patient = Limits { abandoned: (2, SECOND), overdue: SECOND * 60, ..Limits::default() };
    let mut bench = Bench::new(patient, 7);
    let tickets: Vec<_> = (0..4).map(|tag| bench.submit(&Request::get("a"), tag, 0).unwrap()).collect();
    bench.sent();
    tickets[..3].iter().for_each(|ticket| bench.connection.abandon(*ticket, bench.start));
    bench.answer(7, 0x00, Status::KeyNotFound).unwrap();
    bench.connection.abandon(tickets[3], bench.at(900));
    bench.connection.handle_timeout(bench.at(1899)).unwrap();
    assert_eq!(bench.connection.handle_timeout(bench.at(1900)), Err(ProtocolError::TooManyAbandoned(3)));
}

#[test]
fn a_write_holds_whole_requests_or_one_that_is_longer() {
    // A get of a key of 3 bytes has 27; a set of a value of n bytes has 35 + n.
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
        let mut bench = Bench::new(Limits::default(), 0);
        for request in *requests {
            bench.submit(request, 0, 0).unwrap();
        }
        assert_eq!(bench.connection.next_boundary(*limit), 0, "what was not taken is not written");
        let mut output = Output::new();
        bench.connection.take_output(&mut output);
        bench.submit(&get(), 1, 0).unwrap();
        let mut writes = Vec::new();
        while output.has_remaining() {
            let count = bench.connection.next_boundary(*limit);
            writes.push(count);
            output.advance(count);
            bench.connection.handle_written(count);
        }
        assert_eq!(writes, *expected, "{requests:?} by {limit}");
    }
}

#[test]
fn boundaries_hold_whatever_was_given_up_or_answered() {
    let mut bench = Bench::new(Limits::default(), u32::MAX);
    for tag in 0..3 {
        bench.submit(&Request::get("key"), tag, 0).unwrap();
    }
    // Given up before it is taken: a no-op of 24 bytes takes the place of each.
    bench.connection.expire_due(bench.at(1000));
    bench.submit(&Request::get("key"), 3, 1000).unwrap();
    let mut output = Output::new();
    bench.connection.take_output(&mut output);
    assert_eq!(bench.connection.next_boundary(60), 48);
    bench.connection.handle_written(48);
    // A server that answers what was not written cannot move the end of what is there.
    bench.answer(u32::MAX, Opcode::NOOP.0, Status::NoError).unwrap();
    bench.answer(0, Opcode::NOOP.0, Status::NoError).unwrap();
    bench.answer(1, Opcode::NOOP.0, Status::NoError).unwrap();
    bench.answer(2, Opcode::GET.0, Status::NoError).unwrap();
    assert_eq!(bench.connection.next_boundary(60), 24 + 27);
    assert_eq!(bench.connection.next_boundary(30), 24 + 27, "its boundaries are no longer known");
}
