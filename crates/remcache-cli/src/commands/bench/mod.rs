//! `bench`: a load on the servers, and what it shows.

mod curve;
mod plot;
mod report;

use std::num::NonZeroU16;
use std::path::{Path, PathBuf};
use std::time::Duration;

use remcache::{Client, Ttl};

use crate::exit::{Exit, Failure, Outcome, complain};
use crate::load::{LoadModel, LoadRun, Mix, Popularity, Sizes, Threshold, Workload, per_second};
use crate::options::value;
use crate::output::{Notes, Progress, number};
use crate::session::Session;
use crate::tally::Tally;
use report::Report;

/// Put a load on the servers, and measure
///
/// By default so many callers as --depth says share one connection to each server, each waiting for
/// its answer. With --rate operations begin at planned times whatever the answers do, and latency
/// counts from the planned time: a stall is charged for all that would have been asked meanwhile.
/// The client runs on one thread, that is on one core; --threads gives it more.
///
/// All keys begin with remcache:load: and expire after --ttl.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How long
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = value::duration)]
    time: Duration,

    /// Operations a second: an open load in place of a closed one
    #[arg(long, value_name = "N", value_parser = value::count)]
    rate: Option<u64>,

    /// Connections to each server
    #[arg(long, value_name = "N", default_value = "1", value_parser = small_count)]
    conns: usize,

    /// Callers, all connections together
    #[arg(long, value_name = "N", default_value = "64", value_parser = small_count, conflicts_with = "rate")]
    depth: usize,

    /// Which operations, and how many of each: get, set, add, delete, touch, incr
    #[arg(long, value_name = "MIX", default_value = "get=9,set=1")]
    ratio: Mix,

    /// How many keys; they are stored before the measurement begins
    #[arg(long, value_name = "N", default_value = "10k", value_parser = value::count)]
    keys: u64,

    /// How the operations are spread over the keys: uniform, sequential, or zipf:1.0, where few keys are
    /// asked for often and most seldom
    #[arg(long, value_name = "DIST", default_value = "uniform")]
    dist: Popularity,

    /// The size of a value, or a range of sizes: 100..1k
    #[arg(long, value_name = "BYTES", default_value = "100")]
    size: Sizes,

    /// How long the items live
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = value::ttl)]
    ttl: Ttl,

    /// Run the client on so many threads
    #[arg(long, value_name = "N")]
    pub(crate) threads: Option<NonZeroU16>,

    /// Write the result as JSON into this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,

    /// Write the latencies into this file, in the log format of HdrHistogram
    #[arg(long, value_name = "FILE")]
    hdr: Option<PathBuf>,

    /// Draw the latency curve of each operation into this file, as SVG
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,

    /// Exit with 8 if this holds: p99>2ms, set.p99.9>=5ms, max>1s, mean>100us, ops<50k, errors>0, hit<90%
    #[arg(long, value_name = "CONDITION")]
    fail_if: Vec<Threshold>,
}

pub(crate) async fn run(args: &Args, session: &mut Session) -> Outcome {
    args.files().try_for_each(|path| check_place(path))?;
    let interrupt = session.interrupt.expect();
    let most = args.depth.max(DEFAULT_IN_FLIGHT);
    let client = session.client_with(|config| config.connections(args.conns).max_in_flight(most))?;
    let notes = session.output.notes();
    let workload = args.workload();
    let stored = tokio::select! {
        stored = store(&client, &workload, notes) => stored,
        () = interrupt.raised() => return Ok(Exit::Interrupted),
    };
    if stored.yes == 0 {
        stored.complain("keys", &mut session.output)?;
        return Ok(stored.exit());
    }
    let mut load = LoadRun::begin(&client, &workload, args.pace(), args.time, args.threads());
    tokio::select! {
        () = watch(&mut load, args.time, notes) => {}
        () = interrupt.raised() => {
            load.stop();
            load.ended().await;
        }
    }
    let (recorder, elapsed) = load.result();
    let report = Report::new(args, &client, recorder, elapsed);
    report.print(&mut session.output)?;
    report.save(args)?;
    let saved: Vec<String> = args.files().map(|path| path.display().to_string()).collect();
    if !saved.is_empty() {
        notes.say(format_args!("saved: {}", saved.join(", ")));
    }
    let tally = report.tally();
    tally.complain("operations", &mut session.output)?;
    report.broken.iter().for_each(complain);
    Ok(match interrupt.is_raised() {
        true => Exit::Interrupted,
        false if report.broken.is_empty() => tally.exit(),
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

    /// The files that the result goes into.
    fn files(&self) -> impl Iterator<Item = &PathBuf> {
        [&self.hdr, &self.json, &self.svg].into_iter().flatten()
    }

    fn threads(&self) -> usize {
        self.threads.map_or(1, |threads| threads.get().into())
    }
}

/// Stores all keys, so that fetches hit.
async fn store(client: &Client, workload: &Workload, notes: Notes) -> Tally {
    let progress = Progress::new(notes, workload.keys);
    let mut tally = Tally::default();
    let count = |stored: &Result<remcache::WriteOutcome, remcache::Error>| match stored {
        Ok(change) => tally.answer(change.is_applied()),
        Err(error) => tally.error(error),
    };
    let show = |done| progress.set(done, format!("storing {} keys", number::exact(workload.keys)));
    workload.store_all(client, count, show).await;
    tally
}

/// Waits until the load has ended, and shows how it goes.
async fn watch(load: &mut LoadRun, time: Duration, notes: Notes) {
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
    usize::try_from(count).ok().filter(|&count| count <= MOST_CALLERS).ok_or_else(|| format!("at most {MOST_CALLERS}"))
}

const STEP: Duration = Duration::from_millis(250);
const MOST_CALLERS: usize = 1_000_000;
/// The library's own limit, which suffices for less.
const DEFAULT_IN_FLIGHT: usize = 16_384;

/// Whether a result can go there: it is asked before the load, not after it.
fn check_place(path: &Path) -> Result<(), Failure> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    match std::fs::metadata(directory) {
        Ok(metadata) if metadata.is_dir() && !path.is_dir() => Ok(()),
        Ok(_) => Err(Failure::usage(format!("{}: a result goes into a file", path.display()))),
        Err(error) => Err(file_error(path)(error)),
    }
}

/// What a failure to write a file means.
fn file_error(path: &Path) -> impl Fn(std::io::Error) -> Failure {
    move |error| Failure::file(path, error)
}
