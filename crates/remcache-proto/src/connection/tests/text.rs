//! Tests of the connection state machine on the meta and text protocols, and during the negotiation.

use super::wrong_replies::{Corruption, Random, expected_value, receive};
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes};

use crate::*;

pub(crate) struct TextHarness {
    pub(crate) connection: Connection,
    pub(crate) input: InputBuffer,
    start: Instant,
}

impl TextHarness {
    pub(crate) fn new(protocol: Protocol) -> Self {
        let start = Instant::now();
        let connection = Connection::with_protocol(protocol, ServerVersion::default(), Limits::default(), 7, start);
        Self { connection, input: InputBuffer::new(), start }
    }

    pub(crate) fn detecting(limits: Limits) -> Self {
        let start = Instant::now();
        Self { connection: Connection::detecting(limits, u32::MAX, start), input: InputBuffer::new(), start }
    }

    pub(crate) fn at(&self, millis: u64) -> Instant {
        self.start + Duration::from_millis(millis)
    }

    pub(crate) fn submit(&mut self, request: &Request<'_>, tag: u64) -> Result<RequestId, Rejected> {
        let deadline = Deadline { at: self.at(1000), extend_by: Duration::ZERO };
        self.connection.submit(request, Some(Tag(tag)), deadline, self.start)
    }

    pub(crate) fn sent(&mut self) -> String {
        let mut output = Output::new();
        self.connection.take_output(&mut output);
        self.connection.handle_written(output.remaining());
        String::from_utf8_lossy(&output.copy_to_bytes(output.remaining())).into_owned()
    }

    pub(crate) fn answer(&mut self, bytes: &str) -> Result<Vec<(u64, Status)>, ProtocolError> {
        self.input.extend(bytes.as_bytes());
        self.events()
    }

    pub(crate) fn events(&mut self) -> Result<Vec<(u64, Status)>, ProtocolError> {
        let mut events = Vec::new();
        while let Some(event) = self.connection.poll_event(&mut self.input)? {
            events.push((event.tag.0, event.reply.status));
        }
        Ok(events)
    }
}

/// Submits requests (G = get, g = quiet get, S = set, s = quiet set, N = no-op, V = version) and decodes a reply, a
/// list of lines with `@n` for the opaque of the n-th request. Replies are tags with - for a miss, + for a success,
/// ! for an error, and the protocol error at the end.
#[track_caller]
fn check(protocol: Protocol, requests: &str, reply: &str, expected: &str) {
    for pieces in [1, 2, usize::MAX] {
        let mut harness = TextHarness::new(protocol);
        for (tag, kind) in requests.chars().enumerate() {
            let request = match kind {
                'G' | 'g' => Request::get("k"),
                'S' | 's' => Request::set("k", "v"),
                'V' => Request::version(),
                _ => Request::noop(),
            };
            let request = if kind.is_lowercase() { request.quiet() } else { request };
            harness.submit(&request, tag as u64).unwrap();
        }
        harness.sent();
        let mut bytes = format!("{reply}|").replace('|', "\r\n");
        for index in 0..requests.len() {
            bytes = bytes.replace(&format!("@{index}"), &format!("O{:08x}", 7 + index));
        }
        let mut found = String::new();
        for piece in bytes.as_bytes().chunks(pieces) {
            harness.input.extend(piece);
            loop {
                match harness.connection.poll_event(&mut harness.input) {
                    Ok(None) => break,
                    Ok(Some(event)) => {
                        let mark = match event.reply.status {
                            Status::NoError => '+',
                            Status::KeyNotFound => '-',
                            _ => '!',
                        };
                        found += &format!("{}{mark}", event.tag.0);
                    }
                    Err(error) => {
                        let error = format!("{error:?}");
                        found += &format!(" {}", error.split(['(', ' ']).next().unwrap());
                        break;
                    }
                }
            }
            if found.contains(' ') {
                break;
            }
        }
        assert_eq!(found, expected, "{protocol} {requests}: {reply}, {pieces} bytes at a time");
    }
}

#[test]
fn meta_replies_are_attributed_to_their_requests() {
    check(Protocol::Meta, "GSG", "VA 1 f0 c1 @0|x|HD c2 @1|EN @2", "0+1+2-");
    check(Protocol::Meta, "ggN", "MN", "0-1-2+");
    check(Protocol::Meta, "ggN", "VA 1 f0 c1 @1|x|MN", "1+0-2+");
    check(Protocol::Meta, "ssG", "EN @2", "0+1+2-");
    check(Protocol::Meta, "ssN", "NS c0 @1|MN", "1!0+2+");
    check(Protocol::Meta, "NV", "MN|VERSION 1.6.18", "0+1+");
    // The no-op that ends a quiet batch has no caller.
    check(Protocol::Meta, "ss", "MN", "0+1+");
}

#[test]
fn requested_keys_are_returned_although_the_server_does_not_send_them() {
    let mut harness = TextHarness::new(Protocol::Meta);
    harness.submit(&Request::get("a b").with_key().quiet(), 0).unwrap();
    harness.submit(&Request::get("plain").with_key().quiet(), 1).unwrap();
    harness.submit(&Request::get("c\nd").with_key().quiet(), 2).unwrap();
    harness.submit(&Request::get("e f").with_key(), 3).unwrap();
    harness.sent();
    harness.input.extend(b"VA 1 f0 c1 kplain O00000008\r\nx\r\nVA 1 f0 c1 O00000009\r\ny\r\nEN O0000000a\r\n");
    let mut found = Vec::new();
    while let Some(event) = harness.connection.poll_event(&mut harness.input).unwrap() {
        let Reply { key, value, .. } = event.reply;
        found.push((event.tag.0, String::from_utf8(key.to_vec()).unwrap(), String::from_utf8(value.to_vec()).unwrap()));
    }
    let expected = [(1, "plain", "x"), (2, "c\nd", "y"), (0, "", ""), (3, "e f", "")];
    let expected = expected.map(|(tag, key, value)| (tag, key.to_owned(), value.to_owned()));
    assert_eq!(found, expected, "a quiet miss has no key");
}

#[test]
fn unrequested_meta_replies_are_protocol_errors() {
    check(Protocol::Meta, "GG", "EN @1", " SkippedReply");
    check(Protocol::Meta, "G", "EN O00000099", " UnknownOpaque");
    check(Protocol::Meta, "G", "EN @0|EN @0", "0- UnknownOpaque");
    check(Protocol::Meta, "G", "EN", " UnexpectedLine");
    check(Protocol::Meta, "G", "EN Oxyz", " UnexpectedLine");
    check(Protocol::Meta, "G", "HD f0 c1 @0", " UnexpectedLine");
    check(Protocol::Meta, "G", "NF @0", " UnexpectedLine");
    check(Protocol::Meta, "S", "VA 1 @0|x", " UnexpectedLine");
    check(Protocol::Meta, "S", "MN", " UnexpectedLine");
    check(Protocol::Meta, "N", "VERSION 1.6.18", " UnexpectedLine");
    check(Protocol::Meta, "GN", "MN", " UnexpectedLine");
    check(Protocol::Meta, "gggN", "VA 1 f0 c1 @1|x|VA 1 f0 c1 @0|x", "1+ LateReply");
    check(Protocol::Meta, "ssN", "FOO", " UnexpectedLine");
    check(Protocol::Meta, "ssG", "NF @2", " UnexpectedLine");
    check(Protocol::Meta, "", "MN", " UnexpectedLine");
    check(Protocol::Meta, "G", "ERROR Too many open connections", " TooManyConnections");
    check(Protocol::Meta, "", "ERROR Too many open connections", " TooManyConnections");
    check(Protocol::Meta, "G", "\u{81}", " NotText");
    check(Protocol::Meta, "G", "", " NotText");
    check(Protocol::Meta, "G", "HTTP/1.1 400 Bad Request", " UnexpectedLine");
}

#[test]
fn error_lines_are_attributed_or_close_the_connection() {
    check(Protocol::Meta, "SG", "SERVER_ERROR object too large for cache|EN @1", "0!1-");
    check(Protocol::Meta, "SG", "CLIENT_ERROR bad data chunk|ERROR", "0! Desynchronized");
    check(Protocol::Meta, "sG", "SERVER_ERROR object too large for cache", " UnattributedError");
    check(Protocol::Meta, "ss", "SERVER_ERROR object too large for cache", " UnattributedError");
    check(Protocol::Meta, "sS", "SERVER_ERROR out of memory storing object", " UnattributedError");
    // The reply confirms the quiet requests before it.
    check(Protocol::Meta, "ssG", "NS c0 @1|SERVER_ERROR out of memory", "1!0+2!");
    check(Protocol::Meta, "NN", "ERROR|MN", "0!1+");
    // A no-op never fails, so an error before it belongs to the quiet request; with two quiet requests it is ambiguous.
    check(Protocol::Meta, "sN", "SERVER_ERROR object too large for cache|MN", "0!1+");
    check(Protocol::Meta, "gN", "SERVER_ERROR out of memory|MN", "0!1+");
    check(Protocol::Meta, "GsN", "EN @0|SERVER_ERROR object too large for cache|MN", "0-1!2+");
    check(Protocol::Meta, "ssN", "NS c0 @0|SERVER_ERROR object too large for cache|MN", "0!1!2+");
    check(Protocol::Meta, "sN", "CLIENT_ERROR bad data chunk|MN", "0! Desynchronized");
    check(
        Protocol::Meta,
        "sN",
        "SERVER_ERROR object too large for cache|SERVER_ERROR object too large for cache",
        "0!1!",
    );
    check(Protocol::Meta, "ssN", "SERVER_ERROR object too large for cache", " UnattributedError");
    check(Protocol::Text, "SG", "SERVER_ERROR object too large for cache|END", "0!1-");
    check(Protocol::Text, "sG", "SERVER_ERROR object too large for cache|END", "0!1-");
    check(Protocol::Text, "GG", "CLIENT_ERROR bad command line format||END", "0! Desynchronized");
    check(Protocol::Text, "SG", "CLIENT_ERROR bad command line format|ERROR|END", "0! Desynchronized");
    check(Protocol::Text, "SG", "CLIENT_ERROR unauthenticated", "0! Desynchronized");
    // A server that does not know a fetch has read one line; after any other unknown command, it may read the value.
    check(Protocol::Text, "SG", "ERROR|END", "0! Desynchronized");
    check(Protocol::Meta, "GG", "ERROR|EN @1", "0! Desynchronized");
    check(Protocol::Meta, "", "SERVER_ERROR out of memory", " UnexpectedLine");
}

#[test]
fn text_replies_are_attributed_in_order() {
    check(Protocol::Text, "GSGN", "VALUE k 0 1 9|x|END|STORED|END|VERSION 1.6.18", "0+1+2-3+");
    check(Protocol::Text, "gs", "END|STORED", "0-1+");
    check(Protocol::Text, "G", "VALUE other 0 1 9|x|END", " WrongKey");
    check(Protocol::Text, "G", "STORED", " UnexpectedLine");
    check(Protocol::Text, "S", "END", " UnexpectedLine");
    check(Protocol::Text, "N", "MN", " UnexpectedLine");
    check(Protocol::Text, "GG", "VALUE k 0 1 9|x|VALUE k 0 1 9|x|END", " UnterminatedValue");
    check(Protocol::Text, "G", "END|END", "0- UnexpectedLine");
    check(Protocol::Text, "S", "ERROR Too many open connections", " TooManyConnections");
}

#[test]
fn text_replies_are_matched_by_key() {
    let mut harness = TextHarness::new(Protocol::Text);
    for round in 0..100 {
        for tag in 0..5 {
            let key = format!("key-{round}-{tag}");
            let request = if tag == 2 { Request::delete(&key) } else { Request::get(&key).with_key() };
            harness.submit(&request, tag).unwrap();
        }
        harness.sent();
        for tag in 0..5 {
            let key = format!("key-{round}-{tag}");
            let (reply, status) = match tag {
                2 => ("NOT_FOUND\r\n".to_owned(), Status::KeyNotFound),
                1 => ("END\r\n".to_owned(), Status::KeyNotFound),
                _ => (format!("VALUE {key} 0 1 1\r\nv\r\nEND\r\n"), Status::NoError),
            };
            harness.input.extend(reply.as_bytes());
            let event = harness.connection.poll_event(&mut harness.input).unwrap().unwrap();
            assert_eq!((event.tag.0, event.reply.status), (tag, status));
            assert_eq!(event.reply.key, if tag == 2 { "" } else { &key[..] });
        }
    }
}

#[test]
fn abandoned_requests_become_noops() {
    for (protocol, noop, answer) in
        [(Protocol::Meta, "mn\r\n", "MN\r\n"), (Protocol::Text, "version\r\n", "VERSION 1\r\n")]
    {
        let mut harness = TextHarness::new(protocol);
        harness.submit(&Request::get("a"), 1).unwrap();
        harness.connection.expire_due(harness.at(1000));
        assert_eq!(harness.events(), Ok(vec![(1, Status::TimedOut(Delivery::NotSent))]));
        assert_eq!(harness.sent(), noop);
        assert_eq!(harness.answer(answer), Ok(vec![]));
        assert_eq!(harness.connection.in_flight(), 0);
        harness.connection.handle_timeout(harness.at(5000)).unwrap();
        assert_eq!(harness.sent(), noop, "the keepalive of an idle connection");
    }
}

#[test]
fn dumps_and_logs_are_exclusive() {
    let mut harness = TextHarness::new(Protocol::Meta);
    harness.submit(&Request::get("a"), 1).unwrap();
    assert!(matches!(harness.submit(&Request::metadump("all"), 2), Err(Rejected::Invalid(_))));
    harness.sent();
    harness.answer("EN O00000007\r\n").unwrap();
    harness.submit(&Request::metadump("all"), 2).unwrap();
    assert_eq!(harness.submit(&Request::get("a"), 3), Err(Rejected::Full));
    harness.sent();
    assert_eq!(harness.answer("key=a exp=-1\nEND\r\n"), Ok(vec![(2, Status::NoError), (2, Status::NoError)]));
    harness.submit(&Request::watch(""), 4).unwrap();
    harness.sent();
    harness.answer("OK\r\n").unwrap();
    assert_eq!(harness.connection.poll_timeout(), Some(harness.at(1000)));
    let patient = Deadline { at: harness.at(1_000_000), extend_by: Duration::ZERO };
    harness.connection.close(&Bytes::new(), harness.start);
    harness.events().unwrap();
    harness.connection.submit(&Request::watch(""), Some(Tag(5)), patient, harness.start).unwrap();
    harness.sent();
    assert_eq!(harness.connection.poll_timeout(), Some(patient.at));
    harness.connection.handle_timeout(harness.at(60_000)).unwrap();
    assert_eq!(harness.events(), Ok(vec![]), "a log has no silence timeout");
    harness.connection.close(&Bytes::new(), harness.start);
    harness.events().unwrap();
    harness.connection.submit(&Request::metadump("all"), Some(Tag(6)), patient, harness.start).unwrap();
    harness.sent();
    let silent = harness.connection.handle_timeout(harness.at(60_000));
    assert_eq!(silent, Err(ProtocolError::Unresponsive), "a dump has one");
}

#[test]
fn debug_lines_are_attributed_in_order() {
    let run = |reply: &str| {
        let mut harness = TextHarness::new(Protocol::Meta);
        harness.submit(&Request::debug("k"), 1).unwrap();
        harness.submit(&Request::get("k"), 2).unwrap();
        harness.sent();
        harness.answer(&format!("{reply}\r\nEN O00000008\r\n"))
    };
    let missing = |tag| (tag, Status::KeyNotFound);
    assert_eq!(run("ME k exp=-1 la=2 cas=3 fetch=no cls=1 size=63"), Ok(vec![(1, Status::NoError), missing(2)]));
    assert_eq!(run("EN"), Ok(vec![missing(1), missing(2)]));
}

// ---- During the negotiation ----

#[test]
fn requests_wait_for_the_negotiation() {
    for (protocol, first) in [(Protocol::Meta, "mg a v f c Offffffff"), (Protocol::Text, "gets a")] {
        let mut harness = TextHarness::detecting(Limits::default());
        harness.submit(&Request::get("a"), 1).unwrap();
        harness.submit(&Request::increment("b", 1).initial(5), 2).unwrap();
        harness.submit(&Request::delete("c"), 3).unwrap();
        let TextHarness { connection, .. } = &harness;
        assert_eq!((connection.protocol(), connection.has_output(), connection.in_flight()), (None, false, 3));
        assert!(connection.unwritten_bytes() > 0);
        assert_eq!(harness.sent(), "");
        harness.connection.set_protocol(protocol, ServerVersion::default());
        assert_eq!(harness.connection.protocol(), Some(protocol));
        let refused = if protocol == Protocol::Text { vec![(2, Status::Unsupported)] } else { vec![] };
        assert_eq!(harness.events(), Ok(refused));
        let sent: Vec<String> = harness.sent().lines().map(str::to_owned).collect();
        let second = if protocol == Protocol::Text { "version" } else { "ma b D1 N0 J5 v c O00000000" };
        let third = if protocol == Protocol::Text { "delete c" } else { "md c O00000001" };
        assert_eq!(sent, [first, second, third]);
    }
}

#[test]
fn requests_that_no_protocol_supports_are_refused_immediately() {
    let mut harness = TextHarness::detecting(Limits { max_value_size: 10, ..Limits::default() });
    for request in [Request::get(""), Request::set("k", "v").ttl(Duration::ZERO), Request::set("k", vec![0; 11])] {
        assert!(matches!(harness.submit(&request, 1), Err(Rejected::Invalid(_))), "{request:?}");
    }
    assert_eq!(harness.connection.in_flight(), 0);
}

#[test]
fn limits_and_deadlines_apply_during_the_negotiation() {
    let mut harness = TextHarness::detecting(Limits { max_in_flight: 3, max_output: 2000, ..Limits::default() });
    harness.submit(&Request::set("a", vec![0; 1900]), 1).unwrap();
    assert_eq!(harness.submit(&Request::set("b", vec![0; 900]), 2), Err(Rejected::Full));
    let request_id = harness.submit(&Request::get("b"), 2).unwrap();
    harness.submit(&Request::get("c").quiet(), 3).unwrap();
    assert_eq!(harness.submit(&Request::get("d"), 4), Err(Rejected::Full));
    harness.connection.abandon(request_id, harness.start);
    assert_eq!(
        (harness.connection.waiting_callers(), harness.connection.earliest_deadline()),
        (2, Some(harness.at(1000)))
    );
    harness.connection.expire_due(harness.at(1000));
    let due = Status::TimedOut(Delivery::NotSent);
    assert_eq!(harness.events(), Ok(vec![(1, due), (3, due)]));
    assert!(harness.connection.unwritten_bytes() < 200, "abandoned requests are removed");
    harness.connection.set_protocol(Protocol::Meta, ServerVersion::default());
    assert_eq!(harness.sent(), "mn\r\nmg b v f c O00000000\r\nmn\r\n");
    assert_eq!(harness.answer("MN\r\nEN O00000000\r\nMN\r\n"), Ok(vec![]));
    assert_eq!((harness.connection.in_flight(), harness.connection.abandoned()), (0, 0));
}

#[test]
fn each_connection_negotiates_again() {
    let mut harness = TextHarness::detecting(Limits::default());
    for protocol in Protocol::ALL {
        harness.submit(&Request::get("a"), 1).unwrap();
        harness.connection.close(&Bytes::from("refused"), harness.start);
        assert_eq!(harness.events(), Ok(vec![(1, Status::Disconnected(Delivery::NotSent))]));
        harness.submit(&Request::get("a"), 2).unwrap();
        harness.connection.set_protocol(protocol, ServerVersion::default());
        assert!(harness.connection.has_output());
        harness.sent();
        harness.connection.close(&Bytes::from("gone"), harness.start);
        assert_eq!(harness.events(), Ok(vec![(2, Status::Disconnected(Delivery::MaybeSent))]));
        assert_eq!((harness.connection.protocol(), harness.connection.unwritten_bytes()), (None, 0));
    }
}

#[test]
fn a_configured_protocol_is_kept() {
    let mut harness = TextHarness::new(Protocol::Meta);
    harness.connection.close(&Bytes::new(), harness.start);
    assert_eq!(harness.connection.protocol(), Some(Protocol::Meta));
}

// ---- Wrong replies ----

/// Returns the correct reply to a line.
fn correct_reply(protocol: Protocol, line: &str) -> Option<String> {
    let words: Vec<&str> = line.split(' ').collect();
    let key = match words[..] {
        ["mn"] => return Some("MN\r\n".to_owned()),
        ["version"] => return Some("VERSION 1.6.18\r\n".to_owned()),
        [_, key, ..] => key,
        _ => panic!("{line}"),
    };
    let value = expected_value(key.as_bytes()).map(|value| String::from_utf8(value.to_vec()).unwrap());
    let opaque = words.last().unwrap();
    match (protocol, value) {
        (Protocol::Text, Some(value)) => Some(format!("VALUE {key} 0 {} 1\r\n{value}\r\nEND\r\n", value.len())),
        (Protocol::Text, None) => Some("END\r\n".to_owned()),
        (_, Some(value)) => Some(format!("VA {} f0 c1 {opaque}\r\n{value}\r\n", value.len())),
        (_, None) if words.contains(&"q") => None,
        (_, None) => Some(format!("EN {opaque}\r\n")),
    }
}

pub(crate) fn below(random: &mut Random, bound: usize) -> usize {
    usize::try_from(random.below(bound as u64)).unwrap()
}

fn conversation(protocol: Protocol, seed: u64) {
    let mut random = Random(seed);
    let mut harness = TextHarness::new(protocol);
    let corruptions = [
        Corruption::None,
        Corruption::Swap,
        Corruption::Repeat,
        Corruption::Drop,
        Corruption::Opaque,
        Corruption::Truncate,
    ];
    let chosen = corruptions[below(&mut random, corruptions.len())];
    let count = 1 + below(&mut random, 12);
    let some_quiet = random.below(2) == 0;
    for number in 0..count {
        let key = number.to_string();
        let quiet = some_quiet && random.below(2) == 0;
        let request = if quiet { Request::get(&key).quiet() } else { Request::get(&key) };
        harness.submit(&request, number as u64).unwrap();
    }
    let sent = harness.sent();
    let mut replies: Vec<String> = sent.lines().filter_map(|line| correct_reply(protocol, line)).collect();
    let at = below(&mut random, replies.len());
    match chosen {
        Corruption::Swap => {
            let other = below(&mut random, replies.len());
            replies.swap(at, other);
        }
        Corruption::Repeat => replies.insert(at, replies[at].clone()),
        Corruption::Drop => drop(replies.remove(at)),
        Corruption::Opaque => replies[at] = replies[at].replace(" O0000000", " O0000001"),
        _ => {}
    }
    // A miss on text has no key, and a missing reply to a quiet get is a miss: such corruptions are undetectable.
    let is_undetectable =
        (some_quiet || protocol == Protocol::Text) && !matches!(chosen, Corruption::None | Corruption::Truncate);
    let mut bytes = replies.concat().into_bytes();
    if let Corruption::Truncate = chosen {
        bytes.truncate(below(&mut random, bytes.len() + 1));
    }
    let mut completions = vec![0; count];
    let TextHarness { connection, input, .. } = &mut harness;
    receive(connection, input, bytes, &mut random, |connection, input| {
        take_events(connection, input, &mut completions, is_undetectable, seed, chosen)
    });
    assert!(completions.iter().all(|&times| times == 1), "seed {seed}, {protocol} {chosen:?}: {completions:?}");
}

pub(crate) fn take_events(
    connection: &mut Connection,
    input: &mut InputBuffer,
    completions: &mut [u32],
    is_undetectable: bool,
    seed: u64,
    corruption: Corruption,
) -> Result<(), ProtocolError> {
    while let Some(event) = connection.poll_event(input)? {
        let number = event.tag.0;
        completions[usize::try_from(number).unwrap()] += 1;
        let expected_value = expected_value(number.to_string().as_bytes());
        match event.reply.status {
            // Even an undetectable corruption never delivers a value to another request.
            Status::NoError => {
                assert_eq!(Some(event.reply.value), expected_value, "seed {seed}, {corruption:?}: key {number}")
            }
            Status::KeyNotFound if is_undetectable => {}
            Status::KeyNotFound => assert_eq!(None, expected_value, "seed {seed}, {corruption:?}: key {number}"),
            status => assert!(matches!(status, Status::Disconnected(_)), "seed {seed}, {corruption:?}: {status}"),
        }
    }
    Ok(())
}

#[test]
fn wrong_line_replies_are_never_delivered() {
    let first: u64 = std::env::var("REMCACHE_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(0);
    for seed in first..first + 50_000 {
        conversation(Protocol::Meta, seed);
        conversation(Protocol::Text, seed);
    }
}
