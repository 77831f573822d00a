//! Sums of items by the prefix of their keys (`keys --tree`).

use std::collections::BTreeMap;
use std::io;

use remcache::proto::text::MetadumpItem;

use crate::commands::prefix::PrefixRule;
use crate::output::{Cell, Column, Output, Record, Table, TextStyle, number, text};
use crate::selection;

/// Sums by prefix.
#[derive(Debug, Default)]
pub(super) struct Tree {
    prefixes: BTreeMap<Box<[u8]>, PrefixSums>,
}

/// Sums of the items whose keys have the same prefix.
#[derive(Debug, Default)]
struct PrefixSums {
    items: u64,
    bytes: u64,
    without_ttl: u64,
    never_read: u64,
    misplaced: u64,
}

/// Limit of the memory: items with other prefixes are summed up in one.
const MAX_PREFIXES: usize = 50_000;
const OTHERS: &[u8] = b"(others)";

impl Tree {
    /// Adds an item, whose key has this name.
    pub(super) fn add(&mut self, name: &[u8], item: &MetadumpItem, is_misplaced: bool, rule: &PrefixRule) {
        let prefix = rule.prefix(name);
        let has_room = self.prefixes.len() < MAX_PREFIXES || self.prefixes.contains_key(prefix);
        let prefix = if has_room { prefix } else { OTHERS };
        if !self.prefixes.contains_key(prefix) {
            self.prefixes.insert(prefix.into(), PrefixSums::default());
        }
        let Some(sums) = self.prefixes.get_mut(prefix) else { return };
        sums.items += 1;
        sums.bytes += item.size;
        sums.without_ttl += u64::from(selection::expiry(item).is_none());
        sums.never_read += u64::from(!item.fetched);
        sums.misplaced += u64::from(is_misplaced);
    }

    /// Prints the prefixes, or this many of them, those that take the most memory first. A note on a terminal sums up
    /// those that are left out.
    pub(super) fn print(&self, limit: Option<usize>, output: &mut Output) -> io::Result<()> {
        let mut sorted: Vec<_> = self.prefixes.iter().collect();
        sorted.sort_by_key(|(_, sums)| std::cmp::Reverse(sums.bytes));
        let others = sorted.split_off(sorted.len().min(limit.unwrap_or(usize::MAX)));
        if !output.is_text() {
            let columns = &["prefix", "prefix_b64", "items", "bytes", "without_ttl", "never_read", "misplaced"];
            let mut records = output.records(columns)?;
            for (prefix, sums) in sorted {
                let record = Record::new().with_bytes("prefix", prefix).with("items", sums.items);
                let record = record.with("bytes", sums.bytes).with("without_ttl", sums.without_ttl);
                records.push(record.with("never_read", sums.never_read).with("misplaced", sums.misplaced))?;
            }
            return records.end();
        }
        let has_misplaced = sorted.iter().any(|(_, sums)| sums.misplaced > 0);
        let titles = ["ITEMS", "BYTES", "AVG", "NO-TTL", "NEVER READ"].map(Column::right);
        let first = Column::left("PREFIX").shrinkable();
        // A column without texts is not shown.
        let last = Column::right(if has_misplaced { "MISPLACED" } else { "" });
        let mut table = Table::new([vec![first], titles.to_vec(), vec![last]].concat());
        let shown = sorted.len();
        sorted.into_iter().for_each(|(prefix, sums)| table.row(sums.cells(prefix, has_misplaced)));
        output.table(&table)?;
        if output.is_terminal() && !others.is_empty() {
            output.flush()?;
            let others: Vec<_> = others.into_iter().map(|(_, sums)| sums).collect();
            output.notes().print(left_out(shown, &others));
        }
        Ok(())
    }
}

/// Describes prefixes that are left out after this many.
fn left_out(shown: usize, others: &[&PrefixSums]) -> String {
    let items = others.iter().map(|sums| sums.items).sum();
    let bytes = others.iter().map(|sums| sums.bytes).sum();
    format!(
        "({} of {} prefixes; the others have {} and {}: --top N shows more)",
        number::exact(shown as u64),
        number::exact((shown + others.len()) as u64),
        number::items(items),
        number::bytes(bytes)
    )
}

impl PrefixSums {
    fn cells(&self, prefix: &[u8], has_misplaced: bool) -> [Cell; 7] {
        let name = if prefix.is_empty() { "(none)".into() } else { text::inline(prefix) };
        let percent = |count: u64| format!("{:.0}%", 100.0 * count as f64 / self.items.max(1) as f64);
        let never_read = Cell::new(percent(self.never_read));
        [
            Cell::new(name).style(TextStyle::Name),
            Cell::new(number::count(self.items)),
            Cell::new(number::bytes(self.bytes)),
            Cell::new(number::bytes(self.bytes / self.items.max(1))),
            Cell::new(percent(self.without_ttl)),
            if self.never_read * 3 > self.items { never_read.style(TextStyle::Warning) } else { never_read },
            if has_misplaced { Cell::new(number::count(self.misplaced)) } else { Cell::default() },
        ]
    }
}
