//! `hotkeys`: the most frequently fetched keys or prefixes, from the servers' own logs.

mod aggregator;
mod counter;
mod report;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use remcache::ServerHandle;
use remcache::proto::Request;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::prefix::PrefixRule;
use super::server_log::{self, LogFailure};
use crate::exit::Outcome;
use crate::options::value;
use crate::outcome_counts::OutcomeCounts;
use crate::output::{Notes, Progress, number};
use crate::selection::KeyPattern;
use crate::session::Session;
use crate::stats::dropped_events;
use aggregator::Aggregator;
use report::{HotKey, HotKeyReport};

/// Show the most frequently fetched keys or prefixes
///
/// The servers report what they do (watch), on connections of their own; nothing is fetched. Events that a
/// busy server drops are counted, and the rates are scaled accordingly. Every look-up of an item is a get
/// here, including that of a touch, a delete or an incr, but not that of a store. Memory is bounded whatever
/// the number of keys.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example: remcache hotkeys --by-prefix : --for 30s -f json

Columns:
  GET/s   gets a second
  SHARE   part of the gets of all keys
  HIT%    gets that found an item
  SIZE    bytes of the value that was read last
  OUT/s   bytes of values that were sent a second; ! marks 1 Gbit/s and more
  SERVER  server of the key
  PREFIX  with --by-prefix, in place of the key: (none) if it has no SEPARATOR

In records, gets is the number of gets that the server's log reported, and
uncounted_gets an upper bound of those before the key was tracked: 0 unless
there were more than 16,384 keys.")]
pub(crate) struct Args {
    /// How long to watch
    #[arg(long = "for", alias = "time", value_name = "TIME", default_value = "10s", value_parser = value::duration)]
    time: Duration,

    /// How many keys or prefixes to show
    #[arg(short = 'n', long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    top: u32,

    /// Sum up by prefix, which ends at the first SEPARATOR, such as :, over all servers
    #[arg(long, value_name = "SEPARATOR")]
    by_prefix: Option<String>,

    /// Number of parts in a prefix
    #[arg(long, value_name = "N", default_value_t = 1, requires = "by_prefix", value_parser = clap::value_parser!(u32).range(1..))]
    depth: u32,

    #[command(flatten)]
    keys: KeyPattern,
}

impl Args {
    fn grouping(&self) -> Option<PrefixRule> {
        self.by_prefix.as_ref().map(|separator| PrefixRule::new(separator, self.depth as usize))
    }
}

/// Keys with more than this part of all fetches are always found; others may be missed.
const CAPACITY: usize = 8192;

/// Lines that are handled before other tasks run.
const LINES_PER_TURN: usize = 1024;

/// Interval at which the progress bar is updated.
const TICK: Duration = Duration::from_millis(100);

/// Tasks that read the servers' logs into one aggregator.
struct Collector {
    aggregator: Arc<Mutex<Aggregator>>,
    /// Number of logs that have started or failed.
    settled: watch::Receiver<usize>,
    /// Each ends with its server's log, which ends with its connection.
    tasks: JoinSet<Result<(), LogFailure>>,
}

pub(crate) async fn run(args: &Args, session: &mut Session) -> Outcome {
    let interrupt = session.interrupt.handled();
    let client = session.client()?;
    let servers = client.servers();
    let before = dropped_events(&client).await;
    let started = Instant::now();
    let mut collector = Collector::start(&servers, args, server_log::start_timeout(session));
    let mut counts = OutcomeCounts::default();
    tokio::select! {
        () = collector.collect(args.time, session.output.notes(), &mut counts) => {}
        () = interrupt.raised() => {}
    }
    let elapsed = started.elapsed();
    let after = dropped_events(&client).await;
    let mut aggregator = collector.finish(args);
    for (server, (before, after)) in before.into_iter().zip(after).enumerate() {
        aggregator.add_skipped(server, after.saturating_sub(before));
    }
    for _ in counts.failed()..servers.len() as u64 {
        counts.answer(true);
    }
    // If no log started there is nothing to report but the failures; machine formats stay complete documents.
    let has_watched = counts.yes > 0 || aggregator.events() > 0 || !session.output.is_text();
    let report = match args.by_prefix {
        Some(_) => HotKeyReport::by_prefix(aggregator, elapsed, args.top as usize),
        None => {
            let mut report = HotKeyReport::by_key(aggregator, elapsed, args.top as usize, &servers);
            request_missing_sizes(&mut report.keys, &servers).await;
            report
        }
    };
    if has_watched {
        report.print(&mut session.output)?;
    }
    counts.report_failures("servers", &mut session.output)?;
    Ok(interrupt.unless_raised(counts.exit_of_servers()))
}

impl Collector {
    fn start(servers: &[ServerHandle], args: &Args, limit: Duration) -> Self {
        let aggregator = Arc::new(Mutex::new(Aggregator::new(servers.len(), CAPACITY, args.grouping())));
        let (settle, settled) = watch::channel(0);
        let mut tasks = JoinSet::new();
        for (index, server) in servers.iter().enumerate() {
            let (server, aggregator, keys, settle) =
                (server.clone(), Arc::clone(&aggregator), args.keys.clone(), settle.clone());
            tasks.spawn(async move {
                let started = server_log::start(&server, "fetchers mutations", limit).await;
                settle.send_modify(|count| *count += 1);
                let mut log = started?;
                let mut lines: usize = 0;
                while let Some(line) = log.next().await {
                    let line = line?;
                    locked(&aggregator).handle_line(index, &line, |key| keys.fits(key));
                    lines += 1;
                    // A log that always has a line ready must not keep the timer from running.
                    if lines.is_multiple_of(LINES_PER_TURN) {
                        tokio::task::yield_now().await;
                    }
                }
                Ok(())
            });
        }
        Self { aggregator, settled, tasks }
    }

    /// Collects for the given time after the last log has started, or until all logs have ended.
    async fn collect(&mut self, time: Duration, notes: Notes, counts: &mut OutcomeCounts) {
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let progress = Progress::new(notes, millis(time));
        let servers = self.tasks.len();
        let mut ticks = tokio::time::interval(TICK);
        let mut started = None;
        loop {
            if started.is_none() && *self.settled.borrow() == servers {
                started = Some(Instant::now());
            }
            let elapsed = started.map_or(Duration::ZERO, |started: Instant| started.elapsed());
            if elapsed >= time {
                return;
            }
            tokio::select! {
                _ = ticks.tick() => {
                    let aggregator = locked(&self.aggregator);
                    let (events, keys) = (number::count(aggregator.events()), number::count(aggregator.keys() as u64));
                    progress.set(millis(elapsed), format!("{events} events  {keys} keys"));
                }
                Ok(()) = self.settled.changed(), if started.is_none() => {}
                () = tokio::time::sleep(time.saturating_sub(elapsed)), if started.is_some() => return,
                ended = self.tasks.join_next() => match ended {
                    Some(Ok(Err(failure))) => failure.count(counts),
                    Some(_) => {}
                    None => return,
                },
            }
        }
    }

    fn finish(self, args: &Args) -> Aggregator {
        let Self { aggregator, tasks, .. } = self;
        drop(tasks);
        let mut aggregator = std::mem::replace(&mut *locked(&aggregator), Aggregator::new(0, 1, None));
        aggregator.finish(|key| args.keys.fits(key));
        aggregator
    }
}

/// Locks the aggregator, which is consistent between any two lines, also after a panic.
fn locked(aggregator: &Mutex<Aggregator>) -> MutexGuard<'_, Aggregator> {
    aggregator.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Requests sizes that a log did not report, by a meta command that does not count as an access.
async fn request_missing_sizes(keys: &mut [HotKey], servers: &[ServerHandle]) {
    for key in keys.iter_mut().filter(|key| key.size.is_none() && key.hits > 0.0) {
        let Some(server) = key.server.and_then(|server| servers.get(server)) else { continue };
        let reply = server.call(Request::inspect(&*key.key)).await;
        if let Some(size) = reply.info.and_then(|info| info.size) {
            key.size = Some(size);
            key.bytes = Some(size as f64 * key.hits);
        }
    }
}
