//! A mixed load of all operations on real servers that are killed, stopped and restarted.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use fastrand::Rng;
use remcache::config::ProtocolSetting;
use remcache::{Client, Config};
use remcache_testkit::Memcached;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::Settings;
use crate::faults::{self, Epoch, FaultCounts};
use crate::memory::Memory;
use crate::worker::{Shared, Worker};

const SERVERS: usize = 3;
const PROTOCOLS: [ProtocolSetting; 3] = [ProtocolSetting::Binary, ProtocolSetting::Meta, ProtocolSetting::Text];
const WORKERS: usize = 16;
/// The interval of progress reports.
const REPORT_INTERVAL: Duration = Duration::from_secs(10);

/// Runs the load for the given duration, with all protocols at the same time: on this runtime, or with
/// `short_runtimes` on many that start and end.
///
/// # Errors
/// The first wrong result.
pub(crate) async fn run(settings: Settings, short_runtimes: bool) -> Result<(), String> {
    let mut rng = Rng::with_seed(settings.seed);
    let servers: Vec<_> = (0..SERVERS).map(|_| (Memcached::start(&[]), Epoch::default())).collect();
    let epochs: Vec<_> = servers.iter().map(|(server, epoch)| (server.addr(), epoch.clone())).collect();
    let start = Instant::now();
    let shared = Arc::new(Shared::new(start + settings.duration, settings.timeout));
    let (clients, workers) = create_workers(&shared, &Arc::new(epochs), &mut rng)?;
    let mut tasks = JoinSet::new();
    for worker in workers {
        match short_runtimes {
            true => tasks.spawn_blocking(|| worker.run_on_short_runtimes()),
            false => tasks.spawn(worker.run()),
        };
    }
    let faults = tokio::spawn(faults::inject(servers, rng.fork(), shared.end));
    let memory = tokio::spawn(report_progress(Arc::clone(&shared), start));
    while let Some(result) = tasks.join_next().await {
        result.map_err(|error| format!("a caller panicked: {error}"))??;
    }
    let (_servers, faults) = faults.await.map_err(|error| error.to_string())?;
    let memory = memory.await.map_err(|error| error.to_string())?;
    let reconnects = clients.iter().flat_map(Client::servers).map(|server| server.metrics().reconnects).sum();
    print_totals(&shared, start.elapsed(), short_runtimes);
    print_events(faults, reconnects, &memory);
    Ok(())
}

/// Creates a client for each protocol, and the workers that use it.
fn create_workers(
    shared: &Arc<Shared>,
    epochs: &Arc<Vec<(String, Epoch)>>,
    rng: &mut Rng,
) -> Result<(Vec<Client>, Vec<Worker>), String> {
    let (mut clients, mut workers) = (Vec::new(), Vec::new());
    for protocol in PROTOCOLS {
        let config = Config::new().protocol(protocol).timeout(shared.timeout).seed(rng.u64(..));
        let addresses = epochs.iter().map(|(address, _)| address);
        let client =
            Client::with_config(addresses, config).map_err(|error| format!("cannot create a client: {error}"))?;
        let names: Vec<_> = (0..WORKERS).map(|n| format!("{protocol}:{n}")).collect();
        workers.extend(names.iter().map(|name| Worker {
            shared: Arc::clone(shared),
            client: client.clone(),
            name: name.clone(),
            other_names: names.clone(),
            epochs: Arc::clone(epochs),
            rng: rng.fork(),
            can_create_counters: protocol != ProtocolSetting::Text,
        }));
        clients.push(client);
    }
    Ok((clients, workers))
}

/// Prints the totals of all callers.
fn print_totals(shared: &Shared, elapsed: Duration, short_runtimes: bool) {
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let (operations, seconds) = (count(&shared.operations), elapsed.as_secs_f64());
    println!("operations:    {operations} in {seconds:.0} s, {:.0} per second", operations as f64 / seconds);
    println!("wrong values:  0");
    println!("errors:        {}", count(&shared.errors));
    let latest = shared.latest.lock().unwrap_or_else(PoisonError::into_inner);
    println!("late:          at most {} ms after the deadline {}", latest.by.as_millis(), latest.name);
    if short_runtimes {
        println!("runtimes:      {}", count(&shared.runtimes));
        println!("dropped calls: {}", count(&shared.dropped));
    }
}

/// Prints the injected faults, the reconnects of all clients, and the memory of this process.
fn print_events(faults: FaultCounts, reconnects: u64, memory: &Memory) {
    println!("faults:        {} kills, {} stops", faults.kills, faults.stops);
    println!("reconnects:    {reconnects}");
    match (memory.last(), memory.slope()) {
        (Some(kib), Some(slope)) => println!("memory:        {kib:.0} KiB, {slope:+.2} % per minute"),
        _ => println!("memory:        unknown, or the run was too short"),
    }
}

/// Prints the progress, and samples the memory.
async fn report_progress(shared: Arc<Shared>, start: Instant) -> Memory {
    let mut memory = Memory::default();
    let mut reported = start;
    while Instant::now() < shared.end {
        sleep(Duration::from_secs(1)).await;
        memory.sample(start.elapsed().as_secs_f64() / 60.0);
        if reported.elapsed() >= REPORT_INTERVAL {
            reported = Instant::now();
            let operations = shared.operations.load(Ordering::Relaxed);
            println!("{:>6.0} s  {operations} operations", start.elapsed().as_secs_f64());
        }
    }
    memory
}
