//! Rows 3 to 9: what a server may do to its replies.

use std::time::Duration;

use bytes::Bytes;
use remcache::proto::binary::{Header, Opcode};
use remcache::{Config, Delivery, ErrorKind, Status};
use remcache_testkit::seed;

use crate::faults_support::conduct::{Conduct, Ending, Lie, babble};
use crate::faults_support::trial::{FRAMES_OF_A_ROUND, OUTCOMES_OF_A_ROUND, Trial};

const DEADLINE: Duration = Duration::from_secs(1);

fn is_disconnected(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::Disconnected(_))
}

fn is_disconnected_or_late(kind: ErrorKind) -> bool {
    is_disconnected(kind) || kind == ErrorKind::TimedOut(Delivery::MaybeSent)
}

/// The length of what a server sends in one round.
async fn length_of_a_round() -> usize {
    let trial = Trial::in_memory(Conduct::Honest, Config::new(), DEADLINE);
    let tally = trial.round().await;
    assert_eq!((tally.succeeded, tally.errors.len()), (OUTCOMES_OF_A_ROUND, 0));
    let (frames, length) = trial.world.store().answered();
    assert_eq!(frames, FRAMES_OF_A_ROUND);
    length
}

async fn cut_at_every_byte(how: Ending) {
    let length = length_of_a_round().await;
    for after in 0..=length {
        let trial = Trial::in_memory(Conduct::Cuts(after, how), Config::new(), DEADLINE);
        let tally = trial.round().await;
        tally.assert_errors(is_disconnected);
        assert_eq!(tally.succeeded + tally.errors.len(), OUTCOMES_OF_A_ROUND);
        assert!(after == length || !tally.errors.is_empty(), "cut after {after} bytes");
        trial.end().await;
    }
}

#[tokio::test(start_paused = true)]
async fn row_04_fin_mid_reply_at_every_byte() {
    cut_at_every_byte(Ending::Fin).await;
}

#[tokio::test(start_paused = true)]
async fn row_03_rst_mid_reply_at_every_byte() {
    cut_at_every_byte(Ending::Rst).await;
}

/// A client that connects again at once: what is tested is the fault, not the wait after it.
fn eager() -> Config {
    Config::new().reconnect_delay(Duration::from_millis(1), Duration::from_millis(5))
}

/// On sockets a cut is met at every byte too; every fiftieth client lives on after it.
async fn cut_sockets_at_every_byte(how: Ending) {
    for after in 0..=length_of_a_round().await {
        let trial = Trial::on_sockets(Conduct::Cuts(after, how), eager(), DEADLINE).await;
        let tally = trial.round().await;
        tally.assert_errors(is_disconnected);
        assert_eq!(tally.succeeded + tally.errors.len(), OUTCOMES_OF_A_ROUND);
        if after % 50 == 0 {
            trial.end().await;
        }
    }
}

#[tokio::test]
async fn row_04_fin_mid_reply_at_every_byte_of_a_socket() {
    cut_sockets_at_every_byte(Ending::Fin).await;
}

#[tokio::test]
async fn row_03_rst_mid_reply_at_every_byte_of_a_socket() {
    cut_sockets_at_every_byte(Ending::Rst).await;
}

/// A large value has memory of its own, and is given as a whole or not at all.
#[tokio::test(start_paused = true)]
async fn row_04_a_large_value_is_never_short() {
    for how in [Ending::Fin, Ending::Rst] {
        for after in (0..9_000).step_by(97).chain(8_990..9_028) {
            let trial = Trial::in_memory(Conduct::Cuts(after, how), Config::new(), DEADLINE);
            let tally = trial.get("fixed:L").await;
            tally.assert_errors(is_disconnected);
            assert_eq!(tally.errors.len(), 1, "cut after {after} bytes");
            trial.end().await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn row_05_one_byte_at_a_time_and_random_splits() {
    let seed = seed();
    let mut rng = seed.rng();
    for case in 0..400 {
        let longest = [1, 2, 7, 30, 1000][case % 5];
        let trial = Trial::in_memory(Conduct::Splits(longest, rng.u64(..)), Config::new(), DEADLINE);
        let (tally, large) = tokio::join!(trial.round(), trial.get("fixed:L"));
        assert_eq!((tally.succeeded, large.succeeded), (OUTCOMES_OF_A_ROUND, 1), "pieces of up to {longest}");
        assert_eq!(trial.world.accepted(), 1);
        trial.end().await;
    }
}

#[tokio::test]
async fn row_05_one_byte_at_a_time_and_random_splits_of_a_socket() {
    let seed = seed();
    let mut rng = seed.rng();
    for longest in [1, 1, 2, 3, 7, 30, 100, 1000].repeat(5) {
        let conduct = Conduct::Splits(longest, rng.u64(..));
        let trial = Trial::on_sockets(conduct, eager(), Duration::from_secs(20)).await;
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

#[tokio::test(start_paused = true)]
async fn row_06_garbage() {
    let seed = seed();
    let mut rng = seed.rng();
    for _ in 0..500 {
        garbage(Trial::in_memory(Conduct::Says(babble(&mut rng)), Config::new(), DEADLINE)).await;
    }
}

#[tokio::test]
async fn row_06_garbage_on_a_socket() {
    let seed = seed();
    let mut rng = seed.rng();
    for _ in 0..50 {
        let conduct = Conduct::Says(babble(&mut rng));
        garbage(Trial::on_sockets(conduct, eager(), Duration::from_millis(100)).await).await;
    }
}

async fn lie_to(trial: Trial, lie: Lie) {
    let tally = trial.round().await;
    tally.assert_errors(is_disconnected_or_late);
    assert_eq!(tally.succeeded + tally.errors.len(), OUTCOMES_OF_A_ROUND);
    if let Lie::ChangesOpcode | Lie::ChangesOpaque | Lie::Withholds = lie {
        assert!(!tally.errors.is_empty(), "{lie:?}: a lie about a reply was believed");
    }
    trial.end().await;
}

#[tokio::test(start_paused = true)]
async fn row_07_swapped_repeated_missing_and_changed_replies() {
    let seed = seed();
    let mut rng = seed.rng();
    for lie in Lie::ALL {
        for _ in 0..500 {
            lie_to(Trial::in_memory(Conduct::Lies(lie, rng.u64(..)), Config::new(), DEADLINE), lie).await;
        }
    }
}

#[tokio::test]
async fn row_07_swapped_repeated_missing_and_changed_replies_on_a_socket() {
    let seed = seed();
    let mut rng = seed.rng();
    for lie in Lie::ALL {
        for _ in 0..167 {
            let conduct = Conduct::Lies(lie, rng.u64(..));
            lie_to(Trial::on_sockets(conduct, eager(), Duration::from_millis(100)).await, lie).await;
        }
    }
}

/// What answers instead of memcached, and the word by which the error names it.
const STRANGERS: [(&[u8], &str); 7] = [
    (b"\x80\x00\x00\x05\x00\x00\x00\x00\x00\x00\x00\x05\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00Hello", "echo"),
    (b"ERROR Too many open connections\r\n", "too many open connections"),
    (b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n", "HTTP"),
    (b"\x15\x03\x01\x00\x02\x02\x0a", "TLS"),
    (b"\x16\x03\x03\x00\x31\x02", "TLS"),
    (b"SSH-2.0-OpenSSH_9.2\r\n", "text"),
    (b"-ERR unknown command\r\n", "no memcached"),
];

#[tokio::test(start_paused = true)]
async fn row_08_wrong_magic_is_named() {
    for (greeting, hint) in STRANGERS {
        let trial = Trial::in_memory(Conduct::Says(Bytes::from_static(greeting)), Config::new(), DEADLINE);
        expect_hint(&trial, hint).await;
        trial.end().await;
    }
}

#[tokio::test]
async fn row_08_wrong_magic_is_named_on_a_socket() {
    for (greeting, hint) in STRANGERS {
        let conduct = Conduct::Says(Bytes::from_static(greeting));
        let trial = Trial::on_sockets(conduct, Config::new(), DEADLINE).await;
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
            assert_eq!(error.may_have_executed(), round == 0, "{text}");
        }
    }
}

/// Headers whose lengths cannot be: the body's, the key's, the extras', and the words of the error.
const LENGTHS: [(u32, u16, u8, &str); 6] = [
    (u32::MAX, 0, 4, "announces"),
    (u32::MAX, u16::MAX, u8::MAX, "announces"),
    ((1 << 20) + 1025, 0, 4, "announces"),
    (3, 4, 0, "longer than its body"),
    (0, 0, 4, "longer than its body"),
    (65_789, u16::MAX, u8::MAX, "longer than its body"),
];

#[tokio::test(start_paused = true)]
async fn row_09_lengths_that_cannot_be() {
    for (body, key, extras, hint) in LENGTHS {
        let trial = Trial::in_memory(Conduct::Says(header(body, key, extras)), Config::new(), DEADLINE);
        expect_hint(&trial, hint).await;
        trial.end().await;
    }
}

#[tokio::test]
async fn row_09_lengths_that_cannot_be_on_a_socket() {
    for (body, key, extras, hint) in LENGTHS {
        let trial = Trial::on_sockets(Conduct::Says(header(body, key, extras)), Config::new(), DEADLINE).await;
        expect_hint(&trial, hint).await;
        trial.end().await;
    }
}

/// A reply's header to a get whose opaque is 0: it is refused before anybody is looked for.
fn header(body_length: u32, key_length: u16, extras_length: u8) -> Bytes {
    let header = Header { body_length, key_length, extras_length, ..Header::response(Opcode::GET, Status::NoError) };
    Bytes::copy_from_slice(&header.to_bytes())
}
