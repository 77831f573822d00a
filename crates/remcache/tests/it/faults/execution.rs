//! What was executed, held against what the client said: nothing is ever sent again.

use std::time::Duration;

use remcache::policy::Retries;
use remcache::proto::Protocol;
use remcache::{Config, ErrorKind};
use remcache_testkit::seed;

use crate::faults::support::conduct::{Conduct, Ending};
use crate::faults::support::trial::Trial;
use crate::support::Speech;
use crate::support::on_each_protocol;

on_each_protocol! {
    #[tokio::test(start_paused = true)]
    ten_thousand_increments_are_never_repeated
    ten_thousand_increments_are_never_repeated_whatever_else_may_be
}

on_each_protocol! {
    #[tokio::test]
    ten_thousand_increments_are_never_repeated_on_sockets
}

const CALLS: usize = 10_000;
const AT_ONCE: usize = 5;

/// The no-op that comes before the callers, and its reply: how many bytes the longer of them has.
fn probe(speech: Speech) -> usize {
    match speech.protocol() {
        Protocol::Binary => 24,
        Protocol::Meta => "MN\r\n".len(),
        // It is asked for its version three times when it is connected to as well.
        Protocol::Text => 4 * "VERSION 1.6.18\r\n".len(),
    }
}

/// The lengths of an increment's request and of its reply, about.
fn lengths(speech: Speech) -> (usize, usize) {
    match speech.protocol() {
        Protocol::Binary => (60, 32),
        Protocol::Meta => (40, 22),
        Protocol::Text => (20, "1\r\n".len()),
    }
}

fn eager() -> Config {
    Config::new().reconnect_delay(Duration::from_millis(1), Duration::from_millis(5))
}

/// Increments, each of a counter of its own, on connections that are closed at every byte in turn;
/// at the trial's end each counter is held against what its caller was told.
async fn increments(trial: Trial) {
    let seed = seed();
    let mut rng = seed.rng();
    let (probe, (request, reply)) = (probe(trial.world.speech()), lengths(trial.world.speech()));
    let (mut succeeded, mut failed) = (0, 0);
    for call in (0..CALLS).step_by(AT_ONCE) {
        // Of two connections one is cut in its replies, the other in what it hears.
        let how = if rng.bool() { Ending::Fin } else { Ending::Rst };
        let conduct = match rng.bool() {
            true => Conduct::Cuts(probe + 1 + call / AT_ONCE % (AT_ONCE * reply), how),
            false => Conduct::Hears(probe + 1 + call / AT_ONCE % (AT_ONCE * request)),
        };
        trial.world.change(conduct);
        while !trial.client.is_usable() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let tally = trial.increments(AT_ONCE).await;
        tally.assert_errors(|kind| matches!(kind, ErrorKind::Disconnected(_) | ErrorKind::TimedOut(_)));
        succeeded += tally.succeeded;
        failed += tally.errors.len();
    }
    assert_eq!(succeeded + failed, CALLS);
    assert!(succeeded > CALLS / 20 && failed > CALLS / 5, "{succeeded} succeeded, {failed} failed");
    // The connection of now may have a few bytes left before it is closed.
    trial.world.change(Conduct::Honest);
    trial.world.crash();
    trial.end().await;
}

async fn ten_thousand_increments_are_never_repeated(speech: Speech) {
    increments(Trial::in_memory(speech, Conduct::Honest, eager(), Duration::from_secs(1))).await;
}

async fn ten_thousand_increments_are_never_repeated_whatever_else_may_be(speech: Speech) {
    let retries = Retries::up_to(3).sets().deletes().attempt_timeout(Duration::from_millis(300)).budget(1_000_000);
    increments(Trial::in_memory(speech, Conduct::Honest, eager().retries(retries), Duration::from_secs(1))).await;
}

async fn ten_thousand_increments_are_never_repeated_on_sockets(speech: Speech) {
    increments(Trial::on_sockets(speech, Conduct::Honest, eager(), Duration::from_millis(50)).await).await;
}
