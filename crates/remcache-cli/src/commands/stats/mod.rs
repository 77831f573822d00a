//! `stats`: the servers' statistics, the servers that are away included.

mod general;

use std::io;
use std::time::Duration;

use clap::ValueEnum;
use jiff::Timestamp;
use remcache::Client;
use serde_json::{Map, Value};

use crate::exit::{Exit, Failure, Outcome, words};
use crate::interrupt::Interrupt;
use crate::metrics;
use crate::options::value;
use crate::output::{Cell, Column, Layout, Output, Record, Table, TextStyle, number};
use crate::session::Session;
use crate::stats::{self, Snapshot, reason};
use crate::tally::Tally;
use general::Row;

/// Show the statistics of the servers
///
/// General ones are a row for each server, with totals; others are names and values. The table looks twice,
/// a second apart, and shows what happened in a second: HIT% is of that time too. --total shows at once
/// what was counted since each server started. Records (-f json, ndjson, csv) are the server's own figures,
/// at once; --watch and --delta add rates.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Which statistics
    #[arg(value_enum, default_value = "general")]
    group: Group,

    /// Show them again and again, with rates, until interrupted
    #[arg(long, value_name = "TIME", value_parser = value::duration)]
    watch: Option<Duration>,

    /// Look twice, so far apart, and show the rates between (the table of general ones does, 1s apart)
    #[arg(long, value_name = "TIME", value_parser = value::duration, conflicts_with = "watch")]
    delta: Option<Duration>,

    /// Look once, and show what was counted since each server started
    #[arg(long, conflicts_with_all = ["watch", "delta"])]
    total: bool,
}

/// How long rates are counted where nobody says: as long as it takes to be of use, and no longer than
/// somebody likes to wait.
const DELTA: Duration = Duration::from_secs(1);

/// Groups of statistics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Group {
    /// A row for each server: items, memory, hits
    General,
    /// For each slab class: items, ages, evictions
    Items,
    /// For each slab class: chunks, pages, uses
    Slabs,
    /// The server's settings
    Settings,
    /// How many items there are of each size, if the server tracks it
    Sizes,
    /// Every connection: who, doing what, idle for how long
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
}

/// What one look saw.
struct Look {
    samples: Vec<Snapshot>,
    /// The age of the oldest item of each server; only where it is shown.
    ages: Vec<Option<u64>>,
}

impl Args {
    /// How far two looks are apart, if there are two of them and no more.
    fn delta(&self, output: &Output) -> Option<Duration> {
        let is_table = self.group == Group::General && output.is_text();
        let default = Some(DELTA).filter(|_| is_table && !self.total && self.watch.is_none());
        self.delta.or(default)
    }
}

pub(crate) async fn run(args: &Args, session: &mut Session) -> Outcome {
    let interrupt = session.interrupt.expect();
    let client = session.client()?;
    let output = &mut session.output;
    if output.layout() == Layout::Prometheus {
        return scraped(args, &client, output).await;
    }
    if args.watch.is_some() && output.layout() == Layout::Json {
        return Err(Failure::usage("--watch never ends a JSON document; use -f ndjson"));
    }
    match (args.watch, args.delta(output)) {
        (Some(interval), _) => watch(args, interval, &client, &interrupt, output).await,
        (None, Some(delta)) => twice(args, delta, &client, &interrupt, output).await,
        (None, None) => match unless(&interrupt, Look::take(&client, args.group)).await {
            Some(look) => print(args, None, &look, true, output).map(|()| look.exit()).map_err(Failure::from),
            None => Ok(Exit::Interrupted),
        },
    }
}

/// Shows the statistics again and again.
async fn watch(
    args: &Args,
    interval: Duration,
    client: &Client,
    interrupt: &Interrupt,
    output: &mut Output,
) -> Outcome {
    let mut previous: Option<Look> = None;
    while let Some(look) = unless(interrupt, Look::take(client, args.group)).await {
        clear(previous.is_some(), output)?;
        print(args, previous.as_ref(), &look, previous.is_none(), output)?;
        previous = Some(look);
        if unless(interrupt, tokio::time::sleep(interval)).await.is_none() {
            break;
        }
    }
    Ok(Exit::Interrupted)
}

/// Looks twice, and shows what happened between. Interrupted before it shows what was counted so far.
async fn twice(args: &Args, delta: Duration, client: &Client, interrupt: &Interrupt, output: &mut Output) -> Outcome {
    let Some(first) = unless(interrupt, Look::take(client, args.group)).await else { return Ok(Exit::Interrupted) };
    let later = async {
        tokio::time::sleep(delta).await;
        Look::take(client, args.group).await
    };
    // Where nobody answers there is nothing to wait for.
    let second = if first.is_of_nobody() { None } else { unless(interrupt, later).await };
    print(args, second.is_some().then_some(&first), second.as_ref().unwrap_or(&first), true, output)?;
    if second.is_some() && args.delta.is_none() {
        let span = number::duration(delta);
        output
            .notes()
            .say(format_args!("rates and HIT% over {span}; --delta TIME for others, --total since the start"));
    }
    Ok(interrupt.unless_raised(second.unwrap_or(first).exit()))
}

/// All statistics at once, as metrics: Prometheus makes rates itself.
async fn scraped(args: &Args, client: &Client, output: &mut Output) -> Outcome {
    if args.watch.is_some() || args.delta.is_some() || args.group != Group::General {
        return Err(Failure::usage("-f prometheus prints all groups once; see serve-metrics"));
    }
    let metrics = metrics::scrape(client).await;
    output.bytes(metrics.text.as_bytes())?;
    Ok(match metrics.away {
        0 => Exit::Yes,
        away if away == client.servers().len() => Exit::Unreachable,
        _ => Exit::Partly,
    })
}

/// What the future gives, unless the user wants an end before.
async fn unless<T>(interrupt: &Interrupt, future: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        output = future => Some(output),
        () = interrupt.raised() => None,
    }
}

impl Look {
    async fn take(client: &Client, group: Group) -> Self {
        let samples = stats::fetch_all(client, group.name()).await;
        let ages = match group {
            // Only the item statistics tell the age of the oldest item.
            Group::General => stats::fetch_all(client, Group::Items.name()).await,
            _ => Vec::new(),
        };
        let ages = ages.into_iter().map(|sample| sample.stats.ok()?.largest(":age")).collect();
        Self { samples, ages }
    }

    /// Whether no server answered.
    fn is_of_nobody(&self) -> bool {
        self.samples.iter().all(|sample| sample.stats.is_err())
    }

    fn exit(&self) -> Exit {
        let mut tally = Tally::default();
        for sample in &self.samples {
            match &sample.stats {
                Ok(_) => tally.answer(true),
                Err(error) => tally.error(error),
            }
        }
        tally.exit_of_servers()
    }

    /// The rows of the table of general statistics; `None` for a server that is away.
    fn rows(&self, previous: Option<&Self>) -> Vec<Option<Row>> {
        let row = |(index, sample): (usize, &Snapshot)| {
            let now = sample.stats.as_ref().ok()?;
            let before = previous.and_then(|look| look.samples.get(index));
            let before = before.and_then(|before| {
                let elapsed = sample.at.duration_since(before.at);
                Some((before.stats.as_ref().ok()?, elapsed))
            });
            let age = self.ages.get(index).copied().flatten();
            Some(Row::new(before, now, age))
        };
        self.samples.iter().enumerate().map(row).collect()
    }
}

/// Makes room for what is shown again and again: a terminal is cleared, a pipe gets an empty line.
fn clear(has_shown: bool, output: &mut Output) -> io::Result<()> {
    match (output.is_text(), output.is_terminal()) {
        (true, true) => output.bytes(b"\x1b[H\x1b[2J"),
        (true, false) if has_shown => output.line(""),
        _ => Ok(()),
    }
}

fn print(args: &Args, previous: Option<&Look>, look: &Look, is_first: bool, output: &mut Output) -> io::Result<()> {
    match (output.layout(), args.group) {
        (Layout::Text | Layout::Raw, Group::General) => {
            let has_rates = args.watch.is_some() || previous.is_some();
            let table = general::table(look, previous, has_rates, output.has_charts());
            output.table(&table)?;
        }
        (Layout::Text | Layout::Raw, _) => output.table(&names_and_values(look))?,
        (Layout::Csv, _) => print_csv(look, is_first, output)?,
        _ => print_records(args, previous, look, output)?,
    }
    output.flush()
}

fn names_and_values(look: &Look) -> Table {
    let mut table = Table::new([Column::left("SERVER"), Column::left("NAME"), Column::left("VALUE")]);
    for sample in &look.samples {
        let name = Cell::new(sample.server.name());
        match &sample.stats {
            Ok(figures) => {
                figures.iter().for_each(|(stat, value)| table.row([name.clone(), Cell::new(stat), Cell::new(value)]));
            }
            Err(_) => table.row([name, down(sample)]),
        }
    }
    table
}

/// What stands in place of a server's figures.
fn down(sample: &Snapshot) -> Cell {
    let reason = sample.stats.as_ref().err().map(|error| reason(&sample.server, error));
    let since = sample.server.state().since.elapsed().unwrap_or_default().as_secs();
    let since = if since > 0 { format!(" ({since} s ago)") } else { String::new() };
    Cell::new(format_args!("DOWN: {}{since}", reason.unwrap_or_default())).style(TextStyle::Bad).spanning()
}

fn print_csv(look: &Look, has_header: bool, output: &mut Output) -> io::Result<()> {
    let mut records = match has_header {
        true => output.records(&["server", "name", "value"])?,
        false => output.more_records(&["server", "name", "value"]),
    };
    for sample in &look.samples {
        let record = || Record::new().with("server", sample.server.name());
        match &sample.stats {
            Ok(figures) => figures
                .iter()
                .try_for_each(|(name, value)| records.push(record().with("name", name).with("value", value)))?,
            Err(error) => records.push(record().with("name", "error").with("value", words(error)))?,
        }
    }
    records.end()
}

fn print_records(args: &Args, previous: Option<&Look>, look: &Look, output: &mut Output) -> io::Result<()> {
    let time = args.watch.map(|_| Timestamp::now().to_string());
    let rows = look.rows(previous);
    let mut records = output.records(&[])?;
    for (sample, row) in look.samples.iter().zip(rows) {
        let record = Record::new().with_some("time", time.clone()).with("server", sample.server.name());
        let rates = row.filter(|_| args.group == Group::General).and_then(|row| row.rates());
        records.push(match &sample.stats {
            Ok(figures) => {
                let figures: Map<_, _> = figures.iter().map(|(name, value)| (name.to_owned(), typed(value))).collect();
                record.with("stats", figures).with_some("rates", rates.map(Value::from))
            }
            Err(error) => record.with("error", words(error)),
        })?;
    }
    records.end()
}

/// A number where the server's text is exactly one.
fn typed(text: &str) -> Value {
    match text.parse::<u64>() {
        Ok(number) if number.to_string() == text => number.into(),
        _ => text.into(),
    }
}
