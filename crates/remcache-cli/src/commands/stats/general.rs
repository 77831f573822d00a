//! The table of general statistics: a row for each server, and totals.

use std::time::Duration;

use super::round::Round;
use crate::output::{Cell, Column, Record, Table, TextStyle, chart, number};
use crate::stats::Stats;

/// The general statistics of one server, or the totals of all.
#[derive(Clone, Debug, Default)]
pub(super) struct GeneralRow {
    version: Option<String>,
    uptime: Option<u64>,
    items: u64,
    bytes: u64,
    limit: u64,
    /// Counters: since the server's start, or within `elapsed`.
    hits: u64,
    gets: u64,
    sets: u64,
    evictions: u64,
    elapsed: Option<Duration>,
    connections: u64,
    max_connections: Option<u64>,
    age: Option<u64>,
}

impl GeneralRow {
    /// Creates a row from statistics; the counters of earlier ones are subtracted.
    pub(super) fn new(before: Option<(&Stats, Duration)>, now: &Stats, age: Option<u64>) -> Self {
        let number = |name| now.number(name).unwrap_or_default();
        // A server that was restarted in between counts from 0 again.
        let is_restarted = |earlier: &Stats| now.number("uptime") < earlier.number("uptime");
        let before = before.filter(|(earlier, _)| !is_restarted(earlier));
        let counted = |name| {
            let earlier = before.and_then(|(earlier, _)| earlier.number(name)).unwrap_or_default();
            number(name).saturating_sub(earlier)
        };
        Self {
            version: now.text("version").map(str::to_owned),
            uptime: now.number("uptime"),
            items: number("curr_items"),
            bytes: number("bytes"),
            limit: number("limit_maxbytes"),
            hits: counted("get_hits"),
            gets: counted("get_hits") + counted("get_misses"),
            sets: counted("cmd_set"),
            evictions: counted("evictions"),
            elapsed: before.map(|(_, elapsed)| elapsed),
            connections: number("curr_connections"),
            max_connections: now.number("max_connections"),
            age,
        }
    }

    /// Adds up all rows.
    fn total(rows: &[Option<Self>]) -> Self {
        let mut total = Self::default();
        for row in rows.iter().flatten() {
            total.items += row.items;
            total.bytes += row.bytes;
            total.limit += row.limit;
            total.hits += row.hits;
            total.gets += row.gets;
            total.sets += row.sets;
            total.evictions += row.evictions;
            total.elapsed = total.elapsed.max(row.elapsed);
        }
        total
    }

    /// Rates per second, if there were earlier statistics.
    pub(super) fn rates(&self) -> Option<Record> {
        let rate = |counter| self.rate(counter);
        let record = Record::new().with("gets_per_second", rate(self.gets)?).with("sets_per_second", rate(self.sets)?);
        Some(record.with("evictions_per_second", rate(self.evictions)?).with_some("hit_percent", self.hit_percent()))
    }

    fn rate(&self, counter: u64) -> Option<f64> {
        let seconds = self.elapsed?.as_secs_f64();
        (seconds > 0.0).then(|| counter as f64 / seconds)
    }

    fn hit_percent(&self) -> Option<f64> {
        (self.gets > 0).then(|| 100.0 * self.hits as f64 / self.gets as f64)
    }

    fn cells(&self, name: Cell, has_rates: bool, fill_bar: Cell) -> Vec<Cell> {
        let counted = |counter: u64| match (has_rates, self.rate(counter)) {
            (true, Some(rate)) => Cell::new(number::rate(rate)),
            (true, None) => Cell::unknown(),
            (false, _) => Cell::new(number::count(counter)),
        };
        let evictions = match (self.evictions, has_rates) {
            (0, _) => counted(0),
            // The mark shows it without colours too.
            (evicted, true) => counted(evicted).marked().style(TextStyle::Warning),
            (evicted, false) => counted(evicted).style(TextStyle::Warning),
        };
        vec![
            name,
            Cell::new(self.version.as_deref().unwrap_or_default()),
            Cell::new(self.uptime.map(number::age).unwrap_or_default()),
            Cell::new(number::count(self.items)),
            fill_bar,
            Cell::new(number::bytes_of(self.bytes, self.limit)),
            number::percent(self.hits, self.gets).map_or_else(Cell::unknown, Cell::new),
            counted(self.gets),
            counted(self.sets),
            evictions,
        ]
    }

    fn fill_bar(&self) -> Cell {
        Cell::new(chart::fill_bar(self.bytes as f64 / self.limit.max(1) as f64, FILL_BAR_WIDTH))
    }

    fn connections(&self) -> Cell {
        match self.max_connections {
            Some(most) => {
                let is_near = self.connections.saturating_mul(10) >= most.saturating_mul(9);
                let cell = Cell::new(format_args!("{}/{most}", self.connections));
                if is_near { cell.style(TextStyle::Warning) } else { cell }
            }
            None => Cell::new(self.connections),
        }
    }
}

/// Returns the table of a round, with rates if there was an earlier one.
pub(super) fn table(round: &Round, previous: Option<&Round>, has_rates: bool, has_charts: bool) -> Table {
    let mut table = Table::new(columns(has_rates));
    let rows = round.rows(previous);
    for (index, (snapshot, row)) in round.snapshots.iter().zip(&rows).enumerate() {
        let name = Cell::new(snapshot.server.name());
        let Some(row) = row else {
            table.row([name, round.unavailable(index)]);
            continue;
        };
        let fill_bar = if has_charts { row.fill_bar() } else { Cell::default() };
        let mut cells = row.cells(name, has_rates, fill_bar);
        cells.push(row.connections());
        cells.push(row.age.map_or_else(Cell::unknown, |age| Cell::new(number::age(age))));
        table.row(cells);
    }
    if rows.len() > 1 {
        let alive = rows.iter().flatten().count();
        let name = Cell::new(format_args!("total ({alive}/{})", rows.len())).style(TextStyle::Title);
        // A fill_bar of all servers together would hide that one of them is full.
        table.row(GeneralRow::total(&rows).cells(name, has_rates, Cell::default()));
    }
    table
}

fn columns(has_rates: bool) -> [Column; 12] {
    let (gets, sets, evictions) = if has_rates { ("GET/s", "SET/s", "EVICT/s") } else { ("GETS", "SETS", "EVICTED") };
    [
        Column::left("SERVER").shrinkable(),
        Column::left("VER").optional(3),
        Column::right("UP").optional(2),
        Column::right("ITEMS"),
        Column::left("").optional(5),
        Column::right("MEMORY"),
        Column::right("HIT%"),
        Column::right(gets),
        Column::right(sets),
        Column::right(evictions),
        Column::right("CONNS").optional(1),
        Column::right("AGE").optional(4),
    ]
}

const FILL_BAR_WIDTH: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    fn stats(uptime: &str, hits: &str, misses: &str, sets: &str) -> Stats {
        [("uptime", uptime), ("get_hits", hits), ("get_misses", misses), ("cmd_set", sets), ("curr_items", "5")]
            .into_iter()
            .collect()
    }

    #[test]
    fn counters_become_rates_between_two_rounds() {
        let before = stats("100", "1000", "0", "500");
        let now = stats("110", "1090", "10", "520");
        let row = GeneralRow::new(Some((&before, Duration::from_secs(10))), &now, None);
        assert_eq!((row.rate(row.gets), row.rate(row.sets), row.hit_percent()), (Some(10.0), Some(2.0), Some(90.0)));
    }

    #[test]
    fn a_restarted_server_has_no_rates_yet() {
        let before = stats("100", "1000", "0", "500");
        let now = stats("2", "7", "3", "1");
        let row = GeneralRow::new(Some((&before, Duration::from_secs(10))), &now, None);
        assert_eq!((row.rate(row.gets), row.hits, row.gets), (None, 7, 10));
    }

    #[test]
    fn totals_skip_servers_that_are_down() {
        let one = || Some(GeneralRow::new(None, &stats("1", "3", "1", "0"), None));
        let total = GeneralRow::total(&[one(), None, one()]);
        assert_eq!((total.items, total.hits, total.gets), (10, 6, 8));
    }
}
