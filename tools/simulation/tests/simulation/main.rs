//! Clients on a simulated network with random partitions, delays, crashes and restarts.
//!
//! Every value read was written, no stored value is missed, every call returns in time, and no request is executed
//! twice or after its error reported that it was not sent. Each seed uses another protocol.
//!
//! `REMCACHE_SEED` is the first seed, `REMCACHE_SEEDS` the number of seeds.

mod network;
mod server;
mod support;
mod workload;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use fastrand::Rng;
use remcache::{Client, Config};
use turmoil::Builder;

use network::{CLIENT, FaultInjector, SimulatedConnector};
use remcache_testkit::history::WriteStatus;
use server::Store;
use workload::Workload;

use crate::support::ProtocolMode;

const SERVERS: [&str; 2] = ["cache_a", "cache_b"];
/// The time during which faults are injected.
const FAULT_TIME: Duration = Duration::from_secs(3);
/// The maximum duration of a simulation.
const MAX_DURATION: Duration = Duration::from_secs(20);

/// Runs one simulation, and returns the statuses of its increments.
fn simulate(seed: u64) -> Vec<(String, WriteStatus)> {
    let mode = ProtocolMode::ALL[usize::try_from(seed % 4).expect("a small number")];
    let mut rng = Rng::with_seed(seed);
    let latency = Duration::from_millis(rng.u64(1..20));
    let mut builder = Builder::new();
    builder.rng_seed(seed).simulation_duration(MAX_DURATION).tcp_capacity(4_096).max_message_latency(latency);
    let mut sim = builder.build();
    let stores: Vec<_> = SERVERS.iter().map(|_| Arc::new(Mutex::new(Store::default()))).collect();
    for (name, store) in SERVERS.into_iter().zip(&stores) {
        let store = Arc::clone(store);
        sim.host(name, move || server::run(mode.protocol(), Arc::clone(&store)));
    }
    let is_fault_free = Arc::new(AtomicBool::new(false));
    let statuses = Arc::new(Mutex::new(Vec::new()));
    sim.client(CLIENT, run_client(seed, mode, Arc::clone(&is_fault_free), Arc::clone(&statuses)));

    let mut faults = SERVERS.map(|server| FaultInjector::new(server, rng.u64(..)));
    while !sim.step().expect("the simulation ends in time") {
        if is_fault_free.load(Ordering::Relaxed) {
            continue;
        }
        if sim.elapsed() >= FAULT_TIME {
            faults.iter_mut().for_each(|fault| fault.end(&mut sim));
            is_fault_free.store(true, Ordering::Relaxed);
        } else {
            faults.iter_mut().for_each(|fault| fault.advance(&mut sim));
        }
    }
    let statuses = statuses.lock().expect("the client has ended").clone();
    check_counters(&statuses, &stores);
    statuses
}

async fn run_client(
    seed: u64,
    mode: ProtocolMode,
    is_fault_free: Arc<AtomicBool>,
    statuses: Arc<Mutex<Vec<(String, WriteStatus)>>>,
) -> turmoil::Result {
    let config = mode.config(Config::new()).seed(seed).connector(SimulatedConnector);
    let client = Client::with_config(SERVERS, config)?;
    let counters = Workload::new(client.clone(), is_fault_free).run(Rng::with_seed(seed)).await;
    *statuses.lock().expect("no task panics with the lock") = counters;
    client.close().await;
    Ok(())
}

/// Compares the executed increments with the statuses that the client reported.
fn check_counters(statuses: &[(String, WriteStatus)], stores: &[Arc<Mutex<Store>>]) {
    assert!(!statuses.is_empty());
    for (key, status) in statuses {
        let executions: u64 = stores.iter().map(|store| store.lock().expect("no server panics").counter(key)).sum();
        let is_consistent = match status {
            WriteStatus::Executed => executions == 1,
            WriteStatus::NotSent => executions == 0,
            WriteStatus::MaybeSent => executions <= 1,
        };
        assert!(is_consistent, "{key} was incremented {executions} times, and the client reported {status:?}");
    }
}

/// Prints the seed of a failed simulation.
struct SeedReport(u64);

impl Drop for SeedReport {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("repeat with REMCACHE_SEED={} REMCACHE_SEEDS=1", self.0);
        }
    }
}

fn number_from_environment(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text} is not a number")))
}

/// Runs simulations, and returns the statuses of all increments.
fn simulate_all(seeds: impl Iterator<Item = u64>) -> Vec<WriteStatus> {
    let simulate = |seed| {
        let _report = SeedReport(seed);
        simulate(seed)
    };
    seeds.flat_map(simulate).map(|(_, status)| status).collect()
}

#[test]
fn every_result_is_correct_whatever_the_network_does() {
    let first = number_from_environment("REMCACHE_SEED").unwrap_or_else(|| fastrand::u64(..u64::MAX / 2));
    let count = number_from_environment("REMCACHE_SEEDS").unwrap_or(DEFAULT_SEEDS);
    let seeds = first..first + count;
    let statuses: Vec<_> = thread::scope(|scope| {
        let halves = [0, 1].map(|half| seeds.clone().skip(half).step_by(2));
        let halves = halves.map(|seeds| scope.spawn(|| simulate_all(seeds)));
        halves.into_iter().flat_map(|half| half.join().expect("every result is correct")).collect()
    });
    let count_of = |status| statuses.iter().filter(|other| **other == status).count();
    println!(
        "{} executed, {} not sent, {} maybe sent",
        count_of(WriteStatus::Executed),
        count_of(WriteStatus::NotSent),
        count_of(WriteStatus::MaybeSent)
    );
    if count >= DEFAULT_SEEDS {
        assert!(
            [WriteStatus::Executed, WriteStatus::NotSent, WriteStatus::MaybeSent]
                .into_iter()
                .all(|status| count_of(status) > 0)
        );
    }
}

const DEFAULT_SEEDS: u64 = 200;
