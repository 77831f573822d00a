//! What was executed, held against what the client said: nothing is ever sent again.

use std::time::Duration;

use remcache::policy::Retries;
use remcache::{Config, ErrorKind};
use remcache_testkit::seed;

use crate::faults_support::conduct::{Conduct, Ending};
use crate::faults_support::trial::Trial;

const CALLS: usize = 10_000;
const AT_ONCE: usize = 5;

/// The no-op that comes before the callers, and its reply.
const PROBE: usize = 24;
/// An increment's request and its reply, about.
const REQUEST: usize = 60;
const REPLY: usize = 32;

fn eager() -> Config {
    Config::new().reconnect_delay(Duration::from_millis(1), Duration::from_millis(5))
}

/// Increments, each of a counter of its own, on connections that are closed at every byte in turn;
/// at the trial's end each counter is held against what its caller was told.
async fn increments(trial: Trial) {
    let seed = seed();
    let mut rng = seed.rng();
    let (mut succeeded, mut failed) = (0, 0);
    for call in (0..CALLS).step_by(AT_ONCE) {
        // Of two connections one is cut in its replies, the other in what it hears.
        let how = if rng.bool() { Ending::Fin } else { Ending::Rst };
        let conduct = match rng.bool() {
            true => Conduct::Cuts(PROBE + 1 + call / AT_ONCE % (AT_ONCE * REPLY), how),
            false => Conduct::Hears(PROBE + 1 + call / AT_ONCE % (AT_ONCE * REQUEST)),
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
    assert!(succeeded > CALLS / 10 && failed > CALLS / 5, "{succeeded} succeeded, {failed} failed");
    trial.end().await;
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_increments_are_never_repeated() {
    increments(Trial::in_memory(Conduct::Honest, eager(), Duration::from_secs(1))).await;
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_increments_are_never_repeated_whatever_else_may_be() {
    let retries = Retries::up_to(3).sets().deletes().attempt_timeout(Duration::from_millis(300)).budget(1_000_000);
    increments(Trial::in_memory(Conduct::Honest, eager().retries(retries), Duration::from_secs(1))).await;
}

#[tokio::test]
async fn ten_thousand_increments_are_never_repeated_on_sockets() {
    increments(Trial::on_sockets(Conduct::Honest, eager(), Duration::from_millis(50)).await).await;
}
