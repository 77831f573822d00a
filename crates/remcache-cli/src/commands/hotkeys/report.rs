//! Report of the most frequent keys or prefixes, as a table or as records.

use std::collections::HashMap;
use std::io;
use std::time::Duration;

use remcache::ServerHandle;

use super::aggregator::{Aggregator, Counted};
use crate::output::{Cell, Column, Output, Record, Table, TextStyle, number, text};

/// A key at a server, or a prefix on all servers, with its estimated fetches.
#[derive(Debug)]
pub(super) struct HotKey {
    /// Index of the server; `None` for a prefix.
    pub(super) server: Option<usize>,
    pub(super) key: Vec<u8>,
    /// Fetches that were reported.
    reported: u64,
    /// Upper bound of the fetches that went uncounted, before the key was seen often enough.
    uncounted: u64,
    /// Fetches, hits and bytes including what the servers dropped.
    pub(super) gets: f64,
    pub(super) hits: f64,
    pub(super) bytes: Option<f64>,
    /// Size of the value that was fetched last.
    pub(super) size: Option<u64>,
}

/// The most frequent keys or prefixes.
#[derive(Debug)]
pub(super) struct HotKeyReport {
    pub(super) keys: Vec<HotKey>,
    /// Names of the servers; empty in a report by prefix.
    servers: Vec<String>,
    /// Fetches of any key.
    all_gets: f64,
    events: u64,
    skipped: u64,
    elapsed: Duration,
}

const COLUMNS: &[&str] = &[
    "key",
    "key_b64",
    "server",
    "gets",
    "uncounted_gets",
    "gets_per_second",
    "share_percent",
    "hit_percent",
    "size",
    "out_bytes_per_second",
];

const PREFIX_COLUMNS: &[&str] = &[
    "prefix",
    "prefix_b64",
    "gets",
    "uncounted_gets",
    "gets_per_second",
    "share_percent",
    "hit_percent",
    "out_bytes_per_second",
];

/// Rates of bytes at which a key deserves attention, and at which it fills a link: 100 Mbit/s and 1 Gbit/s.
const OUT_WARNING: f64 = 12.5e6;
const OUT_BAD: f64 = 125e6;
/// Share of all fetches, in percent, from which one key makes one server hot.
const SHARE_WARNING: f64 = 20.0;
/// Hit ratio, in percent, below which most fetches of a key are useless.
const HIT_WARNING: f64 = 50.0;
/// Size from which a value delays the requests that follow it.
const SIZE_WARNING: u64 = 256 << 10;

impl HotKey {
    fn new(counted: Counted, aggregator: &Aggregator) -> Self {
        // A server that reports a tenth of its events has ten times the fetches that were counted.
        let scale = aggregator.scale(counted.server);
        let counts = counted.counts;
        Self {
            server: Some(counted.server),
            key: counted.key,
            reported: counts.gets,
            uncounted: counts.uncounted,
            gets: counts.gets as f64 * scale,
            hits: counts.hits as f64 * scale,
            bytes: counts.size.map(|_| counts.bytes as f64 * scale),
            size: counts.size,
        }
    }

    /// Adds the counts of the same prefix at another server.
    fn add(&mut self, other: Self) {
        self.reported += other.reported;
        self.uncounted += other.uncounted;
        self.gets += other.gets;
        self.hits += other.hits;
        self.bytes = self.bytes.into_iter().chain(other.bytes).reduce(|sum, bytes| sum + bytes);
    }

    fn hit_percent(&self) -> f64 {
        100.0 * self.hits / self.gets.max(f64::MIN_POSITIVE)
    }
}

/// Rates of a key.
struct KeyRates {
    gets: f64,
    share: f64,
    out: Option<f64>,
}

impl HotKeyReport {
    /// Reports the most frequent keys, each with its server.
    pub(super) fn by_key(aggregator: Aggregator, elapsed: Duration, limit: usize, servers: &[ServerHandle]) -> Self {
        let keys = aggregator.counted().into_iter().map(|counted| HotKey::new(counted, &aggregator)).collect();
        let servers = servers.iter().map(|server| server.name().to_owned()).collect();
        Self::new(keys, servers, &aggregator, elapsed, limit)
    }

    /// Reports the most frequent prefixes, each summed up over all servers.
    pub(super) fn by_prefix(aggregator: Aggregator, elapsed: Duration, limit: usize) -> Self {
        let mut prefixes: HashMap<Vec<u8>, HotKey> = HashMap::new();
        for counted in aggregator.counted() {
            let at_server = HotKey { server: None, ..HotKey::new(counted, &aggregator) };
            match prefixes.get_mut(&at_server.key) {
                Some(prefix) => prefix.add(at_server),
                None => drop(prefixes.insert(at_server.key.clone(), at_server)),
            }
        }
        Self::new(prefixes.into_values().collect(), Vec::new(), &aggregator, elapsed, limit)
    }

    fn new(
        mut keys: Vec<HotKey>,
        servers: Vec<String>,
        aggregator: &Aggregator,
        elapsed: Duration,
        limit: usize,
    ) -> Self {
        // Keys with equal counts are in the order of their names, so that the order is reproducible.
        keys.sort_unstable_by(|one, other| other.gets.total_cmp(&one.gets).then_with(|| one.key.cmp(&other.key)));
        keys.truncate(limit);
        let (all_gets, events, skipped) = (aggregator.gets(), aggregator.events(), aggregator.skipped());
        Self { keys, servers, all_gets, events, skipped, elapsed }
    }

    fn is_by_prefix(&self) -> bool {
        self.servers.is_empty()
    }

    pub(super) fn print(&self, output: &mut Output) -> io::Result<()> {
        if !output.is_text() {
            let mut records = output.records(if self.is_by_prefix() { PREFIX_COLUMNS } else { COLUMNS })?;
            self.keys.iter().try_for_each(|key| records.push(self.record(key)))?;
            records.end()?;
            return self.note(output);
        }
        let mut table = Table::new(self.columns());
        self.keys.iter().for_each(|key| table.row(self.cells(key)));
        output.table(&table)?;
        output.prose(self.summary())
    }

    fn columns(&self) -> Vec<Column> {
        let name = Column::left(if self.is_by_prefix() { "PREFIX" } else { "KEY" });
        let rates = ["GET/s", "SHARE", "HIT%"].map(Column::right);
        let rest = match self.is_by_prefix() {
            true => vec![Column::right("OUT/s")],
            false => vec![Column::right("SIZE"), Column::right("OUT/s"), Column::left("SERVER")],
        };
        [vec![name], rates.to_vec(), rest].concat()
    }

    /// Warns on stderr if the rates of the records are estimates.
    fn note(&self, output: &mut Output) -> io::Result<()> {
        output.flush()?;
        if self.skipped > 0 {
            output.notes().print(self.summary());
        }
        Ok(())
    }

    fn summary(&self) -> String {
        let (events, skipped) = (number::count(self.events), number::count(self.skipped));
        let estimated = if self.skipped > 0 { ": the rates are estimates" } else { "" };
        format!("watched {events} events, {skipped} skipped by the server's log buffer{estimated}")
    }

    fn rates(&self, key: &HotKey) -> KeyRates {
        let seconds = self.elapsed.as_secs_f64().max(f64::MIN_POSITIVE);
        KeyRates {
            gets: key.gets / seconds,
            share: 100.0 * key.gets / self.all_gets.max(1.0),
            out: key.bytes.map(|bytes| bytes / seconds),
        }
    }

    fn record(&self, key: &HotKey) -> Record {
        let rates = self.rates(key);
        let server = key.server.and_then(|server| self.servers.get(server)).map(String::as_str);
        Record::new()
            .with_bytes(if self.is_by_prefix() { "prefix" } else { "key" }, &key.key)
            .with_some("server", server)
            .with("gets", key.reported)
            .with("uncounted_gets", key.uncounted)
            .with("gets_per_second", rates.gets)
            .with("share_percent", rates.share)
            .with("hit_percent", key.hit_percent())
            .with_some("size", key.size.filter(|_| !self.is_by_prefix()))
            .with_some("out_bytes_per_second", rates.out)
    }

    fn cells(&self, key: &HotKey) -> Vec<Cell> {
        let rates = self.rates(key);
        let warned = |cell: Cell, is_notable: bool| if is_notable { cell.style(TextStyle::Warning) } else { cell };
        let name = if self.is_by_prefix() && key.key.is_empty() { "(none)".into() } else { text::inline(&key.key) };
        let mut cells = vec![
            Cell::new(name).style(TextStyle::Name),
            Cell::new(rate(rates.gets)),
            // A prefix with a large share of the fetches is no cause for concern: it is spread over the servers.
            warned(
                Cell::new(format_args!("{:.1}%", rates.share)),
                rates.share >= SHARE_WARNING && !self.is_by_prefix(),
            ),
            warned(Cell::new(format_args!("{:.0}%", key.hit_percent())), key.hit_percent() < HIT_WARNING),
        ];
        let out = rates.out.map_or_else(Cell::unknown, |bytes| {
            if self.is_by_prefix() { Cell::new(number::bytes(bytes as u64)) } else { out(bytes) }
        });
        if let Some(server) = key.server.and_then(|server| self.servers.get(server)) {
            let size = |size| warned(Cell::new(number::bytes(size)), size >= SIZE_WARNING);
            cells.extend([key.size.map_or_else(Cell::unknown, size), out, Cell::new(server)]);
        } else {
            cells.push(out);
        }
        cells
    }
}

/// Formats a rate of fetches; a key that is fetched less than ten times a second has a fraction.
fn rate(gets: f64) -> String {
    if gets < 9.95 { number::rate(gets) } else { number::exact(gets as u64) }
}

fn out(bytes: f64) -> Cell {
    let text = number::bytes(bytes as u64);
    match bytes {
        OUT_BAD.. => Cell::new(format_args!("{text}!")).style(TextStyle::Bad),
        OUT_WARNING.. => Cell::new(text).style(TextStyle::Warning),
        _ => Cell::new(text),
    }
}
