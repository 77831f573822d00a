//! `load`: stores the items of a dump.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, UNIX_EPOCH};

use remcache::Ttl;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::bulk::{
    BATCH_BYTES, BatchJob, BulkOptions, BulkProgress, DumpItem, DumpReader, ItemStore, NewItem, RateLimit, SkipReason,
    StoreResult, Summary, run_pipeline,
};
use crate::exit::{Failure, Outcome};
use crate::selection;
use crate::session::Session;

/// ItemStore the items of a dump
///
/// It reads what dump writes, from a file or standard input. Items are stored whether or not there
/// are any; --add keeps what the servers have. Items whose time is over are left out and counted, as
/// are those that the servers do not take. Repeating a load does no harm.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The file; - reads standard input
    file: PathBuf,

    /// Only where there is no item
    #[arg(long)]
    add: bool,

    /// Begin with this line, as an interrupted load says
    #[arg(long, value_name = "N", default_value = "1")]
    from_line: NonZero<u64>,

    #[command(flatten)]
    options: BulkOptions,
}

pub(crate) async fn run(args: &Args, session: &mut Session) -> Outcome {
    let input = open(&args.file)?;
    let client = session.client()?;
    let interrupt = session.interrupt.expect();
    let summary = Summary::new("loaded", args.options.failed.as_deref())?;
    let rate_limit = RateLimit::new(args.options.rate);
    let lots = read(input, args.from_line.get() - 1, rate_limit.batch())?;
    let store = Arc::new(ItemStore::new(client, args.add));
    let progress = BulkProgress::new(session.output.notes(), None);
    let mut load = Load { store, rate_limit, summary, progress, last_line: args.from_line.get() - 1, problem: None };
    run_pipeline(&mut load, lots, &interrupt).await?;
    let Load { summary, progress, last_line, problem, .. } = load;
    drop(progress);
    let notes = session.output.notes();
    summary.print(&mut session.output)?;
    let exit = summary.finish(&mut session.output)?;
    if let Some(problem) = problem {
        let name = args.file.display();
        let next = last_line + 1;
        return Err(Failure::usage(format!(
            "{name}: {problem}; the items before it are loaded: mend it and go on with --from-line {next}"
        )));
    }
    if interrupt.is_raised() {
        notes.tell(format_args!("interrupted after line {last_line}: go on with --from-line {}", last_line + 1));
    }
    Ok(interrupt.unless_raised(exit))
}

type Input = Box<dyn BufRead + Send>;

fn open(path: &Path) -> Result<Input, Failure> {
    if path == Path::new("-") {
        return Ok(Box::new(BufReader::with_capacity(BUFFER, io::stdin())));
    }
    let file = File::open(path).map_err(|error| Failure::file(path, error))?;
    Ok(Box::new(BufReader::with_capacity(BUFFER, file)))
}

/// Items that follow each other.
struct Lot {
    entries: Vec<DumpItem>,
    /// The last line that belongs to them.
    last_line: u64,
}

/// Reads lots of items, by a thread of its own: reading may block. What is wrong comes last.
fn read(input: Input, skipped: u64, size: usize) -> Result<mpsc::Receiver<Result<Lot, String>>, Failure> {
    let (sender, receiver) = mpsc::channel(WAITING);
    let reading = move || {
        let mut lines = DumpReader::new(input);
        let mut next = lines.skip(skipped);
        while next.is_ok() {
            let mut lot = Lot { entries: Vec::with_capacity(size), last_line: lines.number };
            next = fill(&mut lot, &mut lines, size);
            let is_last = lot.entries.is_empty();
            // Whoever stopped listening wants no more.
            if is_last || sender.blocking_send(Ok(lot)).is_err() {
                break;
            }
        }
        if let Err(problem) = next {
            let _ = sender.blocking_send(Err(problem));
        }
    };
    let thread = thread::Builder::new().name("input".into()).spawn(reading);
    thread.map(|_| receiver).map_err(|error| Failure::Io("a thread for the input".into(), error))
}

fn fill(lot: &mut Lot, lines: &mut DumpReader<Input>, size: usize) -> Result<(), String> {
    let mut bytes = 0;
    while lot.entries.len() < size && bytes < BATCH_BYTES {
        let Some(entry) = lines.next()? else { break };
        bytes += entry.value.len() as u64;
        lot.entries.push(entry);
        lot.last_line = lines.number;
    }
    Ok(())
}

/// A load on its way.
struct Load {
    store: Arc<ItemStore>,
    rate_limit: RateLimit,
    summary: Summary,
    progress: BulkProgress,
    /// The last line of what was begun.
    last_line: u64,
    /// What is wrong with the input.
    problem: Option<String>,
}

impl BatchJob for Load {
    type Batch = Result<Lot, String>;
    type Done = Vec<(DumpItem, StoreResult)>;

    fn start(&mut self, lot: Result<Lot, String>, jobs: &mut JoinSet<Self::Done>) -> Result<(), Failure> {
        let lot = match lot {
            Ok(lot) => lot,
            Err(problem) => {
                self.problem = Some(problem);
                return Ok(());
            }
        };
        self.last_line = lot.last_line;
        let (store, rate_limit) = (Arc::clone(&self.store), self.rate_limit.clone());
        jobs.spawn(async move {
            rate_limit.take(lot.entries.len()).await;
            let outcomes = load(&store, &lot.entries).await;
            lot.entries.into_iter().zip(outcomes).collect()
        });
        Ok(())
    }

    fn finish(&mut self, done: Self::Done) -> Result<(), Failure> {
        self.summary.seen += done.len() as u64;
        for (entry, stored) in &done {
            match stored {
                StoreResult::Stored => self.summary.done(1, entry.value.len() as u64),
                StoreResult::Skipped(skipped) => self.summary.skipped(&entry.key, None, skipped)?,
            }
        }
        self.progress.show(&self.summary);
        Ok(())
    }
}

async fn load(store: &ItemStore, entries: &[DumpItem]) -> Vec<StoreResult> {
    let now = selection::now();
    let is_live = |entry: &DumpItem| entry.expires.is_none_or(|at| at > now);
    let items: Vec<NewItem<'_>> = entries.iter().filter(|entry| is_live(entry)).map(item).collect();
    let mut stored = store.store(&items).await.into_iter();
    let outcome = |entry: &DumpItem| match is_live(entry) {
        true => stored.next().unwrap_or_else(|| StoreResult::Skipped(SkipReason::Failed.into())),
        false => StoreResult::Skipped(SkipReason::Expired.into()),
    };
    entries.iter().map(outcome).collect()
}

fn item(entry: &DumpItem) -> NewItem<'_> {
    let ttl = entry.expires.map_or(Ttl::Never, |at| Ttl::At(UNIX_EPOCH + Duration::from_secs(at)));
    NewItem { key: &entry.key, value: &entry.value, flags: entry.flags, ttl }
}

const BUFFER: usize = 256 << 10;

/// How many lots may wait to be stored.
const WAITING: usize = 4;
