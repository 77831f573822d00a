//! The first items in an order (`keys --sort`), in bounded memory.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io;

use clap::ValueEnum;
use remcache::proto::text::MetadumpItem;

use super::{Items, print_key};
use crate::output::{Cell, Column, Layout, Output, Table, TextStyle, number, text};
use crate::selection;

/// Order of items.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum SortKey {
    /// Memory that the item takes
    Size,
    /// Time to live; items that never expire come first
    Ttl,
    /// Time since the last access
    Idle,
}

/// The first items in an order.
#[derive(Debug)]
pub(super) struct TopItems {
    sort: SortKey,
    limit: usize,
    /// The last of the items is at the top, so that it can be replaced.
    items: BinaryHeap<Reverse<Ranked>>,
}

/// An item with what it is sorted by; ties are in the order of the keys.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Ranked {
    rank: u64,
    name: Reverse<Vec<u8>>,
    server: String,
    /// The item as the server listed it.
    line: Vec<u8>,
}

impl TopItems {
    pub(super) fn new(sort: SortKey, limit: usize) -> Self {
        Self { sort, limit, items: BinaryHeap::new() }
    }

    /// Adds an item if it is one of the first.
    pub(super) fn add(&mut self, name: &[u8], item: &MetadumpItem, server: &str) {
        let rank = self.sort.rank(item);
        let is_full = self.items.len() >= self.limit;
        if is_full && self.items.peek().is_none_or(|Reverse(last)| rank < last.rank) {
            return;
        }
        let mut line = Vec::new();
        item.write(&mut line);
        self.items.push(Reverse(Ranked { rank, name: Reverse(name.to_vec()), server: server.to_owned(), line }));
        if self.items.len() > self.limit {
            self.items.pop();
        }
    }

    /// Prints the items; returns the number of keys that could not be printed.
    pub(super) fn print(self, end: u8, items: &Items<'_>, output: &mut Output) -> io::Result<u64> {
        // The order of a sorted heap of reversed items is that of the table: the largest first.
        let ranked =
            self.items.into_sorted_vec().into_iter().filter_map(|Reverse(Ranked { name, server, line, .. })| {
                Some((name.0, MetadumpItem::parse(&line)?, server))
            });
        if !output.is_text() {
            let mut records = output.records(items.columns())?;
            ranked
                .into_iter()
                .try_for_each(|(name, item, server)| records.push(items.record(&name, &item, &server)))?;
            return records.end().map(|()| 0);
        }
        if output.layout() == Layout::Raw || end == b'\0' {
            let mut unprintable = 0;
            for (name, ..) in ranked {
                unprintable += u64::from(!print_key(&name, end, output)?);
            }
            return Ok(unprintable);
        }
        let now = selection::now();
        let mut table = Table::new([
            Column::right("SIZE"),
            Column::right("TTL"),
            Column::right("IDLE"),
            Column::left("KEY").shrinkable(),
            Column::left("SERVER"),
            // A column without texts is not shown.
            Column::left(if items.only_misplaced { "BELONGS TO" } else { "" }),
        ]);
        for (name, item, server) in ranked {
            let ttl = selection::seconds_left(&item, now).map_or_else(|| "never".into(), number::age);
            table.row([
                Cell::new(number::bytes(item.size)),
                Cell::new(ttl),
                Cell::new(number::age(now.saturating_sub(item.last_access))),
                Cell::new(text::inline(&name)).style(TextStyle::Name),
                Cell::new(server),
                Cell::new(items.belongs_to(&name).unwrap_or_default()),
            ]);
        }
        output.table(&table).map(|()| 0)
    }
}

impl SortKey {
    /// Returns the number by which items are sorted, the largest first.
    fn rank(self, item: &MetadumpItem) -> u64 {
        match self {
            Self::Size => item.size,
            Self::Ttl => selection::expiry(item).unwrap_or(u64::MAX),
            // The earliest access is the longest time since it.
            Self::Idle => u64::MAX - item.last_access,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(sort: SortKey, limit: usize) -> Vec<String> {
        let mut top = TopItems::new(sort, limit);
        for line in [
            "key=small exp=-1 la=50 cas=1 fetch=no cls=1 size=60",
            "key=large exp=2000 la=900 cas=1 fetch=no cls=9 size=9000",
            "key=soon exp=1010 la=10 cas=1 fetch=no cls=1 size=70",
            "key=again exp=-1 la=60 cas=1 fetch=no cls=1 size=60",
        ] {
            let item = MetadumpItem::parse(line.as_bytes()).unwrap();
            top.add(&item.key, &item, "a:1");
        }
        let sorted = top.items.into_sorted_vec().into_iter();
        sorted.map(|Reverse(ranked)| String::from_utf8(ranked.name.0).unwrap()).collect()
    }

    #[test]
    fn the_largest_come_first_and_ties_by_name() {
        assert_eq!(names(SortKey::Size, 10), ["large", "soon", "again", "small"]);
        assert_eq!(names(SortKey::Size, 3), ["large", "soon", "again"]);
        assert_eq!(names(SortKey::Ttl, 3), ["again", "small", "large"]);
        assert_eq!(names(SortKey::Idle, 2), ["soon", "small"]);
        assert_eq!(names(SortKey::Size, 0), [""; 0]);
    }
}
