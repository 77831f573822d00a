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
    keys: u64,
    bytes: u64,
    without_ttl: u64,
    never_read: u64,
}

/// Limit of the memory: items with other prefixes are summed up in one.
const MAX_PREFIXES: usize = 50_000;
const OTHERS: &[u8] = b"(others)";

impl Tree {
    /// Adds an item, whose key has this name.
    pub(super) fn add(&mut self, name: &[u8], item: &MetadumpItem, rule: &PrefixRule) {
        let prefix = rule.prefix(name);
        let has_room = self.prefixes.len() < MAX_PREFIXES || self.prefixes.contains_key(prefix);
        let prefix = if has_room { prefix } else { OTHERS };
        if !self.prefixes.contains_key(prefix) {
            self.prefixes.insert(prefix.into(), PrefixSums::default());
        }
        let Some(sums) = self.prefixes.get_mut(prefix) else { return };
        sums.keys += 1;
        sums.bytes += item.size;
        sums.without_ttl += u64::from(selection::expiry(item).is_none());
        sums.never_read += u64::from(!item.fetched);
    }

    /// Prints the prefixes, or this many of them, those that take the most memory first.
    pub(super) fn print(&self, limit: Option<usize>, output: &mut Output) -> io::Result<()> {
        let mut sorted: Vec<_> = self.prefixes.iter().collect();
        sorted.sort_by_key(|(_, sums)| std::cmp::Reverse(sums.bytes));
        sorted.truncate(limit.unwrap_or(usize::MAX));
        if !output.is_text() {
            let columns = &["prefix", "prefix_b64", "keys", "bytes", "without_ttl", "never_read"];
            let mut records = output.records(columns)?;
            for (prefix, sums) in sorted {
                let record = Record::new().with_bytes("prefix", prefix).with("keys", sums.keys);
                let record = record.with("bytes", sums.bytes).with("without_ttl", sums.without_ttl);
                records.push(record.with("never_read", sums.never_read))?;
            }
            return records.end();
        }
        let titles = ["KEYS", "BYTES", "AVG", "NO-TTL", "NEVER READ"].map(Column::right);
        let first = Column::left("PREFIX").shrinkable();
        let mut table = Table::new([vec![first], titles.to_vec()].concat());
        sorted.into_iter().for_each(|(prefix, sums)| table.row(sums.cells(prefix)));
        output.table(&table)
    }
}

impl PrefixSums {
    fn cells(&self, prefix: &[u8]) -> [Cell; 6] {
        let name = if prefix.is_empty() { "(none)".into() } else { text::inline(prefix) };
        let percent = |count: u64| format!("{:.0}%", 100.0 * count as f64 / self.keys.max(1) as f64);
        let never_read = Cell::new(percent(self.never_read));
        [
            Cell::new(name).style(TextStyle::Name),
            Cell::new(number::count(self.keys)),
            Cell::new(number::bytes(self.bytes)),
            Cell::new(number::bytes(self.bytes / self.keys.max(1))),
            Cell::new(percent(self.without_ttl)),
            if self.never_read * 3 > self.keys { never_read.style(TextStyle::Warning) } else { never_read },
        ]
    }
}
