//! `ring balance`: the share of each server, now and after a change.

use super::Options;
use super::change::{Change, Moves};
use crate::exit::{Exit, Outcome};
use crate::output::{Cell, Column, Record, Table, TextStyle, chart, number};
use crate::session::Session;

/// One server's keys.
struct Share {
    before: u64,
    after: u64,
    moved_in: u64,
}

impl Share {
    fn of(server: usize, moves: &Moves) -> Self {
        let sum = |fits: &dyn Fn(usize, usize) -> bool| {
            moves.pairs.iter().filter(|((from, to), _)| fits(*from, *to)).map(|(_, count)| count).sum()
        };
        Self {
            before: sum(&|from, _| from == server),
            after: sum(&|_, to| to == server),
            moved_in: sum(&|from, to| to == server && from != server),
        }
    }
}

const COLUMNS: &[&str] = &["server", "share_percent", "keys", "deviation_percent", "share_after_percent", "moved_keys"];

pub(super) fn balance(options: &Options, session: &mut Session) -> Outcome {
    let change = Change::of(options, session)?;
    let moves = change.count(options)?;
    let is_changed = !options.add.is_empty() || !options.remove.is_empty() || options.to.is_some();
    let shares: Vec<Share> = (0..change.names.len()).map(|server| Share::of(server, &moves)).collect();
    let output = &mut session.output;
    if !output.is_text() {
        let mut records = output.records(COLUMNS)?;
        for (server, share) in shares.iter().enumerate() {
            records.push(record(&change, &moves, server, share, is_changed))?;
        }
        records.end()?;
        return Ok(Exit::Yes);
    }
    let mut table = table(&change, &moves, &shares, is_changed, None);
    if output.has_charts() {
        // The bars take the room that is left.
        let room = output.columns().map_or(MAX_BAR, |columns| columns.saturating_sub(table.width() + 2));
        if room >= MIN_BAR {
            table = self::table(&change, &moves, &shares, is_changed, Some(room.min(MAX_BAR)));
        }
    }
    output.table(&table)?;
    if is_changed {
        output.prose(change.verdict(&moves))?;
    }
    Ok(Exit::Yes)
}

/// The longest bar, and the shortest one that says anything.
const MAX_BAR: usize = 36;
const MIN_BAR: usize = 8;

/// Returns the table, with bars of at most this width.
fn table(change: &Change, moves: &Moves, shares: &[Share], is_changed: bool, bar: Option<usize>) -> Table {
    let server = Column::left("SERVER").shrinkable();
    let mut columns =
        vec![server, Column::right("SHARE"), Column::right("KEYS").optional(2), Column::right("±IDEAL").optional(1)];
    columns.extend(bar.map(|_| Column::left("")));
    if is_changed {
        columns.extend([Column::right("AFTER"), Column::right("MOVED IN").optional(3)]);
    }
    let mut table = Table::new(columns);
    for (server, share) in shares.iter().enumerate() {
        table.row(cells(change, moves, server, share, is_changed, bar));
    }
    table
}

/// Returns the deviation of a share from the ideal one, in percent of the ideal one.
fn deviation(keys: u64, moves: &Moves, ideal: Option<f64>) -> Option<f64> {
    let ideal = ideal? * moves.keys as f64;
    (ideal > 0.0).then(|| 100.0 * (keys as f64 - ideal) / ideal)
}

fn cells(
    change: &Change,
    moves: &Moves,
    server: usize,
    share: &Share,
    is_changed: bool,
    bar: Option<usize>,
) -> Vec<Cell> {
    let percent = |count| number::percent(count, moves.keys).map_or_else(Cell::unknown, |text| Cell::new(text + "%"));
    let ideal = change.ideal(server, false);
    let is_there = |is_after| change.ideal(server, is_after).is_some();
    let mut cells = vec![Cell::new(&change.names[server])];
    match is_there(false) {
        true => {
            let deviation = deviation(share.before, moves, ideal);
            let style = if deviation.is_some_and(|percent| percent.abs() > 10.0) {
                TextStyle::Warning
            } else {
                TextStyle::Plain
            };
            let deviation =
                deviation.map_or_else(Cell::unknown, |percent| Cell::new(format_args!("{percent:+.1}%")).style(style));
            cells.extend([percent(share.before), Cell::new(number::exact(share.before)), deviation]);
        }
        false => cells.extend([Cell::unknown(), Cell::unknown(), Cell::unknown()]),
    }
    if let Some(width) = bar {
        let widest = (0..change.names.len()).filter_map(|server| change.ideal(server, false)).fold(0.0, f64::max);
        let length = share.before as f64 / moves.keys.max(1) as f64 / (2.0 * widest).max(f64::MIN_POSITIVE);
        cells.push(Cell::new(chart::bar(length, width)).style(TextStyle::Name));
    }
    if is_changed && is_there(true) {
        cells.extend([percent(share.after), Cell::new(number::exact(share.moved_in))]);
    } else if is_changed {
        cells.push(Cell::unknown());
    }
    cells
}

fn record(change: &Change, moves: &Moves, server: usize, share: &Share, is_changed: bool) -> Record {
    let percent = |count: u64| 100.0 * count as f64 / moves.keys.max(1) as f64;
    let record = Record::new().with("server", &*change.names[server]).with("share_percent", percent(share.before));
    let record = record.with("keys", share.before);
    let record = record.with_some("deviation_percent", deviation(share.before, moves, change.ideal(server, false)));
    match is_changed {
        true => record.with("share_after_percent", percent(share.after)).with("moved_keys", share.moved_in),
        false => record,
    }
}
