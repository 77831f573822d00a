//! `dump`: writes all items of the servers, a JSON document a line.

use std::ops::ControlFlow;
use std::path::PathBuf;

use remcache::proto::text::MetadumpItem;
use tokio::task::JoinSet;

use crate::bulk::{
    BatchJob, BulkProgress, DumpWriter, FetchedItem, ListEvent, Role, Scanner, SelectArgs, ServerWatch, Skipped,
    Summary, run_pipeline, sum, write_item,
};
use crate::exit::{Failure, Outcome};
use crate::output::Layout;
use crate::same_server;
use crate::session::Session;

/// Write all items of the servers as JSON, one document per line, for load and other programs
///
/// A line has the form {"key":…,"value":…,"flags":…,"expires":…}. expires is in seconds of Unix time, and
/// absent if the item does not expire. Keys and values that are not UTF-8 are written as base64, in key_b64
/// and value_b64. The dump is written to FILE.partial, and renamed to FILE when it is complete: after an
/// interrupt, or if a server fails or restarts, FILE.partial remains. Skipped items are counted by reason.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The file; without it, or with -, standard output
    file: Option<PathBuf>,

    #[command(flatten)]
    select: SelectArgs,
}

pub(crate) async fn run(args: &Args, session: &mut Session) -> Outcome {
    if matches!(session.output.layout(), Layout::Json | Layout::Csv) {
        return Err(Failure::usage("dump writes a JSON document a line (ndjson) and nothing else"));
    }
    let client = session.client()?;
    let interrupt = session.interrupt.handled();
    let notes = session.output.notes();
    same_server::warn(&client, notes).await;
    let watch = ServerWatch::start(&client, Role::Source).await;
    let wait = args.select.options.outage_wait(&interrupt, notes);
    let scanner = Scanner::new(client, &args.select, &wait);
    let summary = args.select.summary("dumped")?;
    let writer = DumpWriter::open(args.file.as_deref(), &mut session.output)?;
    let progress = BulkProgress::new(notes, sum(&scanner.counts().await));
    let (batches, limit) = (scanner.list()?, scanner.rate_limit());
    let mut dump = Dump { scanner, writer, summary, progress, lines: Vec::new() };
    run_pipeline(&mut dump, batches, limit, &interrupt).await?;
    let Dump { writer, mut summary, progress, .. } = dump;
    drop(progress);
    summary.compare_servers(watch).await;
    let is_whole = summary.is_complete() && !interrupt.is_raised();
    let partial = match summary.done_count() {
        // An empty file is not kept.
        0 if !is_whole => None,
        _ => writer.end(is_whole)?,
    };
    let exit = summary.finish(&mut session.output)?;
    if interrupt.is_raised() && partial.is_none() {
        notes.print("interrupted: the dump is not complete; run the same command again");
    }
    if let Some(partial) = partial {
        notes.print(format_args!("not whole: what there is stays in {}; dump again for all", partial.display()));
    }
    Ok(interrupt.unless_raised(exit))
}

/// A dump in progress.
struct Dump<'o> {
    scanner: Scanner,
    writer: DumpWriter<'o>,
    summary: Summary,
    progress: BulkProgress,
    /// The lines of a batch, in memory that is used again.
    lines: Vec<u8>,
}

/// A batch that was read.
struct FetchedBatch {
    server: String,
    items: Vec<(MetadumpItem, Result<FetchedItem, Skipped>)>,
    seen: u64,
}

impl BatchJob for Dump<'_> {
    type Batch = ListEvent;
    type Done = FetchedBatch;

    fn size(&self, listed: &ListEvent) -> usize {
        listed.items()
    }

    fn start(&mut self, listed: ListEvent, jobs: &mut JoinSet<FetchedBatch>) -> Result<(), Failure> {
        let Some(batch) = self.summary.listed(listed)? else { return Ok(()) };
        let seen = batch.seen;
        let (fetcher, items) = self.scanner.filter_misplaced(batch, &mut self.summary)?;
        jobs.spawn(async move {
            let outcomes = fetcher.fetch(&items).await;
            FetchedBatch {
                server: fetcher.server().name().to_owned(),
                items: items.into_iter().zip(outcomes).collect(),
                seen,
            }
        });
        Ok(())
    }

    fn finish(&mut self, done: FetchedBatch) -> Result<ControlFlow<()>, Failure> {
        self.lines.clear();
        self.summary.seen += done.seen;
        for (item, outcome) in &done.items {
            let name = self.scanner.scope().name_of(item);
            match outcome {
                Ok(found) => {
                    write_item(name, &found.value, found.flags, found.expires(), &mut self.lines);
                    self.summary.done(1, found.value.len() as u64);
                }
                Err(skipped) => self.summary.skipped(name, Some(&done.server), skipped)?,
            }
        }
        self.progress.show(&self.summary);
        self.writer.write(&self.lines)?;
        Ok(ControlFlow::Continue(()))
    }
}
