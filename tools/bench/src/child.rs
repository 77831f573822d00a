//! A child process: one contestant, one scenario, one measured part or idle time, one line of JSON.

use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::time::{ClockId, clock_gettime};

use crate::contestant::{self, Contestant, Entry, Footprint, Setup};
use crate::course::Course;
use crate::probe::{self, Probe};
use crate::report::Report;

/// Runs the contestant in a thread of its own, and watches the clock in this one.
pub(crate) fn measure(entry: Entry, setup: Setup, seconds: f64) -> Result<Report> {
    raise_open_files()?;
    let mut probe = Probe::from_environment()?;
    let course = Arc::new(course(entry, &setup));
    let (ready, is_ready) = mpsc::channel();
    let (ended, has_ended) = mpsc::channel();
    let runners_course = Arc::clone(&course);
    thread::spawn(move || ended.send(contestant::start(entry, &setup, &runners_course, &ready)));

    await_ready(&is_ready, &has_ended)?;
    let warm_up = Snapshot::warm_up(&course);
    probe.begin()?;
    let begin = Snapshot::take(&course);
    course.measure(nth_to_time(&warm_up, &begin));
    thread::sleep(Duration::from_secs_f64(seconds));
    await_a_turn(&course);
    let end = Snapshot::take(&course);
    probe.end()?;
    course.stop();
    let ended = has_ended.recv_timeout(TIME_TO_END).context("callers do not end")?;
    ended?;
    Ok(report(&course, &begin, &end))
}

/// Holds idle connections, and looks what they cost.
pub(crate) fn measure_idle(entry: Entry, setup: &Setup, seconds: f64) -> Result<Footprint> {
    raise_open_files()?;
    contestant::hold(entry, setup, Duration::from_secs_f64(seconds))
}

fn course(entry: Entry, setup: &Setup) -> Course {
    let scenario = setup.scenario;
    match entry.profile.contestant {
        Contestant::Lockstep => Course::new(scenario, 1, scenario.depth()),
        _ => Course::new(scenario, scenario.callers, scenario.batch),
    }
}

/// 4,096 connections need more open files than the usual soft limit of 1,024.
fn raise_open_files() -> Result<()> {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    setrlimit(Resource::Nofile, raised).context("raising the limit of open files")
}

fn await_ready(ready: &Receiver<()>, ended: &Receiver<Result<()>>) -> Result<()> {
    match ready.recv_timeout(TIME_TO_CONNECT) {
        Ok(()) => Ok(()),
        Err(RecvTimeoutError::Timeout) => bail!("not connected after {TIME_TO_CONNECT:?}"),
        // The sender is gone: the contestant ended before it was ready, and says why.
        Err(RecvTimeoutError::Disconnected) => match ended.recv() {
            Ok(Err(error)) => Err(error),
            _ => Err(anyhow!("the contestant's thread panicked")),
        },
    }
}

/// On a busy machine a short part may be over before a turn is; a rate and a latency need one.
fn await_a_turn(course: &Course) {
    let start = Instant::now();
    while !course.has_an_outcome() && start.elapsed() < TIME_TO_END {
        thread::sleep(Duration::from_millis(1));
    }
}

/// What has been used and reached at one moment.
struct Snapshot {
    at: Instant,
    cpu: Duration,
    ops: u64,
    allocations: Option<u64>,
}

impl Snapshot {
    fn take(course: &Course) -> Self {
        let allocations = probe::allocations();
        Self { at: Instant::now(), cpu: process_cpu(), ops: course.ops(), allocations }
    }

    /// Lets the contestant warm up; the snapshot is of halfway, when it has found its speed.
    fn warm_up(course: &Course) -> Self {
        thread::sleep(WARM_UP / 2);
        let halfway = Self::take(course);
        thread::sleep(WARM_UP / 2);
        halfway
    }
}

/// So few latencies are recorded that recording costs nobody a hundredth of a core.
fn nth_to_time(from: &Snapshot, to: &Snapshot) -> u32 {
    let rate = (to.ops - from.ops) as f64 / (to.at - from.at).as_secs_f64();
    (rate / LATENCIES_PER_SECOND).ceil() as u32
}

fn process_cpu() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec as u32)
}

fn report(course: &Course, begin: &Snapshot, end: &Snapshot) -> Report {
    let faults = course.faults();
    Report {
        ops: end.ops - begin.ops,
        claimed: course.ops(),
        seconds: (end.at - begin.at).as_secs_f64(),
        cpu_micros: (end.cpu - begin.cpu).as_secs_f64() * 1e6,
        p50: course.latency(0.5),
        p99: course.latency(0.99),
        p999: course.latency(0.999),
        wrong: faults.wrong,
        failed: faults.failed,
        first_fault: faults.first,
        allocations: end.allocations.zip(begin.allocations).map(|(end, begin)| end - begin),
    }
}

const WARM_UP: Duration = Duration::from_millis(200);
const TIME_TO_CONNECT: Duration = Duration::from_secs(60);
const TIME_TO_END: Duration = Duration::from_secs(30);
const LATENCIES_PER_SECOND: f64 = 50_000.0;
