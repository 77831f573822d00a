//! `fill`: finds out how many items fit, by adding items until the servers evict.

use std::ops::Range;
use std::time::{Duration, Instant};

use bytes::Bytes;
use remcache::proto::Request;
use remcache::{Client, Error, ErrorKind, Status, Ttl, WriteOutcome};

use crate::exit::{Exit, Failure, Outcome, words_without};
use crate::interrupt::Interrupt;
use crate::load_generator::{KeyText, per_second};
use crate::options::value;
use crate::outcome_counts::OutcomeCounts;
use crate::output::{Cell, Column, Output, Progress, Record, Table, TextStyle, number};
use crate::session::Session;
use crate::stats::{self, Snapshot, Stats, reason};

/// Find out how many items fit, by adding items until the servers evict
///
/// Adds items to each server until it has evicted one, then counts those that are still there. Items that the
/// servers hold already may be evicted, so it asks for confirmation if there are any. All keys begin with
/// remcache:load: and expire after --ttl.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Columns:
  ITEMS    items of the server at the end
  MEMORY   bytes that they take, of the limit (-m)
  EACH     bytes that an item takes on average, with its key and header
  ADDED    items that this command added
  EVICTED  items that the server evicted during the command
  FIT      added items that are still there at the end")]
pub(crate) struct Args {
    /// Size of a value
    #[arg(long, value_name = "BYTES", default_value = "100", value_parser = value::bytes)]
    size: usize,

    /// Time to live of the items
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = value::ttl)]
    ttl: Ttl,

    /// Do not ask for confirmation
    #[arg(short = 'y', long)]
    yes: bool,
}

/// State of filling one server.
#[derive(Debug)]
struct ServerFill {
    name: String,
    state: FillState,
    /// Evictions before the first item was added.
    evictions_before: u64,
    added: u64,
    /// Added items that are still there at the end.
    fit: u64,
    stats: Stats,
}

#[derive(Debug, PartialEq)]
enum FillState {
    /// It accepts more items.
    Filling,
    /// It has evicted an item, or is out of memory.
    Full,
    /// It cannot be filled, for this reason.
    Failed(String, Exit),
}

pub(crate) async fn run(args: &Args, session: &mut Session) -> Outcome {
    let interrupt = session.interrupt.clone();
    let client = session.client()?;
    let mut servers = inspect(&client).await;
    let items = sum(&servers, "curr_items");
    let question = || match items {
        0 => "Fill the memory of the servers?".to_owned(),
        items => format!("The servers hold {}, which may be evicted. Continue?", number::items(items)),
    };
    let needs_confirmation = (items > 0 && !session.is_embedded()) || session.is_production();
    if needs_confirmation && !args.yes && !session.confirm("fill the memory of servers", &question())? {
        return Ok(Exit::No);
    }
    interrupt.handled();
    let started = Instant::now();
    let progress = Progress::new(session.output.notes(), SCALE);
    let numbers = fill(args, &client, &mut servers, &interrupt, &progress).await?;
    let elapsed = started.elapsed();
    count_fit(&client, &mut servers, numbers, &progress).await?;
    drop(progress);
    print(args, &servers, elapsed, &mut session.output)?;
    Ok(interrupt.unless_raised(counts(&servers).exit()))
}

async fn inspect(client: &Client) -> Vec<ServerFill> {
    let server = |snapshot: Snapshot| {
        let (state, stats) = match snapshot.stats {
            Ok(stats) => (FillState::Filling, stats),
            Err(error) => (FillState::Failed(reason(&snapshot.server, &error), Exit::of(&error)), Stats::default()),
        };
        let evictions_before = stats.number("evictions").unwrap_or_default();
        ServerFill { name: snapshot.server.name().to_owned(), state, evictions_before, added: 0, fit: 0, stats }
    };
    stats::fetch_all(client, "").await.into_iter().map(server).collect()
}

/// Adds items until no server accepts more; returns the numbers of their keys.
async fn fill(
    args: &Args,
    client: &Client,
    servers: &mut [ServerFill],
    interrupt: &Interrupt,
    progress: &Progress,
) -> Result<Range<u64>, Failure> {
    let value = Bytes::from(vec![b'x'; args.size]);
    // Not the keys of an earlier run, whose items may have another size.
    let first = fastrand::u64(..MAX_FIRST_KEY);
    let mut next = first;
    let started = Instant::now();
    while servers.iter().any(ServerFill::is_filling) && !interrupt.is_raised() {
        let batch = batch(client, servers, &mut next, batch_size(args.size))?;
        let items = batch.iter().map(|&(key, _)| (key, value.clone()));
        let outcomes = client.add_many(items).ttl(args.ttl).await;
        for ((_, outcome), (_, server)) in outcomes.into_iter().zip(batch) {
            servers[server].record(outcome);
        }
        for (server, snapshot) in servers.iter_mut().zip(stats::fetch_all(client, "").await) {
            server.update(snapshot, args.size);
        }
        show(servers, started, progress);
    }
    Ok(first..next)
}

/// Returns the next keys of servers that accept more items, each with the index of its server.
fn batch(
    client: &Client,
    servers: &mut [ServerFill],
    next: &mut u64,
    size: usize,
) -> Result<Vec<(KeyText, usize)>, Error> {
    let mut batch = Vec::with_capacity(size);
    for _ in 0..size.saturating_mul(MAX_TRIES) {
        let key = KeyText::of_item(*next);
        *next += 1;
        let index = server_of(client, key, servers)?;
        if let Some(index) = index.filter(|&index| servers[index].is_filling()) {
            batch.push((key, index));
        }
        if batch.len() == size {
            return Ok(batch);
        }
    }
    for (index, server) in servers.iter_mut().enumerate() {
        if server.is_filling() && !batch.iter().any(|(_, chosen)| *chosen == index) {
            server.fail("no key is placed on it", Exit::No);
        }
    }
    Ok(batch)
}

fn server_of(client: &Client, key: KeyText, servers: &[ServerFill]) -> Result<Option<usize>, Error> {
    let server = client.locate(key)?;
    Ok(server.and_then(|server| servers.iter().position(|known| known.name == server.name())))
}

/// Counts the added items that are still there. The statistics would count other items too.
async fn count_fit(
    client: &Client,
    servers: &mut [ServerFill],
    numbers: Range<u64>,
    progress: &Progress,
) -> Result<(), Error> {
    let (mut first, all) = (numbers.start, numbers.end);
    while first < all {
        let end = all.min(first + COUNTED_AT_ONCE);
        let keys: Vec<KeyText> = (first..end).map(KeyText::of_item).collect();
        let mut replies = client.call_many(keys.iter().map(|key| Request::inspect(key.as_ref()))).await;
        if replies.iter().any(|reply| reply.status == Status::Unsupported) {
            replies = client.call_many(keys.iter().map(|key| Request::get(key.as_ref()))).await;
        }
        for (key, reply) in keys.into_iter().zip(replies) {
            if let Some(index) = server_of(client, key, servers)?.filter(|_| reply.status == Status::NoError) {
                servers[index].fit += 1;
            }
        }
        first = end;
        progress.set(SCALE, format!("counting {}", number::count(end - numbers.start)));
    }
    Ok(())
}

impl ServerFill {
    fn is_filling(&self) -> bool {
        self.state == FillState::Filling
    }

    fn fail(&mut self, reason: impl Into<String>, exit: Exit) {
        self.state = FillState::Failed(reason.into(), exit);
    }

    /// Records the result of adding an item.
    fn record(&mut self, outcome: Result<WriteOutcome, Error>) {
        match outcome {
            Ok(outcome) => self.added += u64::from(outcome.is_applied()),
            Err(error) if error.kind() == ErrorKind::OutOfMemory => self.state = FillState::Full,
            Err(error) => self.fail(words_without(&self.name, &error), Exit::of(&error)),
        }
    }

    /// Updates the statistics, and whether the server is full.
    fn update(&mut self, snapshot: Snapshot, size: usize) {
        match snapshot.stats {
            Ok(stats) => self.stats = stats,
            Err(error) if self.is_filling() => return self.fail(reason(&snapshot.server, &error), Exit::of(&error)),
            Err(_) => return,
        }
        let Some(evictions) = self.stats.number("evictions") else {
            return self.fail("it does not report evictions", Exit::Server);
        };
        let limit = self.stats.number("limit_maxbytes").unwrap_or(u64::MAX);
        let is_overfull = self.added.saturating_mul(size as u64) > limit.saturating_mul(2);
        match self.state {
            FillState::Filling if evictions > self.evictions_before => self.state = FillState::Full,
            FillState::Filling if is_overfull => {
                self.fail("it accepted twice its memory without an eviction", Exit::Server);
            }
            _ => {}
        }
    }

    fn evicted(&self) -> u64 {
        self.stats.number("evictions").unwrap_or_default().saturating_sub(self.evictions_before)
    }

    fn cells(&self) -> Vec<Cell> {
        let name = Cell::new(&self.name);
        if let FillState::Failed(reason, _) = &self.state {
            return vec![name, Cell::new(reason).style(TextStyle::Bad).spanning()];
        }
        let number = |name| self.stats.number(name).unwrap_or_default();
        let (items, bytes) = (number("curr_items"), number("bytes"));
        vec![
            name,
            Cell::new(number::exact(items)),
            Cell::new(number::bytes_of(bytes, number("limit_maxbytes"))),
            bytes.checked_div(items).map_or_else(Cell::unknown, |each| Cell::new(number::bytes(each))),
            Cell::new(number::exact(self.added)),
            Cell::new(number::exact(self.evicted())),
            Cell::new(number::exact(self.fit)),
        ]
    }

    fn record_fields(&self) -> Record {
        let error = match &self.state {
            FillState::Failed(reason, _) => Some(reason.clone()),
            _ => None,
        };
        let number = |name| self.stats.number(name);
        Record::new()
            .with("server", self.name.clone())
            .with_some("items", number("curr_items"))
            .with_some("bytes", number("bytes"))
            .with_some("limit_bytes", number("limit_maxbytes"))
            .with_some("evictions", number("evictions"))
            .with("added", self.added)
            .with("fit", self.fit)
            .with_some("error", error)
    }
}

fn show(servers: &[ServerFill], started: Instant, progress: &Progress) {
    let (bytes, limit) = (sum(servers, "bytes"), sum(servers, "limit_maxbytes").max(1));
    let added: u64 = servers.iter().map(|server| server.added).sum();
    let rate = number::rate(per_second(added, started.elapsed()));
    let message = format!("{} items  {}  {rate}/s", number::count(added), number::bytes_of(bytes, limit));
    progress.set((u128::from(bytes) * u128::from(SCALE) / u128::from(limit)) as u64, message);
}

fn sum(servers: &[ServerFill], name: &str) -> u64 {
    servers.iter().filter_map(|server| server.stats.number(name)).sum()
}

const COLUMNS: &[&str] = &["server", "items", "bytes", "limit_bytes", "evictions", "added", "fit", "error"];

fn print(args: &Args, servers: &[ServerFill], elapsed: Duration, output: &mut Output) -> std::io::Result<()> {
    if !output.is_text() {
        let mut records = output.records(COLUMNS)?;
        servers.iter().try_for_each(|server| records.push(server.record_fields()))?;
        return records.end();
    }
    let mut table = Table::new([
        Column::left("SERVER").shrinkable(),
        Column::right("ITEMS"),
        Column::right("MEMORY"),
        Column::right("EACH").optional(1),
        Column::right("ADDED"),
        Column::right("EVICTED"),
        Column::right("FIT"),
    ]);
    servers.iter().for_each(|server| table.row(server.cells()));
    output.table(&table)?;
    match servers.iter().any(|server| server.state == FillState::Full) {
        true => output.prose(summary(args.size, servers, elapsed)),
        // If no server became full, the number of items that fit is unknown.
        false => Ok(()),
    }
}

fn summary(size: usize, servers: &[ServerFill], elapsed: Duration) -> String {
    let total = |count: fn(&ServerFill) -> u64| servers.iter().map(count).sum::<u64>();
    let (fit, added) = (total(|server| server.fit), total(|server| server.added));
    let others = match sum(servers, "curr_items").saturating_sub(fit) {
        0 => String::new(),
        others => format!(" besides {} other items", number::exact(others)),
    };
    format!(
        "{} with a value of {} {}{others}; {} added in {}, {}/s",
        number::items(fit),
        number::bytes(size as u64),
        if fit == 1 { "fits" } else { "fit" },
        number::exact(added),
        number::duration(elapsed),
        number::rate(per_second(added, elapsed)),
    )
}

/// Returns the outcomes of the servers; the output has the reasons of failures.
fn counts(servers: &[ServerFill]) -> OutcomeCounts {
    let mut counts = OutcomeCounts::default();
    for server in servers {
        match &server.state {
            FillState::Failed(reason, exit) => counts.failures(&format!("{}: {reason}", server.name), *exit, 1),
            _ => counts.answer(true),
        }
    }
    counts
}

/// Returns the number of items that are added between two requests for statistics.
fn batch_size(size: usize) -> usize {
    (BATCH_BYTES / size).clamp(1, BATCH_ITEMS)
}

const BATCH_BYTES: usize = 256 << 10;
const BATCH_ITEMS: usize = 1_000;
/// Keys that are counted with one call.
const COUNTED_AT_ONCE: u64 = 10_000;
/// Keys that are tried for each one that is placed on a server that accepts more.
const MAX_TRIES: usize = 256;
/// A key has ten digits: there are enough numbers after the first one.
const MAX_FIRST_KEY: u64 = 5_000_000_000;
/// The end of the progress bar.
const SCALE: u64 = 1000;
