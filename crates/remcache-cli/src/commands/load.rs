//! `load`: stores the items of a dump.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::num::NonZero;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, UNIX_EPOCH};

use remcache::Ttl;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::bulk::{
    BATCH_BYTES, BatchJob, BulkOptions, BulkProgress, DumpItem, DumpReader, InputError, InvalidItem, ItemStore,
    NewItem, RateLimit, Role, ServerWatch, SkipReason, StoreResult, Summary, run_pipeline,
};
use crate::exit::{Failure, Outcome};
use crate::selection;
use crate::session::Session;

/// Store the items of a dump
///
/// Reads the format of dump, {"key":…,"value":…,"flags":…,"expires":…} in each line, from a file or standard
/// input. Existing items are overwritten; --add keeps them.
/// Items that have expired, and items that the servers refuse, are skipped and counted. While a server does
/// not answer, load waits for it; then it stops, and names the line to continue at. If a server restarts
/// during the load, the exit code is 3; if one evicts items, it is 1. Loading the same items again does no
/// harm. An invalid line ends the load; with --failed it is listed there, and the load continues.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The file; - reads standard input
    file: PathBuf,

    /// Store only items whose keys do not exist
    #[arg(long)]
    add: bool,

    /// Start at this line, which an interrupted load names
    #[arg(long, value_name = "N", default_value = "1")]
    from_line: NonZero<u64>,

    #[command(flatten)]
    options: BulkOptions,
}

pub(crate) async fn run(args: &Args, session: &mut Session) -> Outcome {
    let input = open(&args.file)?;
    let client = session.client()?;
    let interrupt = session.interrupt.handled();
    let summary = Summary::new("loaded", args.options.failed.as_deref())?;
    let limit = RateLimit::new(args.options.rate);
    let wait = args.options.outage_wait(&interrupt, session.output.notes());
    let store = Arc::new(ItemStore::open(client.clone(), args.add, wait).await?);
    let watch = ServerWatch::start(&client, Role::Destination).await;
    let reading = Reading {
        skipped: args.from_line.get() - 1,
        size: limit.batch(),
        lists_invalid: args.options.failed.is_some(),
    };
    let batches = reading.start(input)?;
    let progress = BulkProgress::new(session.output.notes(), None);
    let lines = StoredLines { last: args.from_line.get() - 1, unfinished: BTreeSet::new() };
    let mut load = Load { store, summary, progress, lines, problem: None };
    run_pipeline(&mut load, batches, limit, &interrupt).await?;
    let Load { store, mut summary, progress, lines, problem } = load;
    drop(progress);
    if !store.has_given_up() {
        summary.compare_servers(watch).await;
    }
    let notes = session.output.notes();
    summary.print(&mut session.output)?;
    let exit = summary.finish(&mut session.output)?;
    let next = lines.next();
    if interrupt.is_raised() {
        notes.print(format_args!("interrupted: continue with --from-line {next}"));
    } else if store.has_given_up() {
        notes.print(format_args!(
            "stopped, because a server did not answer: continue with --from-line {next}, or run the same command again if \
             the server has restarted and lost its items"
        ));
    } else if let Some(problem) = problem {
        let name = if is_stdin(&args.file) { "standard input".into() } else { args.file.display().to_string() };
        return Err(Failure::usage(format!(
            "{name}: {problem}; the items before it are loaded: correct it and continue with --from-line {next}"
        )));
    }
    Ok(interrupt.unless_raised(exit))
}

type Input = Box<dyn BufRead + Send>;

fn is_stdin(path: &Path) -> bool {
    path == Path::new("-")
}

fn open(path: &Path) -> Result<Input, Failure> {
    if is_stdin(path) {
        return Ok(Box::new(BufReader::with_capacity(BUFFER, io::stdin())));
    }
    let file = File::open(path).map_err(|error| Failure::file(path, error))?;
    Ok(Box::new(BufReader::with_capacity(BUFFER, file)))
}

/// Consecutive items of the input.
struct InputBatch {
    items: Vec<DumpItem>,
    /// Lines that do not describe an item, if they are listed.
    invalid: Vec<InvalidItem>,
    first_line: u64,
    last_line: u64,
}

/// The options for reading the input.
struct Reading {
    /// The number of lines to skip.
    skipped: u64,
    /// The number of items in a batch.
    size: usize,
    /// Whether invalid items are listed and do not end the input.
    lists_invalid: bool,
}

impl Reading {
    /// Reads batches on a separate thread, because reading may block. An error of the input comes last.
    fn start(self, input: Input) -> Result<mpsc::Receiver<Result<InputBatch, InputError>>, Failure> {
        let (sender, receiver) = mpsc::channel(WAITING);
        let reading = move || {
            let mut reader = DumpReader::new(input);
            let mut next = reader.skip(self.skipped);
            while next.is_ok() {
                let line = reader.number;
                let items = Vec::with_capacity(self.size);
                let mut batch = InputBatch { items, invalid: Vec::new(), first_line: line + 1, last_line: line };
                next = self.fill(&mut batch, &mut reader);
                let is_last = batch.items.is_empty() && batch.invalid.is_empty();
                // If the receiver is gone, the command has ended.
                if is_last || sender.blocking_send(Ok(batch)).is_err() {
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

    fn fill(&self, batch: &mut InputBatch, reader: &mut DumpReader<Input>) -> Result<(), InputError> {
        let mut bytes = 0;
        while batch.items.len() + batch.invalid.len() < self.size && bytes < BATCH_BYTES {
            match reader.next() {
                Ok(Some(item)) => {
                    bytes += item.value.len() as u64;
                    batch.items.push(item);
                }
                Ok(None) => break,
                Err(InputError::Invalid(item)) if self.lists_invalid => batch.invalid.push(item),
                Err(error) => return Err(error),
            }
            batch.last_line = reader.number;
        }
        Ok(())
    }
}

/// The lines that are loaded.
struct StoredLines {
    /// The last line of the batches that were started.
    last: u64,
    /// The first lines of batches that are being stored, or that a server did not answer.
    unfinished: BTreeSet<u64>,
}

impl StoredLines {
    /// Returns the line to continue at: every item before it was processed.
    fn next(&self) -> u64 {
        self.unfinished.first().copied().unwrap_or(self.last + 1)
    }
}

/// A load in progress.
struct Load {
    store: Arc<ItemStore>,
    summary: Summary,
    progress: BulkProgress,
    lines: StoredLines,
    /// The error of the input.
    problem: Option<InputError>,
}

/// A batch that was stored.
struct StoredBatch {
    first_line: u64,
    invalid: Vec<InvalidItem>,
    items: Vec<(DumpItem, StoreResult)>,
}

impl BatchJob for Load {
    type Batch = Result<InputBatch, InputError>;
    type Done = StoredBatch;

    fn size(&self, batch: &Self::Batch) -> usize {
        batch.as_ref().map_or(0, |batch| batch.items.len())
    }

    fn start(&mut self, batch: Self::Batch, tasks: &mut JoinSet<StoredBatch>) -> Result<(), Failure> {
        let batch = match batch {
            Ok(batch) => batch,
            Err(problem) => {
                self.problem = Some(problem);
                return Ok(());
            }
        };
        self.lines.last = batch.last_line;
        self.lines.unfinished.insert(batch.first_line);
        let store = Arc::clone(&self.store);
        tasks.spawn(async move {
            let results = load(&store, &batch.items).await;
            let items = batch.items.into_iter().zip(results).collect();
            StoredBatch { first_line: batch.first_line, invalid: batch.invalid, items }
        });
        Ok(())
    }

    fn finish(&mut self, done: StoredBatch) -> Result<ControlFlow<()>, Failure> {
        self.summary.seen += (done.items.len() + done.invalid.len()) as u64;
        done.invalid.iter().try_for_each(|item| self.summary.invalid(item))?;
        for (item, result) in &done.items {
            match result {
                StoreResult::Stored => self.summary.done(1, item.value.len() as u64),
                StoreResult::Skipped(skipped) => self.summary.skipped(&item.key, None, skipped)?,
            }
        }
        self.progress.show(&self.summary);
        if done.items.iter().any(|(_, result)| result.is_unanswered()) {
            return Ok(ControlFlow::Break(()));
        }
        self.lines.unfinished.remove(&done.first_line);
        Ok(ControlFlow::Continue(()))
    }
}

async fn load(store: &ItemStore, items: &[DumpItem]) -> Vec<StoreResult> {
    let now = selection::now();
    let is_live = |item: &DumpItem| item.expires.is_none_or(|at| at > now);
    let live: Vec<NewItem<'_>> = items.iter().filter(|item| is_live(item)).map(new_item).collect();
    let mut results = store.store(&live).await.into_iter();
    let result = |item: &DumpItem| match is_live(item) {
        true => results.next().unwrap_or_else(|| StoreResult::Skipped(SkipReason::Failed.into())),
        false => StoreResult::Skipped(SkipReason::Expired.into()),
    };
    items.iter().map(result).collect()
}

fn new_item(item: &DumpItem) -> NewItem<'_> {
    let ttl = item.expires.map_or(Ttl::Never, |at| Ttl::At(UNIX_EPOCH + Duration::from_secs(at)));
    NewItem { key: &item.key, value: &item.value, flags: item.flags, ttl }
}

const BUFFER: usize = 256 << 10;

/// The number of batches that may wait to be stored.
const WAITING: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_load_continues_at_the_first_unfinished_batch() {
        let mut lines = StoredLines { last: 0, unfinished: BTreeSet::new() };
        assert_eq!(lines.next(), 1);
        lines.unfinished.extend([1, 501, 1001]);
        lines.last = 1500;
        assert_eq!(lines.next(), 1);
        lines.unfinished.remove(&1);
        lines.unfinished.remove(&1001);
        assert_eq!(lines.next(), 501);
        lines.unfinished.remove(&501);
        assert_eq!(lines.next(), 1501);
    }
}
