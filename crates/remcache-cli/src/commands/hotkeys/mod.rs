//! `hotkeys`: which keys are fetched most, by what the servers tell as they work.

mod heat;
mod log;
mod report;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use remcache::Error;
use remcache::client::ServerHandle;
use remcache::proto::Request;
use tokio::task::JoinSet;

use crate::exit::Outcome;
use crate::options::value;
use crate::output::{Notes, Progress, number};
use crate::sample::events_left_out;
use crate::selection::KeyPattern;
use crate::session::Session;
use crate::tally::Tally;
use log::Log;
use report::{Hot, Report};

/// Show which keys are fetched most
///
/// The servers tell what they do (watch), on connections of their own; nothing is fetched. What a server
/// is too busy to tell is counted, and the rates are scaled by it. Every look at an item is a get here, also
/// that of a touch, a delete or an incr; that of a store is not. Memory is bounded whatever the number of keys.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How long to watch
    #[arg(long = "for", value_name = "TIME", default_value = "10s", value_parser = value::duration)]
    time: Duration,

    /// How many keys to show
    #[arg(short = 'n', long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    top: u32,

    #[command(flatten)]
    keys: KeyPattern,
}

/// Keys with more than this part of all fetches are never missed; the others may be.
const KEPT: usize = 8192;

/// How many lines of a log are taken before others have their turn.
const TURN: usize = 1024;

/// How often a progress bar moves.
const TICK: Duration = Duration::from_millis(100);

/// What the logs tell, and those who listen to them.
struct Listening {
    log: Arc<Mutex<Log>>,
    /// Each ends with its server's log, which ends with its connection.
    tasks: JoinSet<Result<(), Error>>,
}

pub(crate) async fn run(args: &Args, session: &mut Session) -> Outcome {
    let interrupt = session.interrupt.expect();
    let client = session.client()?;
    let servers = client.servers();
    let before = events_left_out(&client).await;
    let begun = Instant::now();
    let mut listening = Listening::begin(&servers, &args.keys);
    let mut tally = Tally::default();
    tokio::select! {
        () = listening.watch(args.time, session.output.notes(), &mut tally) => {}
        () = interrupt.raised() => {}
    }
    let elapsed = begun.elapsed();
    let after = events_left_out(&client).await;
    let mut log = listening.end(&args.keys);
    for (server, (before, after)) in before.into_iter().zip(after).enumerate() {
        log.add_skipped(server, after.saturating_sub(before));
    }
    for _ in tally.failed()..servers.len() as u64 {
        tally.answer(true);
    }
    let hot = ask_for_sizes(Hot::list(&log, args.top as usize), &servers).await;
    let report = Report { hot, log: &log, servers: &servers, elapsed };
    report.print(&mut session.output)?;
    tally.complain("servers", &mut session.output)?;
    Ok(interrupt.unless_raised(tally.exit_of_servers()))
}

impl Listening {
    fn begin(servers: &[ServerHandle], keys: &KeyPattern) -> Self {
        let log = Arc::new(Mutex::new(Log::new(servers.len(), KEPT)));
        let mut tasks = JoinSet::new();
        for (index, server) in servers.iter().enumerate() {
            let (mut events, log, keys) = (server.watch("fetchers mutations"), Arc::clone(&log), keys.clone());
            tasks.spawn(async move {
                let mut lines: usize = 0;
                while let Some(line) = events.next().await {
                    let line = line?;
                    locked(&log).take(index, &line, |key| keys.fits(key));
                    lines += 1;
                    // A server that tells more than can be read must not keep the clock from being looked at.
                    if lines.is_multiple_of(TURN) {
                        tokio::task::yield_now().await;
                    }
                }
                Ok(())
            });
        }
        Self { log, tasks }
    }

    /// Listens for so long, or until no server tells anything any more.
    async fn watch(&mut self, time: Duration, notes: Notes, tally: &mut Tally) {
        let progress = Progress::new(notes, time.as_millis().try_into().unwrap_or(u64::MAX));
        let begun = Instant::now();
        let mut ticks = tokio::time::interval(TICK);
        while begun.elapsed() < time {
            tokio::select! {
                _ = ticks.tick() => {
                    let log = locked(&self.log);
                    let message = format!("{} events  {} keys", number::count(log.events()), number::count(log.keys() as u64));
                    progress.set(begun.elapsed().as_millis().try_into().unwrap_or(u64::MAX), message);
                }
                () = tokio::time::sleep(time.saturating_sub(begun.elapsed())) => return,
                ended = self.tasks.join_next() => match ended {
                    Some(Ok(Err(error))) => tally.error(&error),
                    Some(_) => {}
                    None => return,
                },
            }
        }
    }

    fn end(self, keys: &KeyPattern) -> Log {
        let Self { log, tasks } = self;
        drop(tasks);
        let mut log = std::mem::replace(&mut *locked(&log), Log::new(0, 1));
        log.end(|key| keys.fits(key));
        log
    }
}

/// What the lock guards is consistent between any two lines.
fn locked(log: &Mutex<Log>) -> MutexGuard<'_, Log> {
    log.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Asks for sizes that a log did not tell, where that counts as no access: on the meta wire.
async fn ask_for_sizes(mut hot: Vec<Hot>, servers: &[ServerHandle]) -> Vec<Hot> {
    for key in hot.iter_mut().filter(|key| key.spot.size.is_none() && key.spot.hits > 0) {
        let reply = servers[key.server].call(Request::inspect(&*key.key)).await;
        let size = reply.info.and_then(|info| info.size);
        key.spot.size = size;
        key.spot.bytes = size.unwrap_or_default().saturating_mul(key.spot.hits);
    }
    hot
}
