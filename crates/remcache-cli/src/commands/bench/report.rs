//! The report of a load: as a table, as JSON, and as a log of histograms.

use std::io;
use std::time::{Duration, SystemTime};

use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::{IntervalLogWriterBuilder, Tag};
use remcache::Client;
use serde_json::{Map, Value};

#[cfg(feature = "charts")]
use super::plot;
use super::{Args, curve, file_error};
use crate::atomic_file;
use crate::exit::Failure;
use crate::load_generator::{LoadModel, OpStats, Recorder, per_second};
use crate::outcome_counts::OutcomeCounts;
use crate::output::{Cell, Column, Layout, Output, Record, Table, TextStyle, number};

/// Report of a load.
#[derive(Debug)]
pub(super) struct LoadReport {
    recorder: Recorder,
    /// All operations together.
    total: OpStats,
    elapsed: Duration,
    pace: LoadModel,
    settings: Record,
    /// The exceeded thresholds, each with the value.
    pub(super) broken: Vec<String>,
}

/// Results of one operation, or of all together.
struct OperationRow<'r> {
    name: &'static str,
    stats: &'r OpStats,
    /// The hits, and the answers of operations that can miss.
    hits: (u64, u64),
}

/// Percentiles of the table.
const PERCENTILES: [(f64, &str); 5] = [(50.0, "p50"), (90.0, "p90"), (99.0, "p99"), (99.9, "p99.9"), (99.99, "p99.99")];

impl LoadReport {
    pub(super) fn new(args: &Args, client: &Client, recorder: Recorder, elapsed: Duration) -> Self {
        let broken = args.fail_if.iter().filter_map(|threshold| threshold.broken(&recorder, elapsed)).collect();
        let total = recorder.stats(None);
        Self { recorder, total, elapsed, pace: args.pace(), settings: settings(args, client), broken }
    }

    /// Returns the counts that determine the exit code.
    pub(super) fn counts(&self) -> OutcomeCounts {
        self.recorder.counts()
    }

    /// Prints the report.
    pub(super) fn print(&self, output: &mut Output) -> io::Result<()> {
        match output.layout() {
            Layout::Text | Layout::Raw => self.print_text(output),
            Layout::Csv => {
                let mut records = output.records(COLUMNS)?;
                self.rows().try_for_each(|row| records.push(self.flat(&row)))?;
                records.end()
            }
            _ => output.line(self.record()),
        }
    }

    fn print_text(&self, output: &mut Output) -> io::Result<()> {
        // In the order in which they are left out on a narrow terminal: p90, p99.99, p50.
        let order = |name: &str| match name {
            "p90" => 3,
            "p99.99" => 2,
            "p50" => 1,
            _ => 0,
        };
        let percentiles = PERCENTILES.iter().map(|(_, name)| Column::right(name).optional(order(name)));
        let columns = [
            Column::left(" "),
            Column::right("ops"),
            Column::right("ops/s"),
            Column::right("errors"),
            Column::right("hit%"),
        ];
        let columns: Vec<_> = columns.into_iter().chain(percentiles).chain([Column::right("max")]).collect();
        let mut table = Table::new(columns);
        for row in self.rows() {
            table.row(self.cells(&row));
        }
        output.table(&table)?;
        output.prose(self.summary())?;
        let latency = &self.total.latency;
        if output.has_charts() && !latency.is_empty() {
            let width = output.columns().unwrap_or(CURVE_WIDTH);
            output.line(curve::line(latency, width))?;
        }
        Ok(())
    }

    /// Returns a row for each operation, and one for all if there are several.
    fn rows(&self) -> impl Iterator<Item = OperationRow<'_>> {
        let is_sum = self.operations().count() > 1;
        self.operations().chain(is_sum.then(|| self.total_row()))
    }

    fn operations(&self) -> impl Iterator<Item = OperationRow<'_>> {
        let hits = |operation| self.recorder.hits(Some(operation));
        let operations = self.recorder.operations();
        operations.map(move |(operation, stats)| OperationRow { name: operation.name(), stats, hits: hits(operation) })
    }

    fn total_row(&self) -> OperationRow<'_> {
        OperationRow { name: "total", stats: &self.total, hits: self.recorder.hits(None) }
    }

    fn cells(&self, row: &OperationRow<'_>) -> Vec<Cell> {
        let (stats, (hits, answers)) = (row.stats, row.hits);
        let errors = Cell::new(number::exact(stats.errors));
        let time = |time: Duration| if stats.answers > 0 { Cell::new(number::duration(time)) } else { Cell::unknown() };
        let mut cells = vec![
            Cell::new(row.name),
            Cell::new(number::exact(stats.answers)),
            Cell::new(self.rate(stats.answers)),
            if stats.errors > 0 { errors.style(TextStyle::Bad) } else { errors },
            number::percent(hits, answers).map_or_else(Cell::unknown, Cell::new),
        ];
        cells.extend(PERCENTILES.iter().map(|(percent, _)| time(stats.percentile(*percent))));
        cells.push(time(stats.longest()));
        cells
    }

    fn summary(&self) -> String {
        let reached = self.rate(self.total.answers);
        match self.pace {
            LoadModel::Closed(callers) => format!(
                "{} callers reached {reached}/s in {}; latency from the call",
                number::exact(callers as u64),
                number::duration(self.elapsed)
            ),
            LoadModel::Open(rate) => {
                format!("asked {}/s, reached {reached}/s; latency from the planned send time", number::exact(rate))
            }
        }
    }

    fn rate(&self, count: u64) -> String {
        number::exact(per_second(count, self.elapsed).round() as u64)
    }

    fn record(&self) -> Record {
        let operations =
            self.operations().map(|row| self.nested(Record::new().with("operation", row.name), &row).into());
        self.settings
            .clone()
            .with("elapsed_seconds", self.elapsed.as_secs_f64())
            .with("reached_per_second", per_second(self.total.answers, self.elapsed))
            .with("operations", operations.collect::<Vec<Value>>())
            .with("total", self.nested(Record::new(), &self.total_row()))
            .with("broken", self.broken.clone())
    }

    /// Returns a record of JSON, whose latencies are an object.
    fn nested(&self, record: Record, row: &OperationRow<'_>) -> Record {
        let latency: Map<_, _> = latencies(row.stats).map(|(name, micros)| (name.into(), micros.into())).collect();
        self.with_counts(record, row).with("latency_us", latency)
    }

    /// Returns a record of CSV, whose latencies are fields of their own.
    fn flat(&self, row: &OperationRow<'_>) -> Record {
        let record = self.with_counts(Record::new().with("operation", row.name), row);
        latencies(row.stats).fold(record, |record, (name, micros)| record.with(&format!("{name}_us"), micros))
    }

    fn with_counts(&self, record: Record, row: &OperationRow<'_>) -> Record {
        let (hits, answers) = row.hits;
        let hit_percent = (answers > 0).then(|| 100.0 * hits as f64 / answers as f64);
        record
            .with("answers", row.stats.answers)
            .with("answers_per_second", per_second(row.stats.answers, self.elapsed))
            .with("errors", row.stats.errors)
            .with_some("hit_percent", hit_percent)
    }

    /// Writes the requested files.
    pub(super) fn save(&self, args: &Args) -> Result<(), Failure> {
        if let Some(path) = &args.json {
            atomic_file::write(path, format!("{}\n", self.record()).as_bytes())?;
        }
        if let Some(path) = &args.hdr {
            atomic_file::write(path, &self.histograms().map_err(file_error(path))?)?;
        }
        #[cfg(feature = "charts")]
        if let Some(path) = &args.svg {
            let svg = plot::draw(&self.recorder, &self.title()).map_err(|error| io::Error::other(error.to_string()));
            atomic_file::write(path, svg.map_err(file_error(path))?.as_bytes())?;
        }
        Ok(())
    }

    /// Title of the drawing.
    #[cfg(feature = "charts")]
    fn title(&self) -> String {
        let reached = self.rate(self.total.answers);
        match self.pace {
            LoadModel::Closed(callers) => {
                format!("{} callers, {reached} answers a second", number::exact(callers as u64))
            }
            LoadModel::Open(rate) => format!("{} asked a second, {reached} answered", number::exact(rate)),
        }
    }

    /// Serializes a histogram for each operation, tagged with its name.
    fn histograms(&self) -> io::Result<Vec<u8>> {
        let mut text = Vec::new();
        let mut serializer = V2DeflateSerializer::new();
        let started = SystemTime::now().checked_sub(self.elapsed).unwrap_or(SystemTime::UNIX_EPOCH);
        let mut log = IntervalLogWriterBuilder::new()
            .add_comment("latencies in nanoseconds, the largest of each line in milliseconds")
            .with_max_value_divisor(1e6)
            .with_start_time(started)
            .begin_log_with(&mut text, &mut serializer)?;
        for (operation, stats) in self.recorder.operations() {
            let tag = Tag::new(operation.name());
            let written = log.write_histogram(&stats.latency, Duration::ZERO, self.elapsed, tag);
            written.map_err(|error| io::Error::other(format!("{error:?}")))?;
        }
        Ok(text)
    }
}

/// Width of the curve where that of the terminal is unknown.
const CURVE_WIDTH: usize = 100;

const COLUMNS: &[&str] = &[
    "operation",
    "answers",
    "answers_per_second",
    "errors",
    "hit_percent",
    "mean_us",
    "p50_us",
    "p90_us",
    "p99_us",
    "p99.9_us",
    "p99.99_us",
    "max_us",
];

fn settings(args: &Args, client: &Client) -> Record {
    let servers: Vec<String> = client.servers().iter().map(|server| server.name().to_owned()).collect();
    let record = Record::new()
        .with("servers", servers)
        .with("ratio", args.ratio.to_string())
        .with("keys", args.keys)
        .with("distribution", args.dist.to_string())
        .with("value_size", args.size.to_string())
        .with("connections", args.conns)
        .with("threads", args.threads());
    match args.pace() {
        LoadModel::Closed(callers) => record.with("callers", callers),
        LoadModel::Open(rate) => record.with("requested_per_second", rate),
    }
}

/// Returns the latencies of the records, in microseconds.
fn latencies(stats: &OpStats) -> impl Iterator<Item = (&'static str, f64)> {
    let micros = |time: Duration| time.as_nanos() as f64 / 1000.0;
    let percentiles = PERCENTILES.iter().map(move |(percent, name)| (*name, micros(stats.percentile(*percent))));
    let all = [("mean", stats.latency.mean() / 1000.0)].into_iter().chain(percentiles);
    all.chain([("max", micros(stats.longest()))]).filter(|_| stats.answers > 0)
}
