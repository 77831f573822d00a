//! Rows 3 to 9: what a server may do to its replies, on each protocol.

use std::time::Duration;

use bytes::Bytes;
use remcache::proto::Protocol;
use remcache::proto::binary::{Header, Opcode};
use remcache::{Config, ErrorKind, Status};
use remcache_testkit::seed;

use crate::faults::support::conduct::{Conduct, Ending, Lie, babble};
use crate::faults::support::trial::{OUTCOMES_OF_A_ROUND, Trial};
use crate::support::Speech;
use crate::support::on_each_protocol;

on_each_protocol! {
    #[tokio::test(start_paused = true)]
    row_03_rst_mid_reply_at_every_byte
    row_04_fin_mid_reply_at_every_byte
    row_04_a_large_value_is_never_short
    row_05_one_byte_at_a_time_and_random_splits
    row_06_garbage
    row_07_swapped_repeated_missing_and_changed_replies
    row_08_strangers_are_named
    row_09_lengths_that_cannot_be
}

on_each_protocol! {
    #[tokio::test]
    row_03_rst_mid_reply_at_every_byte_of_a_socket
    row_04_fin_mid_reply_at_every_byte_of_a_socket
    row_05_one_byte_at_a_time_and_random_splits_of_a_socket
    row_06_garbage_on_a_socket
    row_07_swapped_repeated_missing_and_changed_replies_on_a_socket
    row_08_strangers_are_named_on_a_socket
    row_09_lengths_that_cannot_be_on_a_socket
}

const DEADLINE: Duration = Duration::from_secs(1);

fn is_disconnected(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::Disconnected(_))
}

fn is_disconnected_or_late(kind: ErrorKind) -> bool {
    is_disconnected(kind) || matches!(kind, ErrorKind::TimedOut(_))
}

/// The length of what a server sends in one round.
async fn length_of_a_round(speech: Speech) -> usize {
    let trial = Trial::in_memory(speech, Conduct::Honest, Config::new(), DEADLINE);
    let tally = trial.round().await;
    assert_eq!((tally.succeeded, tally.errors.len()), (OUTCOMES_OF_A_ROUND, 0));
    trial.world.store().answered()
}

async fn cut_at_every_byte(speech: Speech, how: Ending) {
    let length = length_of_a_round(speech).await;
    for after in 0..=length {
        let trial = Trial::in_memory(speech, Conduct::Cuts(after, how), Config::new(), DEADLINE);
        let tally = trial.round().await;
        tally.assert_errors(is_disconnected);
        assert_eq!(tally.succeeded + tally.errors.len(), OUTCOMES_OF_A_ROUND);
        assert!(after == length || !tally.errors.is_empty(), "cut after {after} bytes");
        trial.end().await;
    }
}

async fn row_04_fin_mid_reply_at_every_byte(speech: Speech) {
    cut_at_every_byte(speech, Ending::Fin).await;
}

async fn row_03_rst_mid_reply_at_every_byte(speech: Speech) {
    cut_at_every_byte(speech, Ending::Rst).await;
}

/// A client that connects again at once: what is tested is the fault, not the wait after it.
fn eager() -> Config {
    Config::new().reconnect_delay(Duration::from_millis(1), Duration::from_millis(5))
}

/// On sockets a cut is met at every byte too; every fiftieth client lives on after it.
async fn cut_sockets_at_every_byte(speech: Speech, how: Ending) {
    for after in 0..=length_of_a_round(speech).await {
        let trial = Trial::on_sockets(speech, Conduct::Cuts(after, how), eager(), DEADLINE).await;
        let tally = trial.round().await;
        tally.assert_errors(is_disconnected);
        assert_eq!(tally.succeeded + tally.errors.len(), OUTCOMES_OF_A_ROUND);
        if after % 50 == 0 {
            trial.end().await;
        }
    }
}

async fn row_04_fin_mid_reply_at_every_byte_of_a_socket(speech: Speech) {
    cut_sockets_at_every_byte(speech, Ending::Fin).await;
}

async fn row_03_rst_mid_reply_at_every_byte_of_a_socket(speech: Speech) {
    cut_sockets_at_every_byte(speech, Ending::Rst).await;
}

/// A large value has memory of its own, and is given as a whole or not at all.
async fn row_04_a_large_value_is_never_short(speech: Speech) {
    let honest = Trial::in_memory(speech, Conduct::Honest, Config::new(), DEADLINE);
    assert_eq!(honest.get("fixed:L").await.succeeded, 1);
    let length = honest.world.store().answered();
    for how in [Ending::Fin, Ending::Rst] {
        for after in (0..length).step_by(97).chain(length - 40..length) {
            let trial = Trial::in_memory(speech, Conduct::Cuts(after, how), Config::new(), DEADLINE);
            let tally = trial.get("fixed:L").await;
            tally.assert_errors(is_disconnected);
            assert_eq!(tally.errors.len(), 1, "cut after {after} bytes");
            trial.end().await;
        }
    }
}

async fn row_05_one_byte_at_a_time_and_random_splits(speech: Speech) {
    let seed = seed();
    let mut rng = seed.rng();
    for case in 0..80 {
        let longest = [1, 2, 7, 30, 1000][case % 5];
        let trial = Trial::in_memory(speech, Conduct::Splits(longest, rng.u64(..)), Config::new(), DEADLINE);
        let (tally, large) = tokio::join!(trial.round(), trial.get("fixed:L"));
        assert_eq!((tally.succeeded, large.succeeded), (OUTCOMES_OF_A_ROUND, 1), "pieces of up to {longest}");
        assert_eq!(trial.world.accepted(), 1);
        trial.end().await;
    }
}

async fn row_05_one_byte_at_a_time_and_random_splits_of_a_socket(speech: Speech) {
    let seed = seed();
    let mut rng = seed.rng();
    for longest in [1, 1, 2, 3, 7, 30, 100, 1000].repeat(5) {
        let conduct = Conduct::Splits(longest, rng.u64(..));
        let trial = Trial::on_sockets(speech, conduct, eager(), Duration::from_secs(20)).await;
        let (tally, large) = tokio::join!(trial.round(), trial.get("fixed:L"));
        assert_eq!((tally.succeeded, large.succeeded), (OUTCOMES_OF_A_ROUND, 1), "pieces of up to {longest}");
        assert_eq!(trial.world.accepted(), 1);
        trial.end().await;
    }
}

async fn garbage(trial: Trial) {
    let tally = trial.round().await;
    tally.assert_errors(is_disconnected_or_late);
    assert_eq!(tally.errors.len(), OUTCOMES_OF_A_ROUND);
    trial.end().await;
}

async fn row_06_garbage(speech: Speech) {
    let seed = seed();
    let mut rng = seed.rng();
    for _ in 0..200 {
        garbage(Trial::in_memory(speech, Conduct::Says(babble(speech.protocol(), &mut rng)), Config::new(), DEADLINE))
            .await;
    }
}

async fn row_06_garbage_on_a_socket(speech: Speech) {
    let seed = seed();
    let mut rng = seed.rng();
    for _ in 0..25 {
        let conduct = Conduct::Says(babble(speech.protocol(), &mut rng));
        garbage(Trial::on_sockets(speech, conduct, eager(), Duration::from_millis(100)).await).await;
    }
}

async fn lie_to(trial: Trial, lie: Lie) {
    let tally = trial.round().await;
    tally.assert_errors(is_disconnected_or_late);
    assert_eq!(tally.succeeded + tally.errors.len(), OUTCOMES_OF_A_ROUND);
    if let Lie::ChangesKind | Lie::ChangesOwner | Lie::Withholds = lie {
        assert!(!tally.errors.is_empty(), "{lie:?}: a lie about a reply was believed");
    }
    trial.end().await;
}

async fn row_07_swapped_repeated_missing_and_changed_replies(speech: Speech) {
    let seed = seed();
    let mut rng = seed.rng();
    for lie in Lie::ALL {
        for _ in 0..120 {
            lie_to(Trial::in_memory(speech, Conduct::Lies(lie, rng.u64(..)), Config::new(), DEADLINE), lie).await;
        }
    }
}

async fn row_07_swapped_repeated_missing_and_changed_replies_on_a_socket(speech: Speech) {
    let seed = seed();
    let mut rng = seed.rng();
    for lie in Lie::ALL {
        for _ in 0..60 {
            let conduct = Conduct::Lies(lie, rng.u64(..));
            lie_to(Trial::on_sockets(speech, conduct, eager(), Duration::from_millis(100)).await, lie).await;
        }
    }
}

/// What answers instead of memcached, and the word by which the error names it.
type Stranger = (&'static [u8], &'static str);

fn strangers(speech: Speech) -> Vec<Stranger> {
    let own: &[Stranger] = match speech.protocol() {
        Protocol::Binary => &[
            (b"\x80\x00\x00\x05\x00\x00\x00\x00\x00\x00\x00\x05\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00Hello", "echo"),
            (b"SSH-2.0-OpenSSH_9.2\r\n", "text"),
            (b"-ERR unknown command\r\n", "no memcached"),
        ],
        _ => &[
            (b"\x81\x00\x00\x00\x00\x00\x00\x81\x00\x00\x00\x0f", "binary"),
            (b"SSH-2.0-OpenSSH_9.2\r\n", "SSH"),
            (b"-ERR unknown command\r\n", "-ERR unknown command"),
            (b"\x00\x00", "no memcached"),
        ],
    };
    [own, EVERYWHERE].concat()
}

/// What is known for what it is whatever the client speaks.
const EVERYWHERE: &[Stranger] = &[
    (b"ERROR Too many open connections\r\n", "too many open connections"),
    (b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n", "HTTP"),
    (b"\x15\x03\x01\x00\x02\x02\x0a", "TLS"),
    (b"\x16\x03\x03\x00\x31\x02", "TLS"),
];

async fn row_08_strangers_are_named(speech: Speech) {
    for (greeting, hint) in strangers(speech) {
        let trial = Trial::in_memory(speech, Conduct::Stranger(Bytes::from_static(greeting)), Config::new(), DEADLINE);
        expect_hint(&trial, hint).await;
        trial.end().await;
    }
}

async fn row_08_strangers_are_named_on_a_socket(speech: Speech) {
    for (greeting, hint) in strangers(speech) {
        let conduct = Conduct::Stranger(Bytes::from_static(greeting));
        let trial = Trial::on_sockets(speech, conduct, Config::new(), DEADLINE).await;
        expect_hint(&trial, hint).await;
        trial.end().await;
    }
}

/// Those whose requests met it hear of it, and so do those who come later.
async fn expect_hint(trial: &Trial, hint: &str) {
    for round in 0..2 {
        let tally = trial.round().await;
        tally.assert_errors(is_disconnected);
        assert_eq!(tally.errors.len(), OUTCOMES_OF_A_ROUND);
        for error in &tally.errors {
            let text = error.to_string();
            assert!(text.contains(hint), "round {round}: {text:?} has no word of {hint:?}");
            let is_sent = round == 0 && !trial.is_stranger_in_text();
            assert_eq!(error.may_have_executed(), is_sent, "{text}");
        }
    }
}

/// Beginnings of replies whose lengths cannot be, and the words of the error.
fn impossible_lengths(speech: Speech) -> Vec<(Bytes, &'static str)> {
    match speech.protocol() {
        Protocol::Binary => {
            HEADERS.iter().map(|&(body, key, extras, hint)| (header(body, key, extras), hint)).collect()
        }
        _ => {
            let announced = |&(length, hint): &(&str, &'static str)| {
                let line = match speech.protocol() {
                    Protocol::Meta => format!("VA {length} f0 c1 O00000000\r\n"),
                    _ => format!("VALUE fixed:0 0 {length} 1\r\n"),
                };
                (line.into(), hint)
            };
            let endless = (vec![b'V'; 9_000].into(), "no end");
            ANNOUNCED.iter().map(announced).chain([endless]).collect()
        }
    }
}

/// The body's length, the key's, the extras'.
const HEADERS: [(u32, u16, u8, &str); 6] = [
    (u32::MAX, 0, 4, "announces"),
    (u32::MAX, u16::MAX, u8::MAX, "announces"),
    ((1 << 20) + 1025, 0, 4, "announces"),
    (3, 4, 0, "longer than its body"),
    (0, 0, 4, "longer than its body"),
    (65_789, u16::MAX, u8::MAX, "longer than its body"),
];

/// The length of a value, as a line tells it.
const ANNOUNCED: [(&str, &str); 7] = [
    ("4294967295", "announces"),
    ("1048577", "announces"),
    ("18446744073709551615", "announces"),
    ("18446744073709551616", "no reply to what was asked"),
    ("-1", "no reply to what was asked"),
    ("1e3", "no reply to what was asked"),
    ("x", "no reply to what was asked"),
];

async fn row_09_lengths_that_cannot_be(speech: Speech) {
    for (beginning, hint) in impossible_lengths(speech) {
        let trial = Trial::in_memory(speech, Conduct::Says(beginning), Config::new(), DEADLINE);
        expect_hint(&trial, hint).await;
        trial.end().await;
    }
}

async fn row_09_lengths_that_cannot_be_on_a_socket(speech: Speech) {
    for (beginning, hint) in impossible_lengths(speech) {
        let trial = Trial::on_sockets(speech, Conduct::Says(beginning), Config::new(), DEADLINE).await;
        expect_hint(&trial, hint).await;
        trial.end().await;
    }
}

/// A reply's header to a get whose opaque is 0: it is refused before anybody is looked for.
fn header(body_length: u32, key_length: u16, extras_length: u8) -> Bytes {
    let header = Header { body_length, key_length, extras_length, ..Header::response(Opcode::GET, Status::NoError) };
    Bytes::copy_from_slice(&header.to_bytes())
}
