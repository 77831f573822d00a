//! Tables of slab classes: their items (`stats items`) and their memory (`stats slabs`).

use std::time::Duration;

use super::records::{Entry, typed};
use super::round::Round;
use crate::output::{Cell, Column, Record, Table, TextStyle, number};
use crate::stats::Stats;

/// A table with a row for each slab class of each server.
#[derive(Debug)]
pub(super) struct ClassTable {
    /// The part of the name of a statistic before the number of the class: `items:3:age`, `3:chunk_size`.
    prefix: &'static str,
    columns: &'static [ClassColumn],
}

/// A column: a statistic of a slab class.
#[derive(Debug)]
struct ClassColumn {
    title: &'static str,
    stat: &'static str,
    kind: StatisticKind,
    format: fn(u64) -> String,
    optional: u8,
}

/// The kind of a statistic, which determines how it is summed up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum StatisticKind {
    /// A number that is added up over classes.
    Amount,
    /// A counter, which is shown as a rate between two rounds.
    Counter,
    /// An age: the total is the greatest one.
    Age,
    /// A property of the class, which has no total.
    Property,
}

const fn column(
    title: &'static str,
    stat: &'static str,
    kind: StatisticKind,
    format: fn(u64) -> String,
) -> ClassColumn {
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
        column("ITEMS", "number", StatisticKind::Amount, number::count),
        column("BYTES", "mem_requested", StatisticKind::Amount, number::bytes),
        column("AGE", "age", StatisticKind::Age, number::age),
        column("EVICTED", "evicted", StatisticKind::Counter, number::count),
        column("UNREAD", "evicted_unfetched", StatisticKind::Counter, number::count),
        column("NOMEM", "outofmemory", StatisticKind::Counter, number::count).optional(1),
        column("EXPIRED", "reclaimed", StatisticKind::Counter, number::count).optional(2),
    ],
};

pub(super) const SLABS: ClassTable = ClassTable {
    prefix: "",
    columns: &[
        column("CHUNK", "chunk_size", StatisticKind::Property, number::bytes),
        column("PAGES", "total_pages", StatisticKind::Amount, number::count),
        column("USED", "used_chunks", StatisticKind::Amount, number::count),
        column("FREE", "free_chunks", StatisticKind::Amount, number::count),
        column("HITS", "get_hits", StatisticKind::Counter, number::count),
        column("SETS", "cmd_set", StatisticKind::Counter, number::count),
    ],
};

/// The values of a row, in the order of the columns.
type ClassValues = Vec<Option<u64>>;

impl ClassTable {
    /// Returns the table of a round; with an earlier round, counters are shown as rates.
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
            let rows: Vec<(&str, ClassValues)> =
                now.ids(self.prefix).into_iter().map(|class| (class, self.values(class, now, earlier))).collect();
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

    /// Returns the statistics of each class of a server, then the totals and the statistics that have no class.
    pub(super) fn entries(&self, now: &Stats, earlier: Option<(&Stats, Duration)>) -> Vec<Entry> {
        let classes = now.ids(self.prefix);
        let rates = |values: &ClassValues| earlier.map(|(_, elapsed)| self.rates(values, elapsed));
        let mut entries = Vec::with_capacity(classes.len() + 1);
        let (mut counts, mut growths) = (Vec::new(), Vec::new());
        for class in classes {
            let growth = self.values(class, now, earlier);
            let prefix = format!("{}{class}:", self.prefix);
            let stats = now.iter().filter_map(|(name, value)| Some((name.strip_prefix(&prefix)?, typed(value))));
            let stats = stats.fold(Record::new(), |record, (name, value)| record.with(name, value));
            entries.push(Entry { class: Some(typed(class)), stats, rates: rates(&growth) });
            counts.push(self.values(class, now, None));
            growths.push(growth);
        }
        let total = self.columns.iter().zip(self.total(counts.iter()));
        let total = total.fold(Record::new(), |record, (column, value)| record.with_some(column.stat, value));
        let others = now.iter().filter(|(name, _)| !name.contains(':'));
        let stats = others.fold(total, |record, (name, value)| record.with(name, typed(value)));
        entries.push(Entry { class: Some("total".into()), stats, rates: rates(&self.total(growths.iter())) });
        entries
    }

    /// Returns the growth of the counters per second.
    fn rates(&self, growths: &ClassValues, elapsed: Duration) -> Record {
        let seconds = elapsed.as_secs_f64().max(f64::MIN_POSITIVE);
        let counters = self.columns.iter().zip(growths).filter(|(column, _)| column.kind == StatisticKind::Counter);
        counters.fold(Record::new(), |record, (column, growth)| {
            record.with_some(&format!("{}_per_second", column.stat), growth.map(|growth| growth as f64 / seconds))
        })
    }

    fn titles(&self, has_rates: bool) -> Vec<Column> {
        let title = |column: &ClassColumn| match (column.kind, column.title) {
            (StatisticKind::Counter, "EVICTED") if has_rates => "EVICT/s",
            (StatisticKind::Counter, "UNREAD") if has_rates => "UNREAD/s",
            (StatisticKind::Counter, "NOMEM") if has_rates => "NOMEM/s",
            (StatisticKind::Counter, "EXPIRED") if has_rates => "EXPIRE/s",
            (StatisticKind::Counter, "HITS") if has_rates => "HIT/s",
            (StatisticKind::Counter, "SETS") if has_rates => "SET/s",
            (_, title) => title,
        };
        let columns = self.columns.iter().map(|column| Column::right(title(column)).optional(column.optional));
        [Column::left("SERVER").shrinkable(), Column::right("CLASS")].into_iter().chain(columns).collect()
    }

    fn values(&self, class: &str, now: &Stats, earlier: Option<(&Stats, Duration)>) -> ClassValues {
        self.columns.iter().map(|column| self.value(class, column, now, earlier)).collect()
    }

    /// Returns the value of a statistic; of a counter, how much it has grown since the earlier round.
    fn value(
        &self,
        class: &str,
        column: &ClassColumn,
        now: &Stats,
        earlier: Option<(&Stats, Duration)>,
    ) -> Option<u64> {
        let name = format!("{}{class}:{}", self.prefix, column.stat);
        let value = now.number(&name)?;
        match earlier.filter(|_| column.kind == StatisticKind::Counter) {
            Some((earlier, _)) => Some(value.saturating_sub(earlier.number(&name).unwrap_or_default())),
            None => Some(value),
        }
    }

    fn total<'v>(&self, rows: impl Iterator<Item = &'v ClassValues> + Clone) -> ClassValues {
        let total = |(index, column): (usize, &ClassColumn)| {
            let values = rows.clone().filter_map(|values| values[index]);
            match column.kind {
                StatisticKind::Amount | StatisticKind::Counter => Some(values.sum()),
                StatisticKind::Age => values.max(),
                StatisticKind::Property => None,
            }
        };
        self.columns.iter().enumerate().map(total).collect()
    }

    fn row(&self, server: Cell, class: Cell, values: &ClassValues, elapsed: Option<Duration>) -> Vec<Cell> {
        let cell = |(column, value): (&ClassColumn, &Option<u64>)| match (value, column.kind, elapsed) {
            (None, StatisticKind::Property, _) => Cell::default(),
            (None, ..) => Cell::unknown(),
            (Some(value), StatisticKind::Counter, Some(elapsed)) => {
                Cell::new(number::rate(*value as f64 / elapsed.as_secs_f64().max(f64::MIN_POSITIVE)))
            }
            (Some(value), ..) => Cell::new((column.format)(*value)),
        };
        [server, class].into_iter().chain(self.columns.iter().zip(values).map(cell)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stats(pairs: &[(&str, &str)]) -> Stats {
        pairs.iter().copied().collect()
    }

    #[test]
    fn counters_grow_and_other_values_do_not() {
        let before = stats(&[("items:1:number", "5"), ("items:1:evicted", "10")]);
        let now = stats(&[("items:1:number", "7"), ("items:1:evicted", "30"), ("items:1:age", "60")]);
        let earlier = Some((&before, Duration::from_secs(2)));
        assert_eq!(ITEMS.values("1", &now, earlier)[..4], [Some(7), None, Some(60), Some(20)]);
        assert_eq!(ITEMS.values("1", &now, None)[..4], [Some(7), None, Some(60), Some(30)]);
        let entries = ITEMS.entries(&now, earlier);
        let (class, total) = (&entries[0], &entries[1]);
        assert_eq!((class.class.clone(), total.class.clone()), (Some(1.into()), Some("total".into())));
        assert_eq!(class.stats, Record::new().with("number", 7).with("evicted", 30).with("age", 60));
        for entry in [class, total] {
            let rates = serde_json::Value::from(entry.rates.clone().unwrap());
            assert_eq!(rates["evicted_per_second"], 10.0, "{entries:?}");
        }
    }

    #[test]
    fn totals_add_up_amounts_and_take_the_greatest_age() {
        let rows = [vec![Some(1), Some(10), Some(5), Some(1)], vec![Some(2), None, Some(9), Some(3)]];
        let rows: Vec<ClassValues> = rows.into_iter().map(|row| [row, vec![None; 3]].concat()).collect();
        assert_eq!(ITEMS.total(rows.iter())[..4], [Some(3), Some(10), Some(9), Some(4)]);
        let slabs = [vec![Some(96), Some(1), Some(2), Some(3), Some(4), Some(5)]];
        assert_eq!(SLABS.total(slabs.iter())[..2], [None, Some(1)]);
    }
}
