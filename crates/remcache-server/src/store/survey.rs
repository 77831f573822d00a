//! Looks at all items: for statistics by slab class, by size, and for dumps.

use std::collections::BTreeMap;

use super::{Item, Store, class};

/// What happens rarely, by slab class.
#[derive(Debug, Default)]
pub(super) struct Rare(BTreeMap<u8, RareCounts>);

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct RareCounts {
    pub(super) evicted: u64,
    pub(super) no_memory: u64,
    pub(super) reclaimed: u64,
}

impl Rare {
    pub(super) fn of(&mut self, class: u8) -> &mut RareCounts {
        self.0.entry(class).or_default()
    }
}

/// A slab class that has items.
#[derive(Clone, Debug, Default)]
pub(crate) struct ClassSurvey {
    pub(crate) class: u8,
    pub(crate) items: usize,
    pub(crate) bytes: usize,
    /// How long ago the item that was not used for longest was stored, in seconds.
    pub(crate) age: u64,
    pub(crate) evicted: u64,
    pub(crate) no_memory: u64,
    pub(crate) reclaimed: u64,
}

impl ClassSurvey {
    pub(crate) fn chunk_size(&self) -> usize {
        class::chunk(self.class)
    }

    pub(crate) fn chunks_per_page(&self) -> usize {
        class::PAGE / self.chunk_size()
    }

    pub(crate) fn pages(&self) -> usize {
        self.items.div_ceil(self.chunks_per_page()).max(1)
    }

    /// What its pages take.
    pub(crate) fn allocated(&self) -> usize {
        self.pages() * class::PAGE
    }
}

/// An item as a dump tells of it.
#[derive(Debug)]
pub(crate) struct Listed<'a> {
    pub(crate) key: &'a [u8],
    pub(crate) item: &'a Item,
    pub(crate) class: u8,
    pub(crate) size: usize,
}

/// What sizes are rounded up to where they are counted.
const SIZE_STEP: usize = 32;

impl Store {
    /// The items that are not expired, those first that were not used for longest.
    pub(crate) fn list(&self) -> impl Iterator<Item = Listed<'_>> {
        let living = self.items.iter().filter(|(_, item)| !item.expiry.is_past(self.now));
        living.map(|(key, item)| {
            let size = self.size(key.len(), item.value.len(), item.flags);
            Listed { key, item, class: class::of(size), size }
        })
    }

    /// An item as a dump tells of it; it is not marked as used.
    pub(crate) fn inspect<'a>(&'a self, key: &'a [u8]) -> Option<Listed<'a>> {
        let item = self.items.peek(key).filter(|item| !item.expiry.is_past(self.now))?;
        let size = self.size(key.len(), item.value.len(), item.flags);
        Some(Listed { key, item, class: class::of(size), size })
    }

    /// The slab class of an item; 0 if there is none.
    pub(super) fn class_of(&self, key: &[u8]) -> u8 {
        let size = |item: &Item| self.size(key.len(), item.value.len(), item.flags);
        self.items.peek(key).map_or(0, |item| class::of(size(item)))
    }

    /// All classes that have items.
    pub(crate) fn classes(&self) -> Vec<ClassSurvey> {
        let mut classes = BTreeMap::<u8, ClassSurvey>::new();
        for (key, item) in &self.items {
            let size = self.size(key.len(), item.value.len(), item.flags);
            let class = class::of(size);
            let age = self.now.saturating_sub(item.stored_at);
            // The first that is met was not used for longest.
            let survey = classes.entry(class).or_insert_with(|| ClassSurvey { class, age, ..ClassSurvey::default() });
            survey.items += 1;
            survey.bytes += size;
        }
        for (class, counts) in &self.rare.0 {
            if let Some(survey) = classes.get_mut(class) {
                (survey.evicted, survey.no_memory, survey.reclaimed) =
                    (counts.evicted, counts.no_memory, counts.reclaimed);
            }
        }
        classes.into_values().collect()
    }

    /// How many items there are of each size, rounded up.
    pub(crate) fn sizes(&self) -> BTreeMap<usize, usize> {
        let mut sizes = BTreeMap::new();
        for (key, item) in &self.items {
            let size = self.size(key.len(), item.value.len(), item.flags);
            *sizes.entry(size.next_multiple_of(SIZE_STEP)).or_default() += 1;
        }
        sizes
    }
}
