//! The hottest keys as a table or as records.

use std::io;
use std::time::Duration;

use remcache::client::ServerHandle;

use super::heat::Spot;
use super::log::Log;
use crate::output::{Cell, Column, Output, Record, Table, Tone, number, text};

/// A key, and what was seen of it.
#[derive(Debug)]
pub(super) struct Hot {
    pub(super) server: usize,
    pub(super) key: Vec<u8>,
    pub(super) spot: Spot,
}

/// What is to be told.
#[derive(Debug)]
pub(super) struct Report<'a> {
    pub(super) hot: Vec<Hot>,
    pub(super) log: &'a Log,
    pub(super) servers: &'a [ServerHandle],
    pub(super) elapsed: Duration,
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

/// From these rates of bytes on, a key is worth a look, and can fill a link: of 100 Mbit/s, and of 1 Gbit/s.
const OUT_WARNING: f64 = 12.5e6;
const OUT_BAD: f64 = 125e6;
/// From this part of all fetches on, one key makes one server hot.
const SHARE_WARNING: f64 = 20.0;
/// Below this, most fetches of a key are in vain.
const HIT_WARNING: f64 = 50.0;
/// From this size on, a value holds up the requests behind it.
const SIZE_WARNING: u64 = 256 << 10;

impl Hot {
    /// The hottest keys of all servers.
    pub(super) fn list(log: &Log, most: usize) -> Vec<Self> {
        let hot = |(server, key, spot): (usize, &[u8], Spot)| Self { server, key: key.to_vec(), spot };
        log.hottest(most).into_iter().map(hot).collect()
    }

    fn hit_percent(&self) -> f64 {
        100.0 * self.spot.hits as f64 / self.spot.gets.max(1) as f64
    }
}

/// The figures of a key.
struct Figures {
    gets: f64,
    share: f64,
    out: Option<f64>,
}

impl Report<'_> {
    pub(super) fn print(&self, output: &mut Output) -> io::Result<()> {
        if !output.is_text() {
            let mut records = output.records(COLUMNS)?;
            self.hot.iter().try_for_each(|hot| records.push(self.record(hot)))?;
            records.end()?;
            return self.note(output);
        }
        let mut table = Table::new([
            Column::left("KEY"),
            Column::right("GET/s"),
            Column::right("SHARE"),
            Column::right("HIT%"),
            Column::right("SIZE"),
            Column::right("OUT/s"),
            Column::left("SERVER"),
        ]);
        self.hot.iter().for_each(|hot| table.row(self.cells(hot)));
        output.table(&table)?;
        output.line(self.summary())
    }

    /// What a pipe's reader should know beside the records.
    fn note(&self, output: &mut Output) -> io::Result<()> {
        output.flush()?;
        if self.log.skipped() > 0 {
            output.notes().tell(self.summary());
        }
        Ok(())
    }

    fn summary(&self) -> String {
        let (events, skipped) = (number::count(self.log.events()), number::count(self.log.skipped()));
        let estimated = if self.log.skipped() > 0 { ": the rates are estimates" } else { "" };
        format!("watched {events} events, {skipped} skipped by the server's log buffer{estimated}")
    }

    fn figures(&self, hot: &Hot) -> Figures {
        let seconds = self.elapsed.as_secs_f64().max(f64::MIN_POSITIVE);
        let scale = self.log.scale(hot.server);
        let gets = hot.spot.gets as f64 * scale;
        Figures {
            gets: gets / seconds,
            share: 100.0 * gets / self.log.gets().max(1.0),
            out: hot.spot.size.map(|_| hot.spot.bytes as f64 * scale / seconds),
        }
    }

    fn record(&self, hot: &Hot) -> Record {
        let figures = self.figures(hot);
        Record::new()
            .with_bytes("key", &hot.key)
            .with("server", self.servers[hot.server].name())
            .with("gets", hot.spot.gets)
            .with("uncounted_gets", hot.spot.uncounted)
            .with("gets_per_second", figures.gets)
            .with("share_percent", figures.share)
            .with("hit_percent", hot.hit_percent())
            .with_some("size", hot.spot.size)
            .with_some("out_bytes_per_second", figures.out)
    }

    fn cells(&self, hot: &Hot) -> Vec<Cell> {
        let figures = self.figures(hot);
        let toned = |cell: Cell, is_notable: bool| if is_notable { cell.tone(Tone::Warning) } else { cell };
        let size = hot
            .spot
            .size
            .map_or_else(Cell::unknown, |size| toned(Cell::new(number::bytes(size)), size >= SIZE_WARNING));
        vec![
            Cell::new(text::inline(&hot.key)).tone(Tone::Name),
            Cell::new(rate(figures.gets)),
            toned(Cell::new(format_args!("{:.1}%", figures.share)), figures.share >= SHARE_WARNING),
            toned(Cell::new(format_args!("{:.0}%", hot.hit_percent())), hot.hit_percent() < HIT_WARNING),
            size,
            figures.out.map_or_else(Cell::unknown, out),
            Cell::new(self.servers[hot.server].name()),
        ]
    }
}

/// Fetches in a second; a key that is fetched now and then has a fraction.
fn rate(gets: f64) -> String {
    if gets < 9.95 { number::rate(gets) } else { number::exact(gets as u64) }
}

fn out(bytes: f64) -> Cell {
    let text = number::bytes(bytes as u64);
    match bytes {
        OUT_BAD.. => Cell::new(format_args!("{text}!")).tone(Tone::Bad),
        OUT_WARNING.. => Cell::new(text).tone(Tone::Warning),
        _ => Cell::new(text),
    }
}
