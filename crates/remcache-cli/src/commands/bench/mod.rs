//! `bench`: measures the servers under load.

mod curve;
#[cfg(feature = "charts")]
mod plot;
mod report;

use std::num::NonZeroU16;
use std::path::{Path, PathBuf};
use std::time::Duration;

use remcache::{Client, Ttl};

use crate::exit::{Exit, Failure, Outcome, print_error};
use crate::load_generator::{LoadModel, LoadRun, Mix, Popularity, Sizes, Threshold, Workload, per_second};
use crate::options::value;
use crate::outcome_counts::OutcomeCounts;
use crate::output::{Notes, Progress, number};
use crate::session::Session;
use report::LoadReport;

/// Measure throughput and latency under load
///
/// By default --depth callers share one connection to each server, and each waits for its reply before its
/// next request (a closed load). With --rate, operations start at planned times and wait for no replies (an
/// open load); latency counts from the planned time, so a stall counts for every operation that it delays.
/// The client runs on one thread, and so on one core; --threads adds more.
///
/// It stores items on the servers, which may evict others: all keys begin with remcache:load:, and expire after
/// --ttl.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  remcache bench --rate 20k --ratio get=9,set=1 --fail-if 'p99>2ms'
  remcache bench --ratio get --dist zipf:1.0 --keys 1m --time 1m

Columns:
  ops, ops/s  operations that were answered, in all and per second
  errors      operations that failed
  hit%        operations that found an item, in percent
  p50, p90, p99, p99.9, p99.99, max
              latency within which that percentage of the operations was
              answered, and the highest
The row total has all operations together, and so has the line of bars on a
terminal: its numbers are latencies, and the bars between two of them show how
many operations took that long.")]
pub(crate) struct Args {
    /// How long to measure
    #[arg(long, alias = "for", value_name = "TIME", default_value = "10s", value_parser = value::duration)]
    time: Duration,

    /// Operations per second, of all operations and servers together: 500, 10k, 1m; an open load instead of a closed one
    #[arg(long, value_name = "N", value_parser = value::rate)]
    rate: Option<u64>,

    /// Connections to each server
    #[arg(long, value_name = "N", default_value = "1", value_parser = small_count)]
    conns: usize,

    /// Number of callers of a closed load, each of which has one request at a time
    #[arg(long, value_name = "N", default_value = "64", value_parser = small_count, conflicts_with = "rate")]
    depth: usize,

    /// Operations and their proportions; there are get, set, add, delete, touch and incr
    #[arg(long, value_name = "MIX", default_value = "get=9,set=1")]
    ratio: Mix,

    /// Number of keys; they are stored before the measurement starts
    #[arg(long, value_name = "N", default_value = "10k", value_parser = value::count)]
    keys: u64,

    /// Distribution of the operations over the keys: uniform, sequential, or zipf:1.0, where a few keys
    /// get most of the operations
    #[arg(long, value_name = "DIST", default_value = "uniform")]
    dist: Popularity,

    /// Size of a value in bytes, or a range of sizes: 100..1k
    #[arg(long, value_name = "BYTES", default_value = "100")]
    size: Sizes,

    /// Time to live of the items
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = value::ttl)]
    ttl: Ttl,

    /// Number of threads of the client (default: 1)
    #[arg(long, value_name = "N")]
    pub(crate) threads: Option<NonZeroU16>,

    /// Write the result to this file as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,

    /// Write the latencies to this file, in the log format of HdrHistogram
    #[arg(long, value_name = "FILE")]
    hdr: Option<PathBuf>,

    /// Draw the latency curve of each operation to this file, as SVG
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,

    /// Exit with 8 if this holds: p99>2ms, set.p99.9>=5ms, max>1s, mean>100us, ops<50k, errors>0, hit%<90
    ///
    /// Can be repeated. A condition is on all operations together, or on one that it names, as set.p99. ops is
    /// their number per second. An interrupted bench exits with 8 too if a condition holds for the operations
    /// until then.
    #[arg(long, value_name = "CONDITION")]
    fail_if: Vec<Threshold>,

    /// Do not ask for confirmation, which is asked for in a production context
    #[arg(short = 'y', long)]
    yes: bool,
}

pub(crate) async fn run(args: &Args, session: &mut Session) -> Outcome {
    #[cfg(not(feature = "charts"))]
    if args.svg.is_some() {
        return Err(Failure::missing("--svg", "charts"));
    }
    args.files().try_for_each(|path| check_path(path))?;
    if !args.yes
        && session.is_production()
        && !session.confirm("load production servers", "Put the servers under load?")?
    {
        return Ok(Exit::No);
    }
    let interrupt = session.interrupt.handled();
    let max_in_flight = args.depth.max(DEFAULT_IN_FLIGHT);
    let client = session.client_with(|config| config.connections(args.conns).max_in_flight(max_in_flight))?;
    let notes = session.output.notes();
    let workload = args.workload();
    let stored = tokio::select! {
        stored = store(&client, &workload, notes) => stored,
        () = interrupt.raised() => return Ok(Exit::Interrupted),
    };
    if stored.yes == 0 {
        stored.report_failures("keys", &mut session.output)?;
        return Ok(stored.exit());
    }
    let mut load = LoadRun::start(&client, &workload, args.pace(), args.time, args.threads());
    tokio::select! {
        () = show_progress(&mut load, args.time, notes) => {}
        () = interrupt.raised() => {
            load.stop();
            load.ended().await;
        }
    }
    let (recorder, elapsed) = load.result();
    let report = LoadReport::new(args, &client, recorder, elapsed);
    report.print(&mut session.output)?;
    report.save(args)?;
    let saved: Vec<String> = args.files().map(|path| path.display().to_string()).collect();
    if !saved.is_empty() {
        notes.say(format_args!("saved: {}", saved.join(", ")));
    }
    let counts = report.counts();
    counts.report_failures("operations", &mut session.output)?;
    report.broken.iter().for_each(print_error);
    Ok(match report.broken.is_empty() {
        true => interrupt.unless_raised(counts.exit()),
        // Also if it was interrupted: the operations until then exceed the threshold.
        false => Exit::Threshold,
    })
}

impl Args {
    fn pace(&self) -> LoadModel {
        self.rate.map_or(LoadModel::Closed(self.depth), LoadModel::Open)
    }

    fn workload(&self) -> Workload {
        Workload { mix: self.ratio.clone(), keys: self.keys, popularity: self.dist, sizes: self.size, ttl: self.ttl }
    }

    /// The files that the result is written to.
    fn files(&self) -> impl Iterator<Item = &PathBuf> {
        [&self.hdr, &self.json, &self.svg].into_iter().flatten()
    }

    fn threads(&self) -> usize {
        self.threads.map_or(1, |threads| threads.get().into())
    }
}

/// Stores all keys, so that fetches hit.
async fn store(client: &Client, workload: &Workload, notes: Notes) -> OutcomeCounts {
    let progress = Progress::new(notes, workload.keys);
    let mut counts = OutcomeCounts::default();
    let count = |stored: &Result<remcache::WriteOutcome, remcache::Error>| match stored {
        Ok(change) => counts.answer(change.is_applied()),
        Err(error) => counts.error(error),
    };
    let show = |done| progress.set(done, format!("storing {} keys", number::exact(workload.keys)));
    workload.store_all(client, count, show).await;
    counts
}

/// Waits until the load has ended, and shows its progress.
async fn show_progress(load: &mut LoadRun, time: Duration, notes: Notes) {
    let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let progress = Progress::new(notes, millis(time));
    let mut steps = tokio::time::interval(STEP);
    let mut before = (Duration::ZERO, 0);
    loop {
        tokio::select! {
            () = load.ended() => return,
            _ = steps.tick() => {
                let (elapsed, done) = (load.elapsed(), load.done());
                let rate = per_second(done - before.1, elapsed.saturating_sub(before.0));
                progress.set(millis(elapsed).min(millis(time)), format!("{}/s", number::rate(rate)));
                before = (elapsed, done);
            }
        }
    }
}

fn small_count(text: &str) -> Result<usize, String> {
    let count = value::count(text)?;
    usize::try_from(count).ok().filter(|&count| count <= MAX_CALLERS).ok_or_else(|| format!("at most {MAX_CALLERS}"))
}

const STEP: Duration = Duration::from_millis(250);
const MAX_CALLERS: usize = 1_000_000;
/// The library's default limit, which is enough for fewer callers.
const DEFAULT_IN_FLIGHT: usize = 16_384;

/// Checks before the load that a result can be written to the file.
fn check_path(path: &Path) -> Result<(), Failure> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    match std::fs::metadata(directory) {
        Ok(metadata) if metadata.is_dir() && !path.is_dir() => Ok(()),
        Ok(_) => Err(Failure::usage(format!("{}: the path of a file is needed", path.display()))),
        Err(error) => Err(file_error(path)(error)),
    }
}

/// Names the file that could not be written.
fn file_error(path: &Path) -> impl Fn(std::io::Error) -> Failure {
    move |error| Failure::file(path, error)
}
