//! `dump`: writes all items of the servers, a JSON document a line.

use std::path::PathBuf;

use remcache::proto::text::MetadumpItem;
use tokio::task::JoinSet;

use crate::bulk::{Found, Ledger, Listed, Lost, Meter, Sink, Source, Sweep, Taking, sum, sweep, write_line};
use crate::exit::{Failure, Outcome};
use crate::output::Layout;
use crate::session::Session;

/// Write all items of the servers, a JSON document a line, for load and other programs
///
/// A line reads {"key":…,"value":…,"flags":…,"expires":…}: the time in seconds of Unix time, if there
/// is one; key_b64 and value_b64 in base64 where they are no UTF-8. A file gets its name when it is
/// whole; interrupted, or if a server fails, what there is stays in FILE.partial. Items that were
/// left out are counted by reason.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The file; without one, or with -, it is standard output
    file: Option<PathBuf>,

    #[command(flatten)]
    taking: Taking,
}

pub(crate) async fn run(args: &Args, session: &mut Session) -> Outcome {
    if matches!(session.output.layout(), Layout::Json | Layout::Csv) {
        return Err(Failure::usage("dump writes a JSON document a line (ndjson) and nothing else"));
    }
    let client = session.client()?;
    let interrupt = session.interrupt.expect();
    let notes = session.output.notes();
    let source = Source::new(client, &args.taking);
    let ledger = args.taking.ledger("dumped")?;
    let sink = Sink::open(args.file.as_deref(), &mut session.output)?;
    let meter = Meter::new(notes, sum(&source.counts().await));
    let batches = source.list()?;
    let mut dump = Dump { source, sink, ledger, meter, lines: Vec::new() };
    sweep(&mut dump, batches, &interrupt).await?;
    let Dump { sink, ledger, meter, .. } = dump;
    drop(meter);
    let is_whole = ledger.is_whole() && !interrupt.is_raised();
    let kept = match ledger.count() {
        // Nothing is kept of nothing.
        0 if !is_whole => None,
        _ => sink.end(is_whole)?,
    };
    let exit = ledger.end(&mut session.output)?;
    if let Some(kept) = kept {
        notes.tell(format_args!("not whole: what there is stays in {}; dump again for all", kept.display()));
    }
    Ok(interrupt.unless_raised(exit))
}

/// A dump on its way.
struct Dump<'o> {
    source: Source,
    sink: Sink<'o>,
    ledger: Ledger,
    meter: Meter,
    /// The lines of a batch, in memory that is used again.
    lines: Vec<u8>,
}

/// A batch that was read.
struct Done {
    server: String,
    items: Vec<(MetadumpItem, Result<Found, Lost>)>,
    seen: u64,
}

impl Sweep for Dump<'_> {
    type Batch = Listed;
    type Done = Done;

    fn begin(&mut self, listed: Listed, jobs: &mut JoinSet<Done>) -> Result<(), Failure> {
        let Some(batch) = listed.batch(|error| self.ledger.unlisted(error))? else { return Ok(()) };
        let (seen, pace) = (batch.seen, self.source.pace().clone());
        let (reader, items) = self.source.admit(batch, &mut self.ledger)?;
        jobs.spawn(async move {
            pace.take(items.len()).await;
            let outcomes = reader.read(&items).await;
            Done { server: reader.server().name().to_owned(), items: items.into_iter().zip(outcomes).collect(), seen }
        });
        Ok(())
    }

    fn settle(&mut self, done: Done) -> Result<(), Failure> {
        self.lines.clear();
        self.ledger.seen += done.seen;
        for (item, outcome) in &done.items {
            let name = self.source.scope().name_of(item);
            match outcome {
                Ok(found) => {
                    write_line(name, &found.value, found.flags, found.expires(), &mut self.lines);
                    self.ledger.done(1, found.value.len() as u64);
                }
                Err(lost) => self.ledger.lost(name, Some(&done.server), lost)?,
            }
        }
        self.meter.show(&self.ledger);
        self.sink.write(&self.lines)
    }
}
