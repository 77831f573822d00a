//! A child process: measures one client in one scenario, and prints one line of JSON.

use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::time::{ClockId, clock_gettime};

use crate::adapter::{self, Adapter, Entry, Footprint, Setup};
use crate::probe::{self, Probe};
use crate::report::Report;
use crate::workload::Workload;

/// Runs the client in another thread, and takes the measurements in this one.
pub(crate) fn measure(entry: Entry, setup: Setup, seconds: f64) -> Result<Report> {
    raise_open_files()?;
    let mut probe = Probe::from_environment()?;
    let workload = Arc::new(workload(entry, &setup));
    let (ready, is_ready) = mpsc::channel();
    let (ended, has_ended) = mpsc::channel();
    let shared = Arc::clone(&workload);
    thread::spawn(move || ended.send(adapter::start(entry, &setup, &shared, &ready)));

    wait_until_ready(&is_ready, &has_ended)?;
    let warm_up = Snapshot::warm_up(&workload);
    probe.begin()?;
    let begin = Snapshot::take(&workload);
    workload.measure(sampling_interval(&warm_up, &begin));
    thread::sleep(Duration::from_secs_f64(seconds));
    wait_for_a_result(&workload);
    let end = Snapshot::take(&workload);
    probe.end()?;
    workload.stop();
    let ended = has_ended.recv_timeout(STOP_TIMEOUT).context("the callers did not stop")?;
    ended?;
    Ok(report(&workload, &begin, &end))
}

/// Holds idle connections, and measures their memory.
pub(crate) fn measure_idle(entry: Entry, setup: &Setup, seconds: f64) -> Result<Footprint> {
    raise_open_files()?;
    adapter::measure_idle(entry, setup, Duration::from_secs_f64(seconds))
}

fn workload(entry: Entry, setup: &Setup) -> Workload {
    let scenario = setup.scenario;
    match entry.profile.adapter {
        Adapter::Lockstep => Workload::new(scenario, 1, scenario.depth()),
        _ => Workload::new(scenario, scenario.callers, scenario.batch),
    }
}

/// Raises the limit of open files: 4,096 connections need more than the usual soft limit of 1,024.
fn raise_open_files() -> Result<()> {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    setrlimit(Resource::Nofile, raised).context("raising the limit of open files")
}

fn wait_until_ready(ready: &Receiver<()>, ended: &Receiver<Result<()>>) -> Result<()> {
    match ready.recv_timeout(CONNECT_TIMEOUT) {
        Ok(()) => Ok(()),
        Err(RecvTimeoutError::Timeout) => bail!("the client did not connect within {CONNECT_TIMEOUT:?}"),
        // The client ended before it was ready; its result has the reason.
        Err(RecvTimeoutError::Disconnected) => match ended.recv() {
            Ok(Err(error)) => Err(error),
            _ => Err(anyhow!("the client's thread panicked")),
        },
    }
}

/// Waits for the first result, without which there is no rate and no latency: on a busy machine a short measurement may
/// be over before a call is.
fn wait_for_a_result(workload: &Workload) {
    let start = Instant::now();
    while !workload.has_result() && start.elapsed() < STOP_TIMEOUT {
        thread::sleep(Duration::from_millis(1));
    }
}

/// The resources used and the operations done up to one instant.
struct Snapshot {
    at: Instant,
    cpu: Duration,
    ops: u64,
    allocations: Option<u64>,
}

impl Snapshot {
    fn take(workload: &Workload) -> Self {
        let allocations = probe::allocations();
        Self { at: Instant::now(), cpu: process_cpu(), ops: workload.ops(), allocations }
    }

    /// Lets the client warm up, and returns a snapshot taken in the middle of that time.
    fn warm_up(workload: &Workload) -> Self {
        thread::sleep(WARM_UP / 2);
        let halfway = Self::take(workload);
        thread::sleep(WARM_UP / 2);
        halfway
    }
}

/// Returns n such that recording the latency of every n-th call costs less than one percent of a core.
fn sampling_interval(from: &Snapshot, to: &Snapshot) -> u32 {
    let rate = (to.ops - from.ops) as f64 / (to.at - from.at).as_secs_f64();
    (rate / LATENCIES_PER_SECOND).ceil() as u32
}

fn process_cpu() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec as u32)
}

fn report(workload: &Workload, begin: &Snapshot, end: &Snapshot) -> Report {
    let faults = workload.faults();
    Report {
        ops: end.ops - begin.ops,
        claimed: workload.ops(),
        seconds: (end.at - begin.at).as_secs_f64(),
        cpu_micros: (end.cpu - begin.cpu).as_secs_f64() * 1e6,
        server_cpu_micros_per_op: 0.0,
        p50: workload.latency(0.5),
        p99: workload.latency(0.99),
        p999: workload.latency(0.999),
        wrong: faults.wrong,
        failed: faults.failed,
        first_fault: faults.first,
        allocations: end.allocations.zip(begin.allocations).map(|(end, begin)| end - begin),
    }
}

const WARM_UP: Duration = Duration::from_millis(200);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(60);
const STOP_TIMEOUT: Duration = Duration::from_secs(30);
const LATENCIES_PER_SECOND: f64 = 50_000.0;
