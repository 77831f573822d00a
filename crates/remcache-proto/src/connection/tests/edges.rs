//! Edge cases: state that must be cleared, and limits. Each test covers code that no other test does.

use std::time::Duration;

use bytes::Bytes;

use super::text::TextHarness;
use crate::*;

fn harness(protocol: Protocol, max_keys_per_multiget: usize) -> TextHarness {
    let mut harness = TextHarness::new(protocol);
    harness.connection.set_max_keys_per_multiget(max_keys_per_multiget);
    harness
}

fn close(harness: &mut TextHarness) {
    harness.connection.close(&Bytes::from_static(b"gone"), harness.at(0));
    harness.input = InputBuffer::new();
    // As the I/O loop does: only local events, without decoding input.
    while harness.connection.poll_local_event().is_some() {}
}

fn submit_until(
    harness: &mut TextHarness,
    request: &Request<'_>,
    tag: Option<u64>,
    deadline: Deadline,
    at: u64,
) -> RequestId {
    let now = harness.at(at);
    harness.connection.submit(request, tag.map(Tag), deadline, now).unwrap()
}

// ---- State that a closed connection must clear ----

#[test]
fn a_closed_connection_clears_a_pending_protocol_error() {
    let mut harness = harness(Protocol::Text, 1);
    harness.submit(&Request::set("k", "v"), 1).unwrap();
    harness.sent();
    // The server may read the refused value as commands. The error is returned after the reply was delivered.
    harness.input.extend(b"CLIENT_ERROR bad data chunk\r\n");
    assert!(harness.connection.poll_event(&mut harness.input).unwrap().is_some());
    assert!(harness.connection.poll_event(&mut harness.input).is_err());
    close(&mut harness);
    harness.submit(&Request::get("k"), 2).unwrap();
    harness.sent();
    assert_eq!(harness.answer("END\r\n"), Ok(vec![(2, Status::KeyNotFound)]));
}

#[test]
fn a_closed_connection_clears_confirmed_quiet_requests() {
    let mut harness = harness(Protocol::Meta, 1);
    for tag in 0..3 {
        harness.submit(&Request::get("k").quiet(), tag).unwrap();
    }
    harness.submit(&Request::noop(), 3).unwrap();
    harness.sent();
    // The reply completes the quiet requests one event at a time; the connection closes after the first.
    harness.input.extend(b"MN\r\n");
    assert!(harness.connection.poll_event(&mut harness.input).unwrap().is_some());
    close(&mut harness);
    harness.submit(&Request::get("k"), 4).unwrap();
    harness.sent();
    assert_eq!(harness.events(), Ok(vec![]), "a request completes without a reply");
}

#[test]
fn a_closed_connection_adds_no_keys_to_an_old_multiget() {
    let mut harness = harness(Protocol::Text, 100);
    harness.submit(&Request::get("a"), 1).unwrap();
    // The multiget stays open, because its bytes are never taken.
    close(&mut harness);
    harness.submit(&Request::get("b"), 2).unwrap();
    assert_eq!(harness.sent(), "gets b\r\n");
}

#[test]
fn a_closed_connection_uses_gets_again() {
    let mut harness = harness(Protocol::Text, 1);
    harness.submit(&Request::get("a"), 1).unwrap();
    harness.sent();
    assert_eq!(harness.answer("ERROR\r\n"), Ok(vec![]));
    assert_eq!(harness.sent(), "get a\r\n");
    harness.submit(&Request::get("c"), 3).unwrap();
    assert_eq!(harness.sent(), "get c\r\n");
    close(&mut harness);
    harness.submit(&Request::get("b"), 2).unwrap();
    assert_eq!(harness.sent(), "gets b\r\n");
}

#[test]
fn a_close_answers_a_quit_that_was_sent_on_the_meta_and_text_protocols() {
    let lost = Status::Disconnected;
    for (protocol, expected) in [
        (Protocol::Meta, Status::NoError),
        (Protocol::Text, Status::NoError),
        (Protocol::Binary, lost(Delivery::MaybeSent)),
    ] {
        for is_sent in [true, false] {
            let mut harness = harness(protocol, 1);
            harness.submit(&Request::quit(), 1).unwrap();
            if is_sent {
                harness.sent();
            }
            harness.connection.close(&Bytes::from_static(b"gone"), harness.at(0));
            let expected = if is_sent { expected } else { lost(Delivery::NotSent) };
            assert_eq!(harness.events(), Ok(vec![(1, expected)]), "{protocol}, sent: {is_sent}");
        }
    }
}

#[test]
fn an_idle_connection_releases_memory() {
    let mut harness = harness(Protocol::Text, 1);
    for tag in 0..1000 {
        harness.submit(&Request::get("k"), tag).unwrap();
    }
    harness.sent();
    harness.connection.shrink();
    assert!(harness.connection.in_flight.capacity() >= 1000, "requests are in flight");
    harness.answer(&"END\r\n".repeat(1000)).unwrap();
    harness.connection.shrink();
    assert!(harness.connection.in_flight.capacity() < 100, "{}", harness.connection.in_flight.capacity());
}

// ---- Abandoned requests ----

#[test]
fn only_a_request_that_a_caller_waits_for_can_be_abandoned() {
    let mut harness = harness(Protocol::Text, 1);
    let deadline = Deadline { at: harness.at(1000), extend_by: Duration::ZERO };
    let unawaited = submit_until(&mut harness, &Request::touch("k", Ttl::Never), None, deadline, 0);
    let awaited = harness.submit(&Request::get("k"), 1).unwrap();
    for _ in 0..2 {
        harness.connection.abandon(unawaited, harness.at(0));
        harness.connection.abandon(awaited, harness.at(0));
    }
    assert_eq!(harness.connection.abandoned(), 1);
}

#[test]
fn a_fetch_that_was_sent_again_can_still_be_abandoned() {
    for max_keys_per_multiget in [1, 100] {
        let mut harness = harness(Protocol::Text, max_keys_per_multiget);
        let request_ids: Vec<RequestId> = (0..4).map(|tag| harness.submit(&Request::get("k"), tag).unwrap()).collect();
        let lines = harness.sent().matches("gets").count();
        harness.answer(&"ERROR\r\n".repeat(lines)).unwrap();
        // When the reply arrives, the tag may belong to another request.
        harness.connection.abandon(request_ids[1], harness.at(0));
        assert_eq!(harness.connection.abandoned(), 1);
        let lines = harness.sent().matches("get ").count();
        let found = harness.answer(&"VALUE k 0 1\r\nv\r\nEND\r\n".repeat(lines)).unwrap();
        assert!(found.iter().all(|(tag, _)| *tag != 1), "{found:?}");
        assert_eq!((found.len(), harness.connection.abandoned()), (3, 0), "{found:?}");
        // A request that was abandoned earlier is not sent again.
        let request_id = harness.submit(&Request::get("k"), 9).unwrap();
        harness.connection.abandon(request_id, harness.at(0));
    }
}

#[test]
fn a_fetch_that_was_abandoned_is_not_sent_again() {
    let mut harness = harness(Protocol::Text, 1);
    let request_id = harness.submit(&Request::get("k"), 1).unwrap();
    harness.sent();
    harness.connection.abandon(request_id, harness.at(0));
    assert_eq!(harness.answer("ERROR\r\n"), Ok(vec![]));
    assert_eq!((harness.sent(), harness.connection.in_flight(), harness.connection.abandoned()), (String::new(), 0, 0));
}

#[test]
fn a_reply_to_a_fetch_that_has_not_been_sent_again_is_a_protocol_error() {
    for max_keys_per_multiget in [1, 100] {
        let mut harness = harness(Protocol::Text, max_keys_per_multiget);
        harness.submit(&Request::get("k"), 1).unwrap();
        harness.sent();
        let answer = harness.answer("ERROR\r\nEND\r\n");
        assert!(matches!(answer, Err(ProtocolError::UnexpectedLine(_))), "{answer:?}");
    }
}

#[test]
fn a_server_that_supports_neither_command_gets_each_once() {
    let mut harness = harness(Protocol::Text, 1);
    harness.submit(&Request::get("k"), 1).unwrap();
    harness.sent();
    assert_eq!(harness.answer("ERROR\r\n"), Ok(vec![]));
    assert_eq!(harness.sent(), "get k\r\n");
    assert_eq!(harness.answer("ERROR\r\n"), Ok(vec![(1, Status::UnknownCommand)]));
    assert_eq!(harness.sent(), "");
}

// ---- Time ----

#[test]
fn a_request_is_not_overdue_after_a_stall_of_the_client() {
    let mut harness = harness(Protocol::Text, 1);
    harness.submit(&Request::get("k"), 1).unwrap();
    harness.sent();
    harness.connection.handle_timeout(harness.at(1000)).unwrap();
    assert_eq!(harness.events(), Ok(vec![(1, Status::TimedOut(Delivery::MaybeSent))]));
    // After a stall of the client for a minute, the silence of the server is measured from now.
    let overdue = Limits::default().max_overdue;
    let now = 60_000;
    harness.connection.reset_silence_timer(harness.at(now));
    assert_eq!(harness.connection.handle_timeout(harness.at(now)), Ok(()));
    assert!(harness.connection.poll_timeout().is_some_and(|at| at > harness.at(now)));
    assert_eq!(harness.connection.handle_timeout(harness.at(now) + overdue), Err(ProtocolError::Unresponsive));
}

#[test]
fn no_keepalive_is_sent_before_the_negotiation() {
    let mut harness = TextHarness::detecting(Limits::default());
    let keepalive = Limits::default().keepalive_interval;
    harness.connection.handle_timeout(harness.at(0) + keepalive).unwrap();
    assert_eq!(harness.connection.in_flight(), 0, "no no-op is sent");
    harness.connection.set_protocol(Protocol::Text, ServerVersion::default());
    assert_eq!(harness.sent(), "");
}

/// A reply extends the deadlines of a multi-key call, and never shortens one.
#[test]
fn an_extended_deadline_is_never_earlier_than_the_original_one() {
    for (protocol, max_keys_per_multiget) in [(Protocol::Meta, 1), (Protocol::Text, 1), (Protocol::Text, 100)] {
        let mut harness = harness(protocol, max_keys_per_multiget);
        let extendable = Deadline { at: harness.at(1000), extend_by: Duration::from_millis(100) };
        for tag in 0..2 {
            submit_until(&mut harness, &Request::get("k"), Some(tag), extendable, 0);
        }
        // Another request times out at 400 ms, when the deadlines of all requests are checked.
        let short = Deadline { at: harness.at(400), extend_by: Duration::ZERO };
        submit_until(&mut harness, &Request::get("k"), Some(2), short, 0);
        harness.sent();
        harness.connection.handle_timeout(harness.at(400)).unwrap();
        let timed_out = (2, Status::TimedOut(Delivery::MaybeSent));
        assert_eq!(
            harness.events(),
            Ok(vec![timed_out]),
            "{protocol}: only the request with the earlier deadline times out"
        );
        harness.connection.handle_timeout(harness.at(1000)).unwrap();
        assert_eq!(harness.events().unwrap().len(), 2, "{protocol}");
    }
}

// ---- Results of a multiget ----

#[test]
fn all_misses_of_a_multiget_have_the_same_text() {
    let mut harness = harness(Protocol::Text, 100);
    for (tag, key) in [(1, "a"), (2, "b")] {
        harness.submit(&Request::get(key), tag).unwrap();
    }
    harness.sent();
    harness.input.extend(b"END\r\n");
    for tag in [1, 2] {
        let event = harness.connection.poll_event(&mut harness.input).unwrap().unwrap();
        assert_eq!((event.tag, &event.reply.value[..]), (Tag(tag), &b"Not found"[..]));
    }
}

#[test]
fn results_of_a_multiget_follow_the_quiet_requests_before_it() {
    let mut harness = harness(Protocol::Meta, 100);
    for tag in 0..2 {
        harness.submit(&Request::set("k", "v").quiet(), tag).unwrap();
    }
    for (tag, key) in [(2, "a"), (3, "b")] {
        harness.submit(&Request::get(key), tag).unwrap();
    }
    harness.sent();
    // The first item of the multiget confirms the stores before it.
    let found = harness.answer("VALUE a 0 1 7\r\nv\r\nVALUE b 0 1 7\r\nv\r\nEND\r\n").unwrap();
    let tags: Vec<u64> = found.iter().map(|(tag, _)| *tag).collect();
    assert_eq!(tags, [0, 1, 2, 3]);
    // The end of the multiget completes the misses, in the order of the requests.
    for (tag, key) in [(4, "a"), (5, "b"), (6, "c")] {
        harness.submit(&Request::get(key), tag).unwrap();
    }
    harness.submit(&Request::get("d"), 7).unwrap();
    harness.sent();
    harness.input.extend(b"END\r\nVALUE a 0 1 7\r\nv\r\nEND\r\n");
    let mut found = Vec::new();
    while let Ok(Some(event)) = harness.connection.poll_event(&mut harness.input) {
        found.push((event.tag.0, event.reply.status));
    }
    let missing = |tag| (tag, Status::KeyNotFound);
    assert_eq!(found, [missing(4), missing(5), missing(6), missing(7)], "the second reply is not attributed");
}

#[test]
fn a_value_above_the_limit_is_not_copied() {
    let start = std::time::Instant::now();
    let limits = Limits { max_value_size: 3, ..Limits::default() };
    let mut connection = Connection::with_protocol(Protocol::Text, ServerVersion::default(), limits, 7, start);
    connection.set_max_keys_per_multiget(100);
    let deadline = Deadline { at: start + Duration::from_secs(1), extend_by: Duration::ZERO };
    for (tag, key) in [(1, "a"), (2, "b")] {
        connection.submit(&Request::get(key), Some(Tag(tag)), deadline, start).unwrap();
    }
    connection.take_output(&mut Output::new());
    let mut input = InputBuffer::new();
    input.extend(b"VALUE a 0 4 7\r\nlong\r\nEND\r\n");
    let error = connection.poll_event(&mut input).unwrap_err();
    assert_eq!(error, ProtocolError::TooLarge { announced: 4, limit: 3 });
}

// ---- Encoding ----

#[test]
fn keys_are_stored_only_for_fetches_on_the_text_protocol() {
    let cases = [
        (Protocol::Text, Request::get("k"), true),
        (Protocol::Text, Request::set("k", "v"), false),
        (Protocol::Meta, Request::get("k").with_key(), false),
        (Protocol::Binary, Request::get("k"), false),
    ];
    for (protocol, request, is_stored) in cases {
        let mut harness = harness(protocol, 1);
        harness.submit(&request, 1).unwrap();
        assert_eq!(harness.connection.in_flight.first_key().is_some(), is_stored, "{protocol}: {request:?}");
    }
}

#[test]
fn requests_submitted_before_the_negotiation_are_answered_on_the_binary_protocol() {
    let mut harness = TextHarness::detecting(Limits::default());
    harness.submit(&Request::get("k"), 1).unwrap();
    harness.connection.set_protocol(Protocol::Binary, ServerVersion::default());
    harness.sent();
    let mut reply = Output::new();
    binary::encode_reply(&Reply::new(Status::NoError), binary::Opcode::GET, u32::MAX, &mut reply);
    harness.input.extend(reply.small());
    assert_eq!(harness.events(), Ok(vec![(1, Status::NoError)]));
}

// ---- Settings ----

#[test]
fn the_configured_server_version_decides_which_options_are_supported() {
    let start = std::time::Instant::now();
    let deadline = Deadline { at: start + Duration::from_secs(1), extend_by: Duration::ZERO };
    let request = Request::set("k", "v").meta(MetaOptions::new().new_cas(5));
    for (version, is_supported) in [("1.6.26", false), ("1.6.27", true)] {
        let version = ServerVersion::parse(version);
        let mut connection = Connection::with_protocol(Protocol::Meta, version, Limits::default(), 7, start);
        let submitted = connection.submit(&request, Some(Tag(1)), deadline, start);
        assert_eq!(submitted.is_ok(), is_supported, "{version:?}");
    }
}

#[test]
fn a_write_contains_requests_that_end_exactly_at_its_limit() {
    let mut harness = harness(Protocol::Text, 1);
    for tag in 0..2 {
        harness.submit(&Request::get("k"), tag).unwrap();
    }
    harness.connection.take_output(&mut Output::new());
    let length = "gets k\r\n".len();
    for (limit, expected) in [(2 * length - 1, length), (2 * length, 2 * length), (2 * length + 1, 2 * length)] {
        assert_eq!(harness.connection.whole_requests_len(limit), expected, "limit {limit}");
    }
}
