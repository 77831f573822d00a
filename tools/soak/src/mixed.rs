//! A mixed load of all operations on real servers that are killed, stopped and started again.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use fastrand::Rng;
use remcache::config::ProtocolSetting;
use remcache::{Client, Config};
use remcache_testkit::Memcached;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::Order;
use crate::memory::Memory;
use crate::trouble::{self, Lives};
use crate::worker::{Shared, Worker};
use remcache_testkit::history::History;

const SERVERS: usize = 3;
const PROTOCOLS: [ProtocolSetting; 3] = [ProtocolSetting::Binary, ProtocolSetting::Meta, ProtocolSetting::Text];
const WORKERS: usize = 16;
/// How often it is told how far the run is.
const REPORT: Duration = Duration::from_secs(10);

/// Works for as long as it was ordered, on each protocol at once.
///
/// # Errors
/// The first thing that was wrong.
pub(crate) async fn run(order: Order) -> Result<(), String> {
    let mut rng = Rng::with_seed(order.seed);
    let servers: Vec<_> = (0..SERVERS).map(|_| (Memcached::start(&[]), Lives::default())).collect();
    let lives: Vec<_> = servers.iter().map(|(server, lives)| (server.addr(), lives.clone())).collect();
    let lives = Arc::new(lives);
    let start = Instant::now();
    let shared = Arc::new(Shared {
        history: History::default(),
        end: start + order.length,
        patience: order.timeout * 3 + Duration::from_secs(20),
        operations: AtomicU64::new(0),
        errors: AtomicU64::new(0),
    });
    let mut clients = Vec::new();
    let mut workers = JoinSet::new();
    for protocol in PROTOCOLS {
        let config = Config::new().protocol(protocol).timeout(order.timeout).seed(rng.u64(..));
        let addresses = lives.iter().map(|(address, _)| address);
        let client = Client::with_config(addresses, config).map_err(|error| format!("no client: {error}"))?;
        let names: Vec<_> = (0..WORKERS).map(|n| format!("{protocol}:{n}")).collect();
        for name in &names {
            let worker = Worker {
                shared: Arc::clone(&shared),
                client: client.clone(),
                name: name.clone(),
                neighbours: names.clone(),
                lives: Arc::clone(&lives),
                rng: rng.fork(),
                starts_counters: protocol != ProtocolSetting::Text,
            };
            workers.spawn(worker.run());
        }
        clients.push(client);
    }
    let troubles = tokio::spawn(trouble::make(servers, rng.fork(), shared.end));
    let watch = tokio::spawn(watch(Arc::clone(&shared), start));
    while let Some(outcome) = workers.join_next().await {
        outcome.map_err(|error| format!("a caller panicked: {error}"))??;
    }
    let (_servers, troubles) = troubles.await.map_err(|error| error.to_string())?;
    let memory = watch.await.map_err(|error| error.to_string())?;
    let reconnects: u64 = clients.iter().flat_map(Client::servers).map(|server| server.metrics().reconnects).sum();
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let (operations, seconds) = (count(&shared.operations), start.elapsed().as_secs_f64());
    println!("operations:    {operations} in {seconds:.0} s, {:.0} a second", operations as f64 / seconds);
    println!("wrong values:  0");
    println!("errors:        {}", count(&shared.errors));
    println!("troubles:      {} kills, {} stops", troubles.kills, troubles.stops);
    println!("reconnects:    {reconnects}");
    match (memory.last(), memory.slope()) {
        (Some(kib), Some(slope)) => println!("memory:        {kib:.0} KiB, {slope:+.2} % a minute"),
        _ => println!("memory:        not told by this system, or the run was too short"),
    }
    Ok(())
}

/// Tells how far the run is, and samples the memory.
async fn watch(shared: Arc<Shared>, start: Instant) -> Memory {
    let mut memory = Memory::default();
    let mut reported = start;
    while Instant::now() < shared.end {
        sleep(Duration::from_secs(1)).await;
        memory.sample(start.elapsed().as_secs_f64() / 60.0);
        if reported.elapsed() >= REPORT {
            reported = Instant::now();
            let operations = shared.operations.load(Ordering::Relaxed);
            println!("{:>6.0} s  {operations} operations", start.elapsed().as_secs_f64());
        }
    }
    memory
}
