//! Statistics as records: of a server, of each slab class, or of each connection.

use std::io;

use jiff::Timestamp;
use serde_json::Value;

use super::general::GeneralRow;
use super::round::Round;
use super::{Args, Group, connections};
use crate::output::{Layout, Output, Record};

/// Statistics of a server, or of one of its slab classes, as a record has them.
#[derive(Debug, PartialEq)]
pub(super) struct Entry {
    /// The number of the class, or `total`; `None` for statistics that have no classes.
    pub(super) class: Option<Value>,
    pub(super) stats: Record,
    /// Growth of the counters per second, if there was an earlier round.
    pub(super) rates: Option<Record>,
}

/// Columns of CSV: a row for each statistic, because those of servers differ.
fn columns(args: &Args) -> &'static [&'static str] {
    let has_classes = args.group.class_table().is_some();
    match (args.group, args.watch.is_some(), has_classes) {
        (Group::Conns, true, _) => &["time", "server", "fd", "peer", "state", "idle_seconds", "error"],
        (Group::Conns, false, _) => &["server", "fd", "peer", "state", "idle_seconds", "error"],
        (_, true, true) => &["time", "server", "class", "name", "value"],
        (_, true, false) => &["time", "server", "name", "value"],
        (_, false, true) => &["server", "class", "name", "value"],
        (_, false, false) => &["server", "name", "value"],
    }
}

/// Prints a round as records; rows of CSV follow the header of the first round.
pub(super) fn print(
    args: &Args,
    previous: Option<&Round>,
    round: &Round,
    is_first: bool,
    output: &mut Output,
) -> io::Result<()> {
    let time = args.watch.map(|_| Timestamp::now().to_string());
    let is_csv = output.layout() == Layout::Csv;
    let columns = columns(args);
    let mut records = if is_first || !is_csv { output.records(columns)? } else { output.more_records(columns) };
    for (index, snapshot) in round.snapshots.iter().enumerate() {
        let record = || Record::new().with_some("time", time.clone()).with("server", snapshot.server.name());
        match &snapshot.stats {
            Ok(stats) if args.group == Group::Conns => {
                connections::records(stats, record).try_for_each(|record| records.push(record))?;
            }
            Ok(_) => {
                for entry in entries(args.group, previous, round, index) {
                    entry.records(&record(), is_csv).into_iter().try_for_each(|record| records.push(record))?;
                }
            }
            Err(_) if is_csv && args.group != Group::Conns => {
                records.push(record().with("name", "error").with("value", round.error(index)))?;
            }
            Err(_) => records.push(record().with("error", round.error(index)))?,
        }
    }
    records.end()
}

/// Returns the statistics of a server that has answered.
fn entries(group: Group, previous: Option<&Round>, round: &Round, index: usize) -> Vec<Entry> {
    let Ok(stats) = &round.snapshots[index].stats else { return Vec::new() };
    let earlier = previous.and_then(|previous| previous.before(index, round));
    if let Some(table) = group.class_table() {
        return table.entries(stats, earlier);
    }
    let rates = match group {
        Group::General => round.row(previous, index).as_ref().and_then(GeneralRow::rates),
        _ => None,
    };
    let stats = stats.iter().fold(Record::new(), |record, (name, value)| record.with(name, typed(value)));
    vec![Entry { class: None, stats, rates }]
}

impl Entry {
    /// Returns the entry as one record, or as a row of CSV for each statistic and rate.
    fn records(self, record: &Record, is_csv: bool) -> Vec<Record> {
        let record = record.clone().with_some("class", self.class);
        if !is_csv {
            return vec![record.with("stats", self.stats).with_some("rates", self.rates)];
        }
        let rates = self.rates.unwrap_or_default();
        let fields = self.stats.fields().chain(rates.fields());
        fields.map(|(name, value)| record.clone().with("name", name).with("value", value.clone())).collect()
    }
}

/// Returns a number where the text is exactly one, else the text.
pub(super) fn typed(text: &str) -> Value {
    match text.parse::<u64>() {
        Ok(number) if number.to_string() == text => number.into(),
        _ => text.into(),
    }
}
