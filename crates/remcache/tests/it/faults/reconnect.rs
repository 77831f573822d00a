//! Reconnecting: polite while a server is away, and back in time when it is back.

use std::sync::Arc;
use std::time::Duration;

use remcache::{Client, Config, Delivery, ErrorKind};
use remcache_testkit::seed;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use crate::faults::support::conduct::{Conduct, Ending};
use crate::faults::support::net::Net;
use crate::faults::support::serve::World;
use crate::faults::support::trial::{RECOVERY, Trial};
use crate::support::Speech;

const CLIENTS: u64 = 1_000;
/// So many of them may connect in a tenth of a second, however long the outage was.
const ALLOWED: usize = 100;
/// Lengths of outages in milliseconds.
const OUTAGES: [u64; 5] = [300, 1_000, 2_000, 5_000, 30_000];
const WINDOW: Duration = Duration::from_millis(100);

/// A client that works before, during and after an outage; when it first succeeded after it.
async fn work(client: Client, outage_ends: Instant) -> Instant {
    loop {
        let outcome = client.get("fixed:1").await;
        if Instant::now() > outage_ends && outcome.is_ok() {
            return Instant::now();
        }
        sleep(Duration::from_millis(100)).await;
    }
}

/// How many of the sorted instants lie in a window of this length at most.
fn most_in_a_window(instants: &[Instant], window: Duration) -> usize {
    let in_window = |(at, start): (usize, &Instant)| instants[at..].partition_point(|end| *end - *start < window);
    instants.iter().enumerate().map(in_window).max().unwrap_or_default()
}

/// The outage of a server with a thousand clients.
struct Outage {
    length: Duration,
    ended: Instant,
    worlds: Vec<Arc<World>>,
    back: Vec<Instant>,
}

impl Outage {
    async fn simulate(seed: u64, conduct: Conduct, length: Duration) -> Self {
        let worlds: Vec<_> = (0..CLIENTS).map(|_| World::new(Speech::Binary, Conduct::Honest)).collect();
        let begins = Instant::now() + Duration::from_secs(1);
        let ended = begins + length;
        let mut tasks = JoinSet::new();
        for (world, number) in worlds.iter().zip(0..) {
            let config = Speech::Binary
                .config(Config::new())
                .seed(seed.wrapping_add(number))
                .connector(Net::new([("server", Arc::clone(world))]));
            tasks.spawn(work(Client::with_config(["server"], config).expect("a valid configuration"), ended));
        }
        sleep_until(begins).await;
        worlds.iter().for_each(|world| world.change(conduct.clone()));
        worlds.iter().for_each(|world| world.crash());
        sleep_until(ended).await;
        worlds.iter().for_each(|world| world.change(Conduct::Honest));
        worlds.iter().for_each(|world| world.crash());
        let mut back = tasks.join_all().await;
        back.sort_unstable();
        Self { length, ended, worlds, back }
    }

    /// The attempts of each client during the outage.
    fn attempts(&self) -> Vec<usize> {
        let during = |world: &Arc<World>| {
            let begun = world.attempts().begun();
            begun.iter().filter(|at| **at > self.ended - self.length && **at < self.ended).count()
        };
        self.worlds.iter().map(during).collect()
    }

    /// When the clients connected after the outage.
    fn connects(&self) -> Vec<Instant> {
        let after = |world: &Arc<World>| world.attempts().begun().into_iter().filter(|at| *at >= self.ended);
        let mut connects: Vec<_> = self.worlds.iter().flat_map(after).collect();
        connects.sort_unstable();
        connects
    }
}

async fn reconnect_politely(conduct: Conduct) {
    let seed = seed();
    for length in OUTAGES.map(Duration::from_millis) {
        let outage = Outage::simulate(seed.value(), conduct.clone(), length).await;
        let connects = outage.connects();
        assert_eq!(connects.len() as u64, CLIENTS, "one connection each");
        let worst = most_in_a_window(&connects, WINDOW);
        let slowest = *outage.back.last().expect("there are clients") - outage.ended;
        let most = outage.attempts().into_iter().max().unwrap_or_default();
        assert!(worst <= ALLOWED, "{worst} of {CLIENTS} clients connect within {WINDOW:?} after {length:?}");
        // A client asks ten times a second, so it notices up to that much later.
        assert!(slowest <= RECOVERY + WINDOW, "the last client works {slowest:?} after {length:?}");
        assert!(most <= 20, "a client tried {most} times in {length:?}");
        let at_once = outage.worlds.iter().map(|world| world.attempts().most_at_once()).max();
        assert_eq!(at_once, Some(1), "a connection has one attempt at a time");
    }
}

#[tokio::test(start_paused = true)]
async fn a_thousand_clients_of_a_server_that_refuses_reconnect_politely() {
    reconnect_politely(Conduct::Refuses).await;
}

#[tokio::test(start_paused = true)]
async fn a_thousand_clients_of_a_server_that_is_unreachable_reconnect_politely() {
    reconnect_politely(Conduct::Unreachable).await;
}

#[tokio::test(start_paused = true)]
async fn a_thousand_clients_of_a_server_that_hangs_up_reconnect_politely() {
    reconnect_politely(Conduct::Cuts(0, Ending::Fin)).await;
}

#[tokio::test(start_paused = true)]
async fn row_16_a_thousand_clients_of_a_full_server_reconnect_politely() {
    reconnect_politely(Conduct::Says("ERROR Too many open connections\r\n".into())).await;
}

/// What was silent stays silent: only a new connection finds the server well again.
#[tokio::test(start_paused = true)]
async fn a_client_is_back_in_time_however_long_the_fault_was() {
    let seed = seed();
    let faults = [
        Conduct::Refuses,
        Conduct::Unreachable,
        Conduct::Silent,
        Conduct::Deaf,
        Conduct::Cuts(10, Ending::Rst),
        Conduct::Says("HTTP/1.1 400 Bad Request".into()),
    ];
    let mut rng = seed.rng();
    for conduct in faults {
        for outage in [0, 50, 500, 1_500, 4_000, 10_000, 30_000, 60_000].repeat(5) {
            let outage = Duration::from_millis(outage + rng.u64(..1_000));
            let trial = Trial::in_memory(
                Speech::Binary,
                Conduct::Honest,
                Config::new().seed(rng.u64(..)),
                Duration::from_secs(1),
            );
            trial.round().await;
            trial.world.change(conduct.clone());
            trial.world.crash();
            let ends = Instant::now() + outage;
            while Instant::now() < ends {
                trial.get("fixed:1").await;
                sleep(Duration::from_millis(20)).await;
            }
            trial.end().await;
        }
    }
}

/// A server that accepts connections and is silent is down: only an answer lets callers through.
#[tokio::test(start_paused = true)]
async fn a_server_that_only_accepts_gets_no_callers() {
    for conduct in [Conduct::Silent, Conduct::Deaf, Conduct::Unreachable] {
        let trial = Trial::in_memory(Speech::Binary, conduct, Config::new(), Duration::from_secs(1));
        while trial.client.is_usable() {
            trial.get("fixed:1").await;
        }
        for _ in 0..3_000 {
            let start = Instant::now();
            let tally = trial.get("fixed:1").await;
            tally.assert_errors(|kind| kind == ErrorKind::Disconnected(Delivery::NotSent));
            assert_eq!((tally.errors.len(), start.elapsed()), (1, Duration::ZERO), "it is known to be down");
            sleep(Duration::from_millis(10)).await;
        }
        assert!(trial.world.attempts().begun().len() > 5);
        trial.end().await;
    }
}

/// Up and down, again and again: a connection that works now and then is used whenever it does.
#[tokio::test(start_paused = true)]
async fn a_server_that_comes_and_goes_is_found_each_time() {
    let seed = seed();
    let mut rng = seed.rng();
    let trial =
        Trial::in_memory(Speech::Binary, Conduct::Honest, Config::new().seed(rng.u64(..)), Duration::from_secs(1));
    for _ in 0..10_000 {
        trial.world.change(Conduct::Refuses);
        trial.world.crash();
        sleep(Duration::from_millis(rng.u64(..200))).await;
        trial.get("fixed:1").await;
        trial.recover().await;
    }
    trial.end().await;
}
