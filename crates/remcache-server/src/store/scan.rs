//! Scans over all items: statistics by slab class and by size, and dumps.

use std::collections::BTreeMap;

use super::class::{PAGE_SIZE, chunk_size, class_of};
use super::{Item, Store};

/// Counters of rare events by slab class.
#[derive(Debug, Default)]
pub(super) struct ClassEvents(BTreeMap<u8, ClassEventCounts>);

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ClassEventCounts {
    pub(super) evicted: u64,
    pub(super) no_memory: u64,
    pub(super) reclaimed: u64,
}

impl ClassEvents {
    pub(super) fn class(&mut self, class: u8) -> &mut ClassEventCounts {
        self.0.entry(class).or_default()
    }
}

/// Statistics of a slab class that has items.
#[derive(Clone, Debug, Default)]
pub(crate) struct ClassStats {
    pub(crate) class: u8,
    pub(crate) items: usize,
    pub(crate) bytes: usize,
    /// The seconds since the least recently used item was stored.
    pub(crate) age: u64,
    pub(crate) evicted: u64,
    pub(crate) no_memory: u64,
    pub(crate) reclaimed: u64,
}

impl ClassStats {
    pub(crate) fn chunk_size(&self) -> usize {
        chunk_size(self.class)
    }

    pub(crate) fn chunks_per_page(&self) -> usize {
        PAGE_SIZE / self.chunk_size()
    }

    pub(crate) fn pages(&self) -> usize {
        self.items.div_ceil(self.chunks_per_page()).max(1)
    }

    /// Returns the memory of all pages, in bytes.
    pub(crate) fn allocated(&self) -> usize {
        self.pages() * PAGE_SIZE
    }
}

/// An item in a dump.
#[derive(Debug)]
pub(crate) struct ItemEntry<'a> {
    pub(crate) key: &'a [u8],
    pub(crate) item: &'a Item,
    pub(crate) class: u8,
    pub(crate) size: usize,
}

/// `stats sizes` rounds item sizes up to multiples of this.
const SIZE_STEP: usize = 32;

impl Store {
    /// Returns the items that are not expired, the least recently used first.
    pub(crate) fn entries(&self) -> impl Iterator<Item = ItemEntry<'_>> {
        let live = self.items.iter().filter(|(_, item)| !item.expiry.is_past(self.now));
        live.map(|(key, item)| {
            let size = self.item_size(key, item);
            ItemEntry { key, item, class: class_of(size), size }
        })
    }

    /// Returns an item without marking it as used.
    pub(crate) fn inspect<'a>(&'a self, key: &'a [u8]) -> Option<ItemEntry<'a>> {
        let item = self.items.peek(key).filter(|item| !item.expiry.is_past(self.now))?;
        let size = self.item_size(key, item);
        Some(ItemEntry { key, item, class: class_of(size), size })
    }

    /// Returns the slab class of an item, or 0 without one.
    pub(super) fn class_of_key(&self, key: &[u8]) -> u8 {
        self.items.peek(key).map_or(0, |item| class_of(self.item_size(key, item)))
    }

    /// Returns the statistics of all classes that have items.
    pub(crate) fn classes(&self) -> Vec<ClassStats> {
        let mut classes = BTreeMap::<u8, ClassStats>::new();
        for (key, item) in &self.items {
            let size = self.item_size(key, item);
            let class = class_of(size);
            let age = self.now.saturating_sub(item.stored_at);
            // The items come in the order of use, so the first one of a class determines its age.
            let stats = classes.entry(class).or_insert_with(|| ClassStats { class, age, ..ClassStats::default() });
            stats.items += 1;
            stats.bytes += size;
        }
        for (class, events) in &self.class_events.0 {
            if let Some(stats) = classes.get_mut(class) {
                (stats.evicted, stats.no_memory, stats.reclaimed) =
                    (events.evicted, events.no_memory, events.reclaimed);
            }
        }
        classes.into_values().collect()
    }

    /// Returns the number of items by size, rounded up.
    pub(crate) fn sizes(&self) -> BTreeMap<usize, usize> {
        let mut sizes = BTreeMap::new();
        for (key, item) in &self.items {
            *sizes.entry(self.item_size(key, item).next_multiple_of(SIZE_STEP)).or_default() += 1;
        }
        sizes
    }
}
