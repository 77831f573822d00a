//! Tables of slab classes: their items (`stats items`) and their memory (`stats slabs`).

use std::time::Duration;

use super::round::Round;
use crate::output::{Cell, Column, Record, Table, TextStyle, number};
use crate::stats::Stats;

/// A table with a row for each slab class of each server.
#[derive(Debug)]
pub(super) struct ClassTable {
    /// What precedes the number of the class in the name of a statistic: `items:3:age`, `3:chunk_size`.
    prefix: &'static str,
    columns: &'static [ClassColumn],
}

/// A column: a statistic of a slab class.
#[derive(Debug)]
struct ClassColumn {
    title: &'static str,
    stat: &'static str,
    kind: Kind,
    format: fn(u64) -> String,
    optional: u8,
}

/// What a statistic means, which decides how it is summed up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// A number that is added up over classes.
    Amount,
    /// A counter, which is shown as a rate between two rounds.
    Counter,
    /// An age: the total is the greatest one.
    Age,
    /// A property of the class, which has no total.
    Property,
}

const fn column(title: &'static str, stat: &'static str, kind: Kind, format: fn(u64) -> String) -> ClassColumn {
    ClassColumn { title, stat, kind, format, optional: 0 }
}

impl ClassColumn {
    const fn optional(self, order: u8) -> Self {
        Self { optional: order, ..self }
    }
}

pub(super) const ITEMS: ClassTable = ClassTable {
    prefix: "items:",
    columns: &[
        column("ITEMS", "number", Kind::Amount, number::count),
        column("BYTES", "mem_requested", Kind::Amount, number::bytes),
        column("AGE", "age", Kind::Age, number::age),
        column("EVICTED", "evicted", Kind::Counter, number::count),
        column("UNREAD", "evicted_unfetched", Kind::Counter, number::count),
        column("NOMEM", "outofmemory", Kind::Counter, number::count).optional(1),
        column("EXPIRED", "reclaimed", Kind::Counter, number::count).optional(2),
    ],
};

pub(super) const SLABS: ClassTable = ClassTable {
    prefix: "",
    columns: &[
        column("CHUNK", "chunk_size", Kind::Property, number::bytes),
        column("PAGES", "total_pages", Kind::Amount, number::count),
        column("USED", "used_chunks", Kind::Amount, number::count),
        column("FREE", "free_chunks", Kind::Amount, number::count),
        column("HITS", "get_hits", Kind::Counter, number::count),
        column("SETS", "cmd_set", Kind::Counter, number::count),
    ],
};

/// The values of a row, in the order of the columns.
type Values = Vec<Option<u64>>;

impl ClassTable {
    /// The table of a round; with an earlier round, counters are shown as rates.
    pub(super) fn table(&self, round: &Round, previous: Option<&Round>) -> Table {
        let mut table = Table::new(self.titles(previous.is_some()));
        let mut totals = Vec::new();
        for (index, snapshot) in round.snapshots.iter().enumerate() {
            let name = Cell::new(snapshot.server.name());
            let Ok(now) = &snapshot.stats else {
                table.row([name, round.unavailable(index)]);
                continue;
            };
            let earlier = previous.and_then(|previous| previous.before(index, round));
            let rows: Vec<(&str, Values)> =
                classes(now, self.prefix).into_iter().map(|class| (class, self.values(class, now, earlier))).collect();
            let total = self.total(rows.iter().map(|(_, values)| values));
            let elapsed = earlier.map(|(_, elapsed)| elapsed);
            for (class, values) in &rows {
                table.row(self.row(name.clone(), Cell::new(class), values, elapsed));
            }
            table.row(self.row(name, Cell::new("total").style(TextStyle::Title), &total, elapsed));
            totals.push((total, elapsed));
        }
        if round.snapshots.len() > 1 {
            let name = Cell::new(format_args!("total ({}/{})", totals.len(), round.snapshots.len()));
            let elapsed = totals.iter().filter_map(|(_, elapsed)| *elapsed).max();
            let total = self.total(totals.iter().map(|(values, _)| values));
            table.row(self.row(name.style(TextStyle::Title), Cell::default(), &total, elapsed));
        }
        table
    }

    /// Growth of the counters per second, by the names of the statistics.
    pub(super) fn rates(&self, now: &Stats, earlier: (&Stats, Duration)) -> Record {
        let mut rates = Record::new();
        let seconds = earlier.1.as_secs_f64().max(f64::MIN_POSITIVE);
        for class in classes(now, self.prefix) {
            for column in self.columns.iter().filter(|column| column.kind == Kind::Counter) {
                if let Some(growth) = self.value(class, column, now, Some(earlier)) {
                    rates = rates.with(&format!("{}{class}:{}", self.prefix, column.stat), growth as f64 / seconds);
                }
            }
        }
        rates
    }

    fn titles(&self, has_rates: bool) -> Vec<Column> {
        let title = |column: &ClassColumn| match (column.kind, column.title) {
            (Kind::Counter, "EVICTED") if has_rates => "EVICT/s",
            (Kind::Counter, "UNREAD") if has_rates => "UNREAD/s",
            (Kind::Counter, "NOMEM") if has_rates => "NOMEM/s",
            (Kind::Counter, "EXPIRED") if has_rates => "EXPIRE/s",
            (Kind::Counter, "HITS") if has_rates => "HIT/s",
            (Kind::Counter, "SETS") if has_rates => "SET/s",
            (_, title) => title,
        };
        let columns = self.columns.iter().map(|column| Column::right(title(column)).optional(column.optional));
        [Column::left("SERVER").shrinkable(), Column::right("CLASS")].into_iter().chain(columns).collect()
    }

    fn values(&self, class: &str, now: &Stats, earlier: Option<(&Stats, Duration)>) -> Values {
        self.columns.iter().map(|column| self.value(class, column, now, earlier)).collect()
    }

    /// The value of a statistic; of a counter, how much it has grown since the earlier round.
    fn value(
        &self,
        class: &str,
        column: &ClassColumn,
        now: &Stats,
        earlier: Option<(&Stats, Duration)>,
    ) -> Option<u64> {
        let name = format!("{}{class}:{}", self.prefix, column.stat);
        let value = now.number(&name)?;
        match earlier.filter(|_| column.kind == Kind::Counter) {
            Some((earlier, _)) => Some(value.saturating_sub(earlier.number(&name).unwrap_or_default())),
            None => Some(value),
        }
    }

    fn total<'v>(&self, rows: impl Iterator<Item = &'v Values> + Clone) -> Values {
        let total = |(index, column): (usize, &ClassColumn)| {
            let values = rows.clone().filter_map(|values| values[index]);
            match column.kind {
                Kind::Amount | Kind::Counter => Some(values.sum()),
                Kind::Age => values.max(),
                Kind::Property => None,
            }
        };
        self.columns.iter().enumerate().map(total).collect()
    }

    fn row(&self, server: Cell, class: Cell, values: &Values, elapsed: Option<Duration>) -> Vec<Cell> {
        let cell = |(column, value): (&ClassColumn, &Option<u64>)| match (value, column.kind, elapsed) {
            (None, Kind::Property, _) => Cell::default(),
            (None, ..) => Cell::unknown(),
            (Some(value), Kind::Counter, Some(elapsed)) => {
                Cell::new(number::rate(*value as f64 / elapsed.as_secs_f64().max(f64::MIN_POSITIVE)))
            }
            (Some(value), ..) => Cell::new((column.format)(*value)),
        };
        [server, class].into_iter().chain(self.columns.iter().zip(values).map(cell)).collect()
    }
}

/// The numbers of the slab classes, in the server's order.
fn classes<'s>(stats: &'s Stats, prefix: &str) -> Vec<&'s str> {
    let mut classes: Vec<&str> = Vec::new();
    for (name, _) in stats.iter() {
        let class = name.strip_prefix(prefix).and_then(|rest| Some(rest.split_once(':')?.0));
        if let Some(class) = class.filter(|class| class.bytes().all(|byte| byte.is_ascii_digit()))
            && classes.last() != Some(&class)
        {
            classes.push(class);
        }
    }
    classes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stats(pairs: &[(&str, &str)]) -> Stats {
        pairs.iter().copied().collect()
    }

    #[test]
    fn classes_are_read_from_the_names() {
        let items = stats(&[("items:1:number", "1"), ("items:1:age", "2"), ("items:12:number", "3")]);
        assert_eq!(classes(&items, "items:"), ["1", "12"]);
        let slabs = stats(&[("1:chunk_size", "96"), ("5:chunk_size", "240"), ("active_slabs", "2")]);
        assert_eq!(classes(&slabs, ""), ["1", "5"]);
    }

    #[test]
    fn counters_grow_and_other_values_do_not() {
        let before = stats(&[("items:1:number", "5"), ("items:1:evicted", "10")]);
        let now = stats(&[("items:1:number", "7"), ("items:1:evicted", "30"), ("items:1:age", "60")]);
        let earlier = Some((&before, Duration::from_secs(2)));
        assert_eq!(ITEMS.values("1", &now, earlier)[..4], [Some(7), None, Some(60), Some(20)]);
        assert_eq!(ITEMS.values("1", &now, None)[..4], [Some(7), None, Some(60), Some(30)]);
        let rates = serde_json::Value::from(ITEMS.rates(&now, (&before, Duration::from_secs(2))));
        assert_eq!(rates["items:1:evicted"], 10.0);
    }

    #[test]
    fn totals_add_up_amounts_and_take_the_greatest_age() {
        let rows = [vec![Some(1), Some(10), Some(5), Some(1)], vec![Some(2), None, Some(9), Some(3)]];
        let rows: Vec<Values> = rows.into_iter().map(|row| [row, vec![None; 3]].concat()).collect();
        assert_eq!(ITEMS.total(rows.iter())[..4], [Some(3), Some(10), Some(9), Some(4)]);
        let slabs = [vec![Some(96), Some(1), Some(2), Some(3), Some(4), Some(5)]];
        assert_eq!(SLABS.total(slabs.iter())[..2], [None, Some(1)]);
    }
}
