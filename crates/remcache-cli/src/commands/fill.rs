//! `fill`: how many items fit into the servers, found by adding until they evict.

use std::time::{Duration, Instant};

use bytes::Bytes;
use remcache::{Client, Error, ErrorKind, Ttl, WriteOutcome};

use crate::exit::{Exit, Failure, Outcome};
use crate::interrupt::Interrupt;
use crate::load::{KeyText, per_second};
use crate::options::value;
use crate::output::{Cell, Column, Output, Progress, Record, Table, TextStyle, number};
use crate::session::Session;
use crate::stats::{self, Snapshot, Stats, reason};
use crate::tally::Tally;

/// Find out how many items fit, by adding until the servers evict
///
/// Adds items, each server's until it has evicted one, and then tells the servers' own figures.
/// What the servers hold already is pushed out, so fill asks first if they are not empty. All keys
/// begin with remcache:load: and expire after --ttl.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The size of a value
    #[arg(long, value_name = "BYTES", default_value = "100", value_parser = value::bytes)]
    size: usize,

    /// How long the items live
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = value::ttl)]
    ttl: Ttl,

    /// Do not ask
    #[arg(short = 'y', long)]
    yes: bool,
}

/// One server, as far as it is filled.
#[derive(Debug)]
struct Vessel {
    name: String,
    level: Level,
    /// Evictions before the first item was added.
    evictions_before: u64,
    added: u64,
    figures: Stats,
}

#[derive(Debug, PartialEq)]
enum Level {
    /// It takes more.
    Open,
    /// It has evicted, or has no memory left.
    Full,
    /// It cannot be filled, for this reason.
    Failed(String, Exit),
}

pub(crate) async fn run(args: &Args, session: &mut Session) -> Outcome {
    let interrupt = session.interrupt.clone();
    let client = session.client()?;
    let mut vessels = inspect(&client).await;
    let items = sum(&vessels, "curr_items");
    let question = || format!("The servers hold {} items, which will be pushed out. Go on?", number::exact(items));
    if items > 0 && !args.yes && !session.is_embedded() && !session.confirm(&question())? {
        return Ok(Exit::No);
    }
    interrupt.expect();
    let begun = Instant::now();
    let progress = Progress::new(session.output.notes(), SCALE);
    fill(args, &client, &mut vessels, &interrupt, &progress).await?;
    drop(progress);
    print(args, &vessels, begun.elapsed(), &mut session.output)?;
    let tally = tally(&vessels);
    tally.complain("servers", &mut session.output)?;
    Ok(interrupt.unless_raised(tally.exit()))
}

async fn inspect(client: &Client) -> Vec<Vessel> {
    let vessel = |sample: Snapshot| {
        let (level, figures) = match sample.stats {
            Ok(figures) => (Level::Open, figures),
            Err(error) => (Level::Failed(reason(&sample.server, &error), Exit::of(&error)), Stats::default()),
        };
        let evictions_before = figures.number("evictions").unwrap_or_default();
        Vessel { name: sample.server.name().to_owned(), level, evictions_before, added: 0, figures }
    };
    stats::fetch_all(client, "").await.into_iter().map(vessel).collect()
}

/// Adds items until no server takes more.
async fn fill(
    args: &Args,
    client: &Client,
    vessels: &mut [Vessel],
    interrupt: &Interrupt,
    progress: &Progress,
) -> Result<(), Failure> {
    let value = Bytes::from(vec![b'x'; args.size]);
    let mut numbers = 0..;
    let begun = Instant::now();
    while vessels.iter().any(Vessel::is_open) && !interrupt.is_raised() {
        let batch = batch(client, vessels, &mut numbers, batch_size(args.size))?;
        let items = batch.iter().map(|&(key, _)| (key, value.clone()));
        let outcomes = client.add_many(items).ttl(args.ttl).await;
        for ((_, outcome), (_, place)) in outcomes.into_iter().zip(batch) {
            vessels[place].take(outcome);
        }
        for (vessel, sample) in vessels.iter_mut().zip(stats::fetch_all(client, "").await) {
            vessel.look(sample, args.size);
        }
        show(vessels, begun, progress);
    }
    Ok(())
}

/// The next keys whose servers take more, each with the place of its server.
fn batch(
    client: &Client,
    vessels: &mut [Vessel],
    numbers: &mut impl Iterator<Item = u64>,
    size: usize,
) -> Result<Vec<(KeyText, usize)>, Error> {
    let mut batch = Vec::with_capacity(size);
    for number in numbers.take(size.saturating_mul(MOST_TRIES)) {
        let key = KeyText::of_item(number);
        let server = client.locate(key)?;
        let place = server.and_then(|server| vessels.iter().position(|vessel| vessel.name == server.name()));
        if let Some(place) = place.filter(|&place| vessels[place].is_open()) {
            batch.push((key, place));
        }
        if batch.len() == size {
            return Ok(batch);
        }
    }
    for (place, vessel) in vessels.iter_mut().enumerate() {
        if vessel.is_open() && !batch.iter().any(|(_, chosen)| *chosen == place) {
            vessel.fail("no key is placed on it", Exit::No);
        }
    }
    Ok(batch)
}

impl Vessel {
    fn is_open(&self) -> bool {
        self.level == Level::Open
    }

    fn fail(&mut self, reason: impl Into<String>, exit: Exit) {
        self.level = Level::Failed(reason.into(), exit);
    }

    /// Takes the outcome of adding an item.
    fn take(&mut self, outcome: Result<WriteOutcome, Error>) {
        match outcome {
            Ok(change) => self.added += u64::from(change.is_applied()),
            Err(error) if error.kind() == ErrorKind::OutOfMemory => self.level = Level::Full,
            Err(error) => self.fail(without_name(&error, &self.name), Exit::of(&error)),
        }
    }

    /// Takes the server's own word on how full it is.
    fn look(&mut self, sample: Snapshot, size: usize) {
        match sample.stats {
            Ok(figures) => self.figures = figures,
            Err(error) if self.is_open() => return self.fail(reason(&sample.server, &error), Exit::of(&error)),
            Err(_) => return,
        }
        let Some(evictions) = self.figures.number("evictions") else {
            return self.fail("it tells nothing of evictions", Exit::Server);
        };
        let limit = self.figures.number("limit_maxbytes").unwrap_or(u64::MAX);
        let is_overfull = self.added.saturating_mul(size as u64) > limit.saturating_mul(2);
        match self.level {
            Level::Open if evictions > self.evictions_before => self.level = Level::Full,
            Level::Open if is_overfull => self.fail("it took twice its memory, and evicts nothing", Exit::Server),
            _ => {}
        }
    }

    fn evicted(&self) -> u64 {
        self.figures.number("evictions").unwrap_or_default().saturating_sub(self.evictions_before)
    }
}

fn without_name(error: &Error, name: &str) -> String {
    let text = error.to_string();
    text.strip_prefix(&format!("{name}: ")).unwrap_or(&text).to_owned()
}

fn show(vessels: &[Vessel], begun: Instant, progress: &Progress) {
    let (bytes, limit) = (sum(vessels, "bytes"), sum(vessels, "limit_maxbytes").max(1));
    let added: u64 = vessels.iter().map(|vessel| vessel.added).sum();
    let rate = number::rate(per_second(added, begun.elapsed()));
    let message = format!("{} items  {}  {rate}/s", number::count(added), number::bytes_of(bytes, limit));
    progress.set((u128::from(bytes) * u128::from(SCALE) / u128::from(limit)) as u64, message);
}

fn sum(vessels: &[Vessel], name: &str) -> u64 {
    vessels.iter().filter_map(|vessel| vessel.figures.number(name)).sum()
}

const COLUMNS: &[&str] = &["server", "items", "bytes", "limit_maxbytes", "evictions", "added", "error"];

fn print(args: &Args, vessels: &[Vessel], elapsed: Duration, output: &mut Output) -> std::io::Result<()> {
    if !output.is_text() {
        let mut records = output.records(COLUMNS)?;
        vessels.iter().try_for_each(|vessel| records.push(record(vessel)))?;
        return records.end();
    }
    let mut table = Table::new([
        Column::left("SERVER"),
        Column::right("ITEMS"),
        Column::right("MEMORY"),
        Column::right("EACH"),
        Column::right("ADDED"),
        Column::right("EVICTED"),
    ]);
    vessels.iter().for_each(|vessel| table.row(cells(vessel)));
    output.table(&table)?;
    let added: u64 = vessels.iter().map(|vessel| vessel.added).sum();
    let per_second = number::rate(per_second(added, elapsed));
    output.line(format_args!(
        "{} items with values of {} fit; {} added in {}, {per_second}/s",
        number::exact(sum(vessels, "curr_items")),
        number::bytes(args.size as u64),
        number::exact(added),
        number::duration(elapsed),
    ))
}

fn cells(vessel: &Vessel) -> Vec<Cell> {
    let name = Cell::new(&vessel.name);
    if let Level::Failed(reason, _) = &vessel.level {
        return vec![name, Cell::new(reason).style(TextStyle::Bad).spanning()];
    }
    let number = |name| vessel.figures.number(name).unwrap_or_default();
    let (items, bytes) = (number("curr_items"), number("bytes"));
    vec![
        name,
        Cell::new(number::exact(items)),
        Cell::new(number::bytes_of(bytes, number("limit_maxbytes"))),
        bytes.checked_div(items).map_or_else(Cell::unknown, |each| Cell::new(number::bytes(each))),
        Cell::new(number::exact(vessel.added)),
        Cell::new(number::exact(vessel.evicted())),
    ]
}

fn record(vessel: &Vessel) -> Record {
    let error = match &vessel.level {
        Level::Failed(reason, _) => Some(reason.clone()),
        _ => None,
    };
    let number = |name| vessel.figures.number(name);
    Record::new()
        .with("server", vessel.name.clone())
        .with_some("items", number("curr_items"))
        .with_some("bytes", number("bytes"))
        .with_some("limit_maxbytes", number("limit_maxbytes"))
        .with_some("evictions", number("evictions"))
        .with("added", vessel.added)
        .with_some("error", error)
}

fn tally(vessels: &[Vessel]) -> Tally {
    let mut tally = Tally::default();
    for vessel in vessels {
        match &vessel.level {
            Level::Failed(reason, exit) => tally.failures(&format!("{}: {reason}", vessel.name), *exit, 1),
            _ => tally.answer(true),
        }
    }
    tally
}

/// How many items are added between two looks at the figures.
fn batch_size(size: usize) -> usize {
    (BATCH_BYTES / size).clamp(1, BATCH_ITEMS)
}

const BATCH_BYTES: usize = 256 << 10;
const BATCH_ITEMS: usize = 1_000;
/// How many keys are tried for each that has a place.
const MOST_TRIES: usize = 256;
/// The end of the progress bar.
const SCALE: u64 = 1000;
