//! Reconnecting: few attempts while a server is down, and prompt recovery once it is up.

use std::sync::Arc;
use std::time::Duration;

use remcache::{Client, Config, Delivery, ErrorKind};
use remcache_testkit::seed;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use crate::faults::support::fake_network::FakeNetwork;
use crate::faults::support::fake_server::FakeServer;
use crate::faults::support::harness::{Harness, MAX_RECOVERY};
use crate::faults::support::server_fault::{CloseKind, ServerFault};
use crate::support::ProtocolMode;

const CLIENTS: u64 = 1_000;
/// The number of clients that may connect within [`WINDOW`], however long the outage was.
const MAX_CONNECTS: usize = 100;
/// Durations of outages in milliseconds.
const OUTAGES: [u64; 5] = [300, 1_000, 2_000, 5_000, 30_000];
const WINDOW: Duration = Duration::from_millis(100);

/// Sends requests before, during and after an outage. Returns when the first one after it succeeded.
async fn send_requests(client: Client, outage_ends: Instant) -> Instant {
    loop {
        let result = client.get("fixed:1").await;
        if Instant::now() > outage_ends && result.is_ok() {
            return Instant::now();
        }
        sleep(Duration::from_millis(100)).await;
    }
}

/// Returns the largest number of the sorted instants that lie within one window.
fn most_in_a_window(instants: &[Instant], window: Duration) -> usize {
    let in_window = |(at, start): (usize, &Instant)| instants[at..].partition_point(|end| *end - *start < window);
    instants.iter().enumerate().map(in_window).max().unwrap_or_default()
}

/// An outage of a server with a thousand clients.
struct Outage {
    length: Duration,
    end: Instant,
    fakes: Vec<Arc<FakeServer>>,
    recovered: Vec<Instant>,
}

impl Outage {
    async fn simulate(seed: u64, fault: ServerFault, length: Duration) -> Self {
        let fakes: Vec<_> = (0..CLIENTS).map(|_| FakeServer::new(ProtocolMode::Binary, ServerFault::None)).collect();
        let begins = Instant::now() + Duration::from_secs(1);
        let end = begins + length;
        let mut tasks = JoinSet::new();
        for (fake, number) in fakes.iter().zip(0..) {
            let config = ProtocolMode::Binary
                .config(Config::new())
                .seed(seed.wrapping_add(number))
                .connector(FakeNetwork::new([("server", Arc::clone(fake))]));
            tasks.spawn(send_requests(Client::with_config(["server"], config).expect("a valid configuration"), end));
        }
        sleep_until(begins).await;
        fakes.iter().for_each(|fake| fake.set_fault(fault.clone()));
        fakes.iter().for_each(|fake| fake.reset_connections());
        sleep_until(end).await;
        fakes.iter().for_each(|fake| fake.set_fault(ServerFault::None));
        fakes.iter().for_each(|fake| fake.reset_connections());
        let mut recovered = tasks.join_all().await;
        recovered.sort_unstable();
        Self { length, end, fakes, recovered }
    }

    /// Returns the number of attempts of each client during the outage.
    fn attempts(&self) -> Vec<usize> {
        let during = |fake: &Arc<FakeServer>| {
            let started = fake.attempts().started();
            started.iter().filter(|at| **at > self.end - self.length && **at < self.end).count()
        };
        self.fakes.iter().map(during).collect()
    }

    /// Returns when the clients connected after the outage.
    fn connects(&self) -> Vec<Instant> {
        let after = |fake: &Arc<FakeServer>| fake.attempts().started().into_iter().filter(|at| *at >= self.end);
        let mut connects: Vec<_> = self.fakes.iter().flat_map(after).collect();
        connects.sort_unstable();
        connects
    }
}

async fn reconnect_with_backoff(fault: ServerFault) {
    let seed = seed();
    for length in OUTAGES.map(Duration::from_millis) {
        let outage = Outage::simulate(seed.value(), fault.clone(), length).await;
        let connects = outage.connects();
        assert_eq!(connects.len() as u64, CLIENTS, "one connection each");
        let worst = most_in_a_window(&connects, WINDOW);
        let slowest = *outage.recovered.last().expect("there are clients") - outage.end;
        let most = outage.attempts().into_iter().max().unwrap_or_default();
        assert!(worst <= MAX_CONNECTS, "{worst} of {CLIENTS} clients connect within {WINDOW:?} after {length:?}");
        // Each client sends a request every 100 ms, so it may notice that much later.
        assert!(slowest <= MAX_RECOVERY + WINDOW, "the last client works {slowest:?} after {length:?}");
        assert!(most <= 20, "a client tried {most} times in {length:?}");
        let at_once = outage.fakes.iter().map(|fake| fake.attempts().max_concurrent()).max();
        assert_eq!(at_once, Some(1), "a connection has one attempt at a time");
    }
}

#[tokio::test(start_paused = true)]
async fn a_thousand_clients_of_a_server_that_refuses_reconnect_with_backoff() {
    reconnect_with_backoff(ServerFault::RefuseConnections).await;
}

#[tokio::test(start_paused = true)]
async fn a_thousand_clients_of_a_server_that_is_unreachable_reconnect_with_backoff() {
    reconnect_with_backoff(ServerFault::Unreachable).await;
}

#[tokio::test(start_paused = true)]
async fn a_thousand_clients_of_a_server_that_closes_connections_reconnect_with_backoff() {
    reconnect_with_backoff(ServerFault::CloseAfterSending(0, CloseKind::Fin)).await;
}

#[tokio::test(start_paused = true)]
async fn a_thousand_clients_of_a_full_server_reconnect_with_backoff() {
    reconnect_with_backoff(ServerFault::AnswerWith("ERROR Too many open connections\r\n".into())).await;
}

/// Existing connections keep their fault: only a new connection finds the recovered server.
#[tokio::test(start_paused = true)]
async fn a_client_recovers_in_time_however_long_the_fault_lasted() {
    let seed = seed();
    let faults = [
        ServerFault::RefuseConnections,
        ServerFault::Unreachable,
        ServerFault::NeverAnswer,
        ServerFault::NeverRead,
        ServerFault::CloseAfterSending(10, CloseKind::Rst),
        ServerFault::AnswerWith("HTTP/1.1 400 Bad Request".into()),
    ];
    let mut rng = seed.rng();
    for fault in faults {
        for outage in [0, 50, 500, 1_500, 4_000, 10_000, 30_000, 60_000].repeat(5) {
            let outage = Duration::from_millis(outage + rng.u64(..1_000));
            let harness = Harness::in_memory(
                ProtocolMode::Binary,
                ServerFault::None,
                Config::new().seed(rng.u64(..)),
                Duration::from_secs(1),
            );
            harness.run_all_operations().await;
            harness.fake.set_fault(fault.clone());
            harness.fake.reset_connections();
            let ends = Instant::now() + outage;
            while Instant::now() < ends {
                harness.get("fixed:1").await;
                sleep(Duration::from_millis(20)).await;
            }
            harness.finish().await;
        }
    }
}

/// A server that accepts connections and never answers is down: callers are admitted only after a reply.
#[tokio::test(start_paused = true)]
async fn a_server_that_accepts_and_never_answers_gets_no_requests() {
    for fault in [ServerFault::NeverAnswer, ServerFault::NeverRead, ServerFault::Unreachable] {
        let harness = Harness::in_memory(ProtocolMode::Binary, fault, Config::new(), Duration::from_secs(1));
        while harness.client.is_usable() {
            harness.get("fixed:1").await;
        }
        for _ in 0..3_000 {
            let start = Instant::now();
            let results = harness.get("fixed:1").await;
            results.assert_errors(|kind| kind == ErrorKind::Disconnected(Delivery::NotSent));
            assert_eq!((results.errors.len(), start.elapsed()), (1, Duration::ZERO), "the server is known to be down");
            sleep(Duration::from_millis(10)).await;
        }
        assert!(harness.fake.attempts().started().len() > 5);
        harness.finish().await;
    }
}

/// A server that repeatedly goes down and comes up is used whenever it is up.
#[tokio::test(start_paused = true)]
async fn a_flapping_server_is_used_whenever_it_is_up() {
    let seed = seed();
    let mut rng = seed.rng();
    let harness = Harness::in_memory(
        ProtocolMode::Binary,
        ServerFault::None,
        Config::new().seed(rng.u64(..)),
        Duration::from_secs(1),
    );
    for _ in 0..2_000 {
        harness.fake.set_fault(ServerFault::RefuseConnections);
        harness.fake.reset_connections();
        sleep(Duration::from_millis(rng.u64(..200))).await;
        harness.get("fixed:1").await;
        harness.recover().await;
    }
    harness.finish().await;
}
