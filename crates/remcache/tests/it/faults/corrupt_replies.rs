//! Replies that are cut off, split, corrupted or not from memcached, on each protocol.

use std::time::Duration;

use bytes::Bytes;
use remcache::proto::Protocol;
use remcache::proto::binary::{Header, Opcode};
use remcache::{Config, ErrorKind, Status};
use remcache_testkit::seed;

use crate::faults::support::harness::{ALL_OPERATIONS, Harness};
use crate::faults::support::known_items::PATIENCE;
use crate::faults::support::reply_writer::random_garbage;
use crate::faults::support::server_fault::{CloseKind, Corruption, ServerFault};
use crate::support::{ProtocolMode, protocol_mode_tests};

protocol_mode_tests! {
    #[tokio::test(start_paused = true)]
    connections_reset_at_every_byte_of_a_reply
    connections_closed_at_every_byte_of_a_reply
    a_large_value_is_never_truncated
    replies_in_single_bytes_and_random_splits
    garbage_closes_the_connection
    swapped_repeated_missing_and_changed_replies
    servers_that_are_not_memcached_are_identified
    impossible_lengths_close_the_connection
}

protocol_mode_tests! {
    #[tokio::test]
    sockets_reset_at_every_byte_of_a_reply
    sockets_closed_at_every_byte_of_a_reply
    replies_in_single_bytes_and_random_splits_on_a_socket
    garbage_on_a_socket_closes_the_connection
    swapped_repeated_missing_and_changed_replies_on_a_socket
    servers_that_are_not_memcached_are_identified_on_a_socket
    impossible_lengths_on_a_socket_close_the_connection
}

const DEADLINE: Duration = Duration::from_secs(1);
/// On sockets, for faults that may leave a request without a reply.
const SHORT: Duration = Duration::from_millis(100);

fn is_disconnected(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::Disconnected(_))
}

fn is_disconnected_or_timed_out(kind: ErrorKind) -> bool {
    is_disconnected(kind) || matches!(kind, ErrorKind::TimedOut(_))
}

/// Returns the number of bytes that the server sends for all operations.
async fn reply_bytes(mode: ProtocolMode) -> usize {
    let harness = Harness::in_memory(mode, ServerFault::None, Config::new(), DEADLINE);
    let results = harness.run_all_operations().await;
    assert_eq!((results.succeeded, results.errors.len()), (ALL_OPERATIONS, 0));
    harness.fake.store().bytes_answered()
}

/// Closes the connection at every byte; recovery is checked for every tenth client only.
async fn close_at_every_byte(mode: ProtocolMode, how: CloseKind) {
    let length = reply_bytes(mode).await;
    for after in 0..=length {
        let harness = Harness::in_memory(mode, ServerFault::CloseAfterSending(after, how), Config::new(), DEADLINE);
        let results = harness.run_all_operations().await;
        results.assert_errors(is_disconnected);
        assert_eq!(results.succeeded + results.errors.len(), ALL_OPERATIONS);
        assert!(after == length || !results.errors.is_empty(), "cut after {after} bytes");
        if after % 10 == 0 {
            harness.finish().await;
        }
    }
}

async fn connections_closed_at_every_byte_of_a_reply(mode: ProtocolMode) {
    close_at_every_byte(mode, CloseKind::Fin).await;
}

async fn connections_reset_at_every_byte_of_a_reply(mode: ProtocolMode) {
    close_at_every_byte(mode, CloseKind::Rst).await;
}

/// Reconnects without delay: these tests are about the fault, not the backoff after it.
fn fast_reconnect() -> Config {
    Config::new().reconnect_delay(Duration::from_millis(1), Duration::from_millis(5))
}

/// Closes a socket at every byte as well; recovery is checked for every fiftieth client only.
async fn close_sockets_at_every_byte(mode: ProtocolMode, how: CloseKind) {
    for after in 0..=reply_bytes(mode).await {
        let harness =
            Harness::on_sockets(mode, ServerFault::CloseAfterSending(after, how), fast_reconnect(), PATIENCE).await;
        let results = harness.run_all_operations().await;
        results.assert_errors(is_disconnected);
        assert_eq!(results.succeeded + results.errors.len(), ALL_OPERATIONS);
        if after % 50 == 0 {
            harness.finish().await;
        }
    }
}

async fn sockets_closed_at_every_byte_of_a_reply(mode: ProtocolMode) {
    close_sockets_at_every_byte(mode, CloseKind::Fin).await;
}

async fn sockets_reset_at_every_byte_of_a_reply(mode: ProtocolMode) {
    close_sockets_at_every_byte(mode, CloseKind::Rst).await;
}

/// A large value is received into its own buffer, and returned complete or not at all.
async fn a_large_value_is_never_truncated(mode: ProtocolMode) {
    let harness = Harness::in_memory(mode, ServerFault::None, Config::new(), DEADLINE);
    assert_eq!(harness.get("fixed:L").await.succeeded, 1);
    let length = harness.fake.store().bytes_answered();
    for how in [CloseKind::Fin, CloseKind::Rst] {
        for after in (0..length).step_by(97).chain(length - 40..length) {
            let harness = Harness::in_memory(mode, ServerFault::CloseAfterSending(after, how), Config::new(), DEADLINE);
            let results = harness.get("fixed:L").await;
            results.assert_errors(is_disconnected);
            assert_eq!(results.errors.len(), 1, "cut after {after} bytes");
            harness.finish().await;
        }
    }
}

async fn replies_in_single_bytes_and_random_splits(mode: ProtocolMode) {
    let seed = seed();
    let mut rng = seed.rng();
    for case in 0..80 {
        let longest = [1, 2, 7, 30, 1000][case % 5];
        let harness =
            Harness::in_memory(mode, ServerFault::SplitReplies(longest, rng.u64(..)), Config::new(), DEADLINE);
        let (results, large) = tokio::join!(harness.run_all_operations(), harness.get("fixed:L"));
        assert_eq!((results.succeeded, large.succeeded), (ALL_OPERATIONS, 1), "pieces of up to {longest}");
        assert_eq!(harness.fake.accepted(), 1);
        harness.finish().await;
    }
}

async fn replies_in_single_bytes_and_random_splits_on_a_socket(mode: ProtocolMode) {
    let seed = seed();
    let mut rng = seed.rng();
    for longest in [1, 1, 2, 3, 7, 30, 100, 1000].repeat(5) {
        let fault = ServerFault::SplitReplies(longest, rng.u64(..));
        let harness = Harness::on_sockets(mode, fault, fast_reconnect(), PATIENCE).await;
        let (results, large) = tokio::join!(harness.run_all_operations(), harness.get("fixed:L"));
        assert_eq!((results.succeeded, large.succeeded), (ALL_OPERATIONS, 1), "pieces of up to {longest}");
        assert_eq!(harness.fake.accepted(), 1);
        harness.finish().await;
    }
}

async fn expect_all_to_fail(harness: Harness) {
    let results = harness.run_all_operations().await;
    results.assert_errors(is_disconnected_or_timed_out);
    assert_eq!(results.errors.len(), ALL_OPERATIONS);
    harness.finish().await;
}

async fn garbage_closes_the_connection(mode: ProtocolMode) {
    let seed = seed();
    let mut rng = seed.rng();
    for _ in 0..200 {
        expect_all_to_fail(Harness::in_memory(
            mode,
            ServerFault::AnswerWith(random_garbage(mode.protocol(), &mut rng)),
            Config::new(),
            DEADLINE,
        ))
        .await;
    }
}

async fn garbage_on_a_socket_closes_the_connection(mode: ProtocolMode) {
    let seed = seed();
    let mut rng = seed.rng();
    for _ in 0..25 {
        let fault = ServerFault::AnswerWith(random_garbage(mode.protocol(), &mut rng));
        expect_all_to_fail(Harness::on_sockets(mode, fault, fast_reconnect(), SHORT).await).await;
    }
}

async fn expect_detection(harness: Harness, corruption: Corruption) {
    let results = harness.run_all_operations().await;
    results.assert_errors(is_disconnected_or_timed_out);
    assert_eq!(results.succeeded + results.errors.len(), ALL_OPERATIONS);
    if let Corruption::ChangeKind | Corruption::ChangeOwner | Corruption::Omit = corruption {
        assert!(!results.errors.is_empty(), "{corruption:?}: a corrupted reply was accepted");
    }
    harness.finish().await;
}

async fn swapped_repeated_missing_and_changed_replies(mode: ProtocolMode) {
    let seed = seed();
    let mut rng = seed.rng();
    for corruption in Corruption::ALL {
        for _ in 0..120 {
            expect_detection(
                Harness::in_memory(mode, ServerFault::CorruptReply(corruption, rng.u64(..)), Config::new(), DEADLINE),
                corruption,
            )
            .await;
        }
    }
}

async fn swapped_repeated_missing_and_changed_replies_on_a_socket(mode: ProtocolMode) {
    let seed = seed();
    let mut rng = seed.rng();
    for corruption in Corruption::ALL {
        for _ in 0..60 {
            let fault = ServerFault::CorruptReply(corruption, rng.u64(..));
            expect_detection(Harness::on_sockets(mode, fault, fast_reconnect(), SHORT).await, corruption).await;
        }
    }
}

/// The greeting of a server that is not memcached, and the word by which the error identifies it.
type ForeignReply = (&'static [u8], &'static str);

fn foreign_replies(mode: ProtocolMode) -> Vec<ForeignReply> {
    let own: &[ForeignReply] = match mode.protocol() {
        Protocol::Binary => &[
            (b"\x80\x00\x00\x05\x00\x00\x00\x00\x00\x00\x00\x05\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00Hello", "echo"),
            (b"SSH-2.0-OpenSSH_9.2\r\n", "text"),
            (b"-ERR unknown command\r\n", "not memcached"),
        ],
        _ => &[
            (b"\x81\x00\x00\x00\x00\x00\x00\x81\x00\x00\x00\x0f", "binary"),
            (b"SSH-2.0-OpenSSH_9.2\r\n", "SSH"),
            (b"-ERR unknown command\r\n", "-ERR unknown command"),
            (b"\x00\x00", "not memcached"),
        ],
    };
    [own, ALL_PROTOCOLS].concat()
}

/// Servers that are identified whatever protocol the client uses.
const ALL_PROTOCOLS: &[ForeignReply] = &[
    (b"ERROR Too many open connections\r\n", "too many open connections"),
    (b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n", "HTTP"),
    (b"\x15\x03\x01\x00\x02\x02\x0a", "TLS"),
    (b"\x16\x03\x03\x00\x31\x02", "TLS"),
];

async fn servers_that_are_not_memcached_are_identified(mode: ProtocolMode) {
    for (greeting, hint) in foreign_replies(mode) {
        let harness =
            Harness::in_memory(mode, ServerFault::NotMemcached(Bytes::from_static(greeting)), Config::new(), DEADLINE);
        expect_hint(&harness, hint).await;
        harness.finish().await;
    }
}

async fn servers_that_are_not_memcached_are_identified_on_a_socket(mode: ProtocolMode) {
    for (greeting, hint) in foreign_replies(mode) {
        let fault = ServerFault::NotMemcached(Bytes::from_static(greeting));
        let harness = Harness::on_sockets(mode, fault, Config::new(), PATIENCE).await;
        expect_hint(&harness, hint).await;
        harness.finish().await;
    }
}

/// Checks that both the requests in flight and later ones report the cause.
async fn expect_hint(harness: &Harness, hint: &str) {
    for round in 0..2 {
        let results = harness.run_all_operations().await;
        results.assert_errors(is_disconnected);
        assert_eq!(results.errors.len(), ALL_OPERATIONS);
        for error in &results.errors {
            let text = error.to_string();
            assert!(text.contains(hint), "round {round}: {text:?} does not mention {hint:?}");
            let is_sent = round == 0 && !harness.is_detected_by_version_probe();
            assert_eq!(error.may_have_executed(), is_sent, "{text}");
        }
    }
}

/// Returns the beginnings of replies with impossible lengths, and what the error says.
fn impossible_lengths(mode: ProtocolMode) -> Vec<(Bytes, &'static str)> {
    match mode.protocol() {
        Protocol::Binary => {
            HEADERS.iter().map(|&(body, key, extras, hint)| (header(body, key, extras), hint)).collect()
        }
        _ => {
            let announced = |&(length, hint): &(&str, &'static str)| {
                let line = match mode.protocol() {
                    Protocol::Meta => format!("VA {length} f0 c1 O00000000\r\n"),
                    _ => format!("VALUE fixed:0 0 {length} 1\r\n"),
                };
                (line.into(), hint)
            };
            let endless = (vec![b'V'; 9_000].into(), "is longer than");
            ANNOUNCED.iter().map(announced).chain([endless]).collect()
        }
    }
}

/// Lengths of the body, the key and the extras.
const HEADERS: [(u32, u16, u8, &str); 6] = [
    (u32::MAX, 0, 4, "announces"),
    (u32::MAX, u16::MAX, u8::MAX, "announces"),
    ((1 << 20) + 1025, 0, 4, "announces"),
    (3, 4, 0, "longer than its body"),
    (0, 0, 4, "longer than its body"),
    (65_789, u16::MAX, u8::MAX, "longer than its body"),
];

/// The length of a value as announced in a reply line.
const ANNOUNCED: [(&str, &str); 7] = [
    ("4294967295", "announces"),
    ("1048577", "announces"),
    ("18446744073709551615", "announces"),
    ("18446744073709551616", "not a reply to the request"),
    ("-1", "not a reply to the request"),
    ("1e3", "not a reply to the request"),
    ("x", "not a reply to the request"),
];

async fn impossible_lengths_close_the_connection(mode: ProtocolMode) {
    for (beginning, hint) in impossible_lengths(mode) {
        let harness = Harness::in_memory(mode, ServerFault::AnswerWith(beginning), Config::new(), DEADLINE);
        expect_hint(&harness, hint).await;
        harness.finish().await;
    }
}

async fn impossible_lengths_on_a_socket_close_the_connection(mode: ProtocolMode) {
    for (beginning, hint) in impossible_lengths(mode) {
        let harness = Harness::on_sockets(mode, ServerFault::AnswerWith(beginning), Config::new(), PATIENCE).await;
        expect_hint(&harness, hint).await;
        harness.finish().await;
    }
}

/// Returns a header of a reply to a get with opaque 0: it is rejected before the request is looked up.
fn header(body_length: u32, key_length: u16, extras_length: u8) -> Bytes {
    let header = Header { body_length, key_length, extras_length, ..Header::response(Opcode::GET, Status::NoError) };
    Bytes::copy_from_slice(&header.to_bytes())
}
