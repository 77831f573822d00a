//! `stats`: statistics of the servers, including those that are down.

mod classes;
mod connections;
mod general;
mod records;
mod round;
mod settings;

use std::io;
use std::time::{Duration, Instant};

use clap::ValueEnum;
use remcache::{Client, ErrorKind};

use super::availability::{Availability, PROXY_HINT};
use crate::exit::{Exit, Failure, Outcome, print_error, words_without};
use crate::interrupt::Interrupt;
use crate::metrics;
use crate::options::value;
use crate::output::{Cell, Column, Layout, Output, Table, TextStyle, number};
use crate::same_server;
use crate::session::Session;
use crate::stats::{Snapshot, reason};
use classes::ClassTable;
use round::Round;

/// Show the statistics of the servers
///
/// The table of general statistics has a row for each server, and totals. Statistics are requested twice,
/// one second apart, and the table shows what happened between: GET/s, SET/s, EVICT/s and HIT%. With --total
/// it shows at once what was counted since each server started. Records (-f json, ndjson, csv) are the
/// servers' own statistics, requested once; --watch and --delta add rates.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  remcache stats --watch 2s
  remcache stats slabs --delta 5s
  remcache stats settings --diff
  remcache stats conns --by-address

Columns of general:
  VER, UP     version of the server, and time since it started
  ITEMS       items at the moment
  MEMORY      bytes that they take, of the limit (-m); a slab class can evict
              items before the limit is reached
  HIT%        gets that found an item
  GET/s, SET/s, EVICT/s
              gets, stores and evictions a second; with --total GETS, SETS and
              EVICTED, counted since the start
  CONNS       open connections, of the limit (-c); one is this command's
  AGE         age of the oldest item

Columns of items, for each slab class:
  ITEMS       items at the moment
  BYTES       bytes that they take
  AGE         age of the oldest item
  EVICTED     items evicted to free memory, before they expired
  UNREAD      those of them that were never read
  NOMEM       stores that failed for lack of memory
  EXPIRED     expired items whose memory was used again
  EVICT/s, UNREAD/s, NOMEM/s, EXPIRE/s
              with --delta and --watch, the same a second

Columns of slabs, for each slab class:
  CHUNK       bytes of a chunk, which holds one item
  PAGES       pages of memory, usually of 1M, which are split into chunks
  USED, FREE  chunks with and without an item
  HITS, SETS  gets that found an item, and stores; with --delta and --watch
              HIT/s and SET/s, the same a second

Columns of settings and sizes:
  SETTING     setting, its VALUE, and the SERVERS that have this value
  NAME        size in bytes, and as VALUE the number of items of this size

Columns of conns:
  FD          number of the connection in the server
  PEER        client, which may be this command, or where the server listens
  STATE       what the connection does
  IDLE        time since its last command
  ADDRESS     with --by-address, address of a client, with the number of its
              connections (CONNS), of their SERVERS, and the shortest and the
              longest time since the last command of one of them
              (MIN IDLE, MAX IDLE)")]
pub(crate) struct Args {
    /// Group of statistics
    #[arg(value_enum, default_value = "general")]
    group: Group,

    /// Repeat at this interval, with rates, until interrupted
    #[arg(long, value_name = "TIME", value_parser = value::duration)]
    watch: Option<Duration>,

    /// Request twice, this far apart, and show rates (default for the table of general statistics: 1s)
    #[arg(long, value_name = "TIME", value_parser = value::duration, conflicts_with = "watch")]
    delta: Option<Duration>,

    /// Request once, and show what was counted since each server started
    #[arg(long, conflicts_with_all = ["watch", "delta"])]
    total: bool,

    /// With settings: show only those that are not the same on all servers
    #[arg(long)]
    diff: bool,

    /// With conns: sum up the connections of all servers by the client's address
    #[arg(long)]
    by_address: bool,
}

/// Default interval of the rates: long enough to be meaningful, short enough to wait for.
const DELTA: Duration = Duration::from_secs(1);

/// Groups of statistics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Group {
    /// A row for each server: items, memory, hits
    General,
    /// For each slab class: items, ages, evictions
    Items,
    /// For each slab class: chunks, pages, hits
    Slabs,
    /// The servers' settings
    Settings,
    /// Number of items of each size, if the server tracks it
    Sizes,
    /// Connections: peer, state, idle time
    Conns,
}

impl Group {
    fn name(self) -> &'static str {
        match self {
            Self::General => "",
            Self::Items => "items",
            Self::Slabs => "slabs",
            Self::Settings => "settings",
            Self::Sizes => "sizes",
            Self::Conns => "conns",
        }
    }

    /// Returns the table of a group with slab classes.
    fn class_table(self) -> Option<&'static ClassTable> {
        match self {
            Self::Items => Some(&classes::ITEMS),
            Self::Slabs => Some(&classes::SLABS),
            Self::General | Self::Settings | Self::Sizes | Self::Conns => None,
        }
    }

    /// Returns whether the group has counters, and so rates.
    fn has_rates(self) -> bool {
        self == Self::General || self.class_table().is_some()
    }
}

impl Args {
    fn check(&self) -> Result<(), Failure> {
        let problem = match self.group {
            group if self.delta.is_some() && !group.has_rates() => "--delta needs general, items or slabs",
            group if self.diff && group != Group::Settings => "--diff needs settings: remcache stats settings --diff",
            group if self.by_address && group != Group::Conns => {
                "--by-address needs conns: remcache stats conns --by-address"
            }
            _ => return Ok(()),
        };
        Err(Failure::usage(problem))
    }

    /// Returns the interval between two requests, if there are exactly two.
    fn interval(&self, output: &Output) -> Option<Duration> {
        let is_table = self.group == Group::General && output.is_text();
        let default = Some(DELTA).filter(|_| is_table && !self.total && self.watch.is_none());
        self.delta.or(default)
    }
}

/// The data that a run needs to request and print rounds.
struct RoundPrinter<'s> {
    args: &'s Args,
    client: Client,
    interrupt: Interrupt,
    /// The time within which a server has to respond.
    limit: Duration,
    output: &'s mut Output,
}

pub(crate) async fn run(args: &Args, session: &mut Session) -> Outcome {
    args.check()?;
    let interrupt = session.interrupt.handled();
    let client = session.client()?;
    let limit = session.options.timeout;
    let output = &mut session.output;
    if output.layout() == Layout::Prometheus {
        return print_metrics(args, &client, output).await;
    }
    if args.watch.is_some() && output.layout() == Layout::Json {
        return Err(Failure::usage("--watch never ends a JSON document; use -f ndjson"));
    }
    let interval = args.interval(output);
    let mut printer = RoundPrinter { args, client, interrupt, limit, output };
    match (args.watch, interval) {
        (Some(interval), _) => printer.watch(interval).await,
        (None, Some(delta)) => printer.print_twice(delta).await,
        (None, None) => printer.print_once().await,
    }
}

/// Prints all statistics once, as metrics: Prometheus calculates rates itself.
async fn print_metrics(args: &Args, client: &Client, output: &mut Output) -> Outcome {
    if args.watch.is_some() || args.delta.is_some() || args.group != Group::General {
        return Err(Failure::usage("-f prometheus prints all groups once; see serve-metrics"));
    }
    let metrics = metrics::scrape(client, true).await;
    output.bytes(metrics.text.as_bytes())?;
    Ok(match metrics.unreachable {
        0 => Exit::Yes,
        away if away == client.servers().len() => Exit::Unreachable,
        _ => Exit::Partly,
    })
}

impl RoundPrinter<'_> {
    /// Requests a round; `None` if the user interrupts it.
    async fn fetch(&self) -> Option<Round> {
        self.unless_interrupted(Round::fetch(&self.client, self.args.group, self.limit)).await
    }

    async fn wait(&self, time: Duration) -> Option<()> {
        self.unless_interrupted(tokio::time::sleep(time)).await
    }

    async fn unless_interrupted<T>(&self, future: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            output = future => Some(output),
            () = self.interrupt.raised() => None,
        }
    }

    async fn print_once(&mut self) -> Outcome {
        let Some(round) = self.fetch().await else { return Ok(Exit::Interrupted) };
        self.print(None, &round, true)?;
        self.warn_of_same_servers(&round).await;
        Ok(round.exit())
    }

    /// Prints what happened between two rounds; if interrupted between them, what happened until then.
    async fn print_twice(&mut self, delta: Duration) -> Outcome {
        let Some(first) = self.fetch().await else { return Ok(Exit::Interrupted) };
        if first.is_empty() {
            // Without any statistics there is nothing to wait for.
            self.print(None, &first, true)?;
            return Ok(first.exit());
        }
        let started = Instant::now();
        let is_interrupted = self.wait(delta).await.is_none();
        let span = number::duration(if is_interrupted { started.elapsed() } else { delta });
        let second = self.last_round().await;
        self.print(Some(&first), &second, true)?;
        self.warn_of_same_servers(&second).await;
        if self.args.delta.is_none() || is_interrupted {
            let note = format_args!("rates and HIT% over {span}; --delta TIME for others, --total since the start");
            self.output.notes().say(note);
        }
        Ok(self.interrupt.unless_raised(second.exit()))
    }

    async fn warn_of_same_servers(&self, round: &Round) {
        if self.args.group == Group::General {
            same_server::warn_of(&same_server::find(&round.snapshots).await, self.output.notes());
        }
    }

    /// Requests a round that an interrupt does not prevent; a second interrupt ends the process.
    async fn last_round(&self) -> Round {
        Round::fetch(&self.client, self.args.group, self.limit).await
    }

    /// Prints rounds until the user interrupts.
    ///
    /// Tables show rates from the first one on: a first table with totals would give its columns two meanings.
    async fn watch(&mut self, interval: Duration) -> Outcome {
        let mut previous: Option<Round> = None;
        let mut is_first = true;
        while let Some(round) = self.fetch().await {
            let shows_rates = self.args.group.has_rates() && self.output.is_text();
            let pause = match previous.is_none() && shows_rates && !round.is_empty() {
                true => interval.min(DELTA),
                false => {
                    clear(!is_first, self.output)?;
                    self.print(previous.as_ref(), &round, is_first)?;
                    is_first = false;
                    interval
                }
            };
            let earlier = previous.replace(round);
            if self.wait(pause).await.is_none() {
                if is_first && earlier.is_none() {
                    // Interrupted before the first table, which shows what happened until then.
                    let round = self.last_round().await;
                    self.print(previous.as_ref(), &round, true)?;
                }
                break;
            }
        }
        Ok(Exit::Interrupted)
    }

    fn print(&mut self, previous: Option<&Round>, round: &Round, is_first: bool) -> io::Result<()> {
        let args = self.args;
        let has_rates = args.watch.is_some() || args.interval(self.output).is_some();
        let output = &mut *self.output;
        match (output.layout(), args.group) {
            (_, Group::Conns) if args.by_address => connections::print_by_address(round, output)?,
            (Layout::Text | Layout::Raw, Group::General) => {
                let table = general::table(round, previous, has_rates, output.has_charts());
                output.table(&table)?;
            }
            (Layout::Text | Layout::Raw, Group::Settings) => settings::print_table(round, args.diff, output)?,
            (_, Group::Settings) if args.diff => settings::print_differing_records(round, output)?,
            (Layout::Text | Layout::Raw, Group::Conns) => output.table(&connections::table(round))?,
            (Layout::Text | Layout::Raw, group) => match group.class_table() {
                Some(table) => output.table(&table.table(round, previous))?,
                None => output.table(&names_and_values(round))?,
            },
            _ => records::print(args, previous, round, is_first, output)?,
        }
        output.flush()
    }
}

/// Clears a terminal for the next round; in a pipe, an empty line separates the rounds.
fn clear(has_printed: bool, output: &mut Output) -> io::Result<()> {
    match (output.is_text(), output.is_terminal()) {
        (true, true) => output.bytes(b"\x1b[H\x1b[2J"),
        (true, false) if has_printed => output.line(""),
        _ => Ok(()),
    }
}

fn names_and_values(round: &Round) -> Table {
    let columns = [Column::left("SERVER").shrinkable(), Column::left("NAME"), Column::left("VALUE")];
    let mut table = Table::new(columns);
    for (index, snapshot) in round.snapshots.iter().enumerate() {
        let name = Cell::new(snapshot.server.name());
        match &snapshot.stats {
            Ok(stats) => {
                stats.iter().for_each(|(stat, value)| table.row([name.clone(), Cell::new(stat), Cell::new(value)]));
            }
            Err(_) => table.row([name, round.unavailable(index)]),
        }
    }
    table
}

/// Describes why a server has no statistics.
fn problem(snapshot: &Snapshot, availability: Availability) -> String {
    let Err(error) = &snapshot.stats else { return String::new() };
    match (availability, error.kind()) {
        (Availability::Up | Availability::Down, _) => reason(&snapshot.server, error),
        (Availability::WithoutStats, ErrorKind::Disconnected(_)) => {
            format!("up, but it does not report these statistics: {PROXY_HINT}")
        }
        (Availability::WithoutStats, _) => "up, but it does not report these statistics".into(),
    }
}

impl Round {
    /// Returns the cell that takes the place of a server's statistics.
    fn unavailable(&self, index: usize) -> Cell {
        let snapshot = &self.snapshots[index];
        let problem = problem(snapshot, self.availability[index]);
        if self.availability[index] == Availability::WithoutStats {
            return Cell::new(problem).style(TextStyle::Warning).spanning();
        }
        let since = snapshot.server.status().since.elapsed().unwrap_or_default().as_secs();
        let since = if since > 0 { format!(" ({since} s ago)") } else { String::new() };
        Cell::new(format_args!("DOWN: {problem}{since}")).style(TextStyle::Bad).spanning()
    }

    /// Adds a row for each server without statistics.
    fn add_unavailable(&self, table: &mut Table) {
        for (index, snapshot) in self.snapshots.iter().enumerate().filter(|(_, snapshot)| snapshot.stats.is_err()) {
            table.row([Cell::new(snapshot.server.name()), self.unavailable(index)]);
        }
    }

    /// Reports the servers without statistics, for records that have no place for them.
    fn report_unavailable(&self, output: &mut Output) -> io::Result<()> {
        output.flush()?;
        for (snapshot, availability) in self.snapshots.iter().zip(&self.availability) {
            if snapshot.stats.is_err() {
                print_error(format_args!("{}: {}", snapshot.server.name(), problem(snapshot, *availability)));
            }
        }
        Ok(())
    }

    /// Returns the error of a server in records.
    fn error(&self, index: usize) -> String {
        let snapshot = &self.snapshots[index];
        match (&snapshot.stats, self.availability[index]) {
            (Err(error), Availability::Up | Availability::Down) => words_without(snapshot.server.name(), error),
            (_, availability) => problem(snapshot, availability),
        }
    }
}
