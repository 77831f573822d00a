//! What only meta commands do to items.

use remcache_proto::{Reply, Status};

use super::{Expiry, Item, Marks, Store};

/// What became of an item that is to be deleted or marked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Deleted {
    Yes,
    OtherCas,
    Absent,
}

/// What becomes of an item that is deleted: gone, unless one of these says otherwise.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fate {
    pub(crate) stale: bool,
    /// It stays without its value, its flags and its time to live.
    pub(crate) empty: bool,
    pub(crate) ttl: Option<Expiry>,
    pub(crate) chosen_cas: Option<u64>,
}

impl Store {
    /// An empty item in an absent one's place, for whoever comes first to fill. `None` if there is
    /// no room for it.
    pub(crate) fn vivify(&mut self, key: &[u8]) -> Option<&mut Item> {
        self.make_room(self.size(key.len(), 0, 0)).ok()?;
        self.put(key, bytes::Bytes::new(), 0, Expiry::NEVER, Marks::default());
        self.items.get_mut(key)
    }

    /// Deletes an item, or changes it.
    pub(crate) fn meta_delete(&mut self, key: &[u8], cas: Option<u64>, fate: Fate) -> Deleted {
        let Some(item) = self.find(key) else {
            self.counts.delete_misses += 1;
            return Deleted::Absent;
        };
        if cas.is_some_and(|cas| cas != item.cas) {
            self.counts.delete_misses += 1;
            return Deleted::OtherCas;
        }
        if !fate.stale && !fate.empty {
            self.counts.delete_hits += 1;
            self.remove(key);
            return Deleted::Yes;
        }
        let (length, flags) = (item.value.len(), item.flags);
        if fate.empty {
            item.value = bytes::Bytes::new();
            (item.flags, item.expiry) = (0, Expiry::NEVER);
        }
        item.expiry = fate.ttl.unwrap_or(item.expiry);
        if fate.stale {
            // Whoever comes next is told to renew it.
            (item.marks.stale, item.marks.won) = (true, false);
        }
        let chosen = fate.chosen_cas;
        if fate.empty {
            self.bytes -= self.size(key.len(), length, flags) - self.size(key.len(), 0, 0);
        }
        // An item that is only emptied keeps its number.
        let cas = if fate.stale { chosen.or_else(|| Some(self.next_cas())) } else { chosen };
        if let (Some(cas), Some(item)) = (cas, self.items.get_mut(key)) {
            item.cas = cas;
        }
        Deleted::Yes
    }

    /// Refuses a value that no mode of `ms` could store: the old item goes in any of them.
    pub(crate) fn refuse_meta(&mut self, key: &[u8], status: Status) -> Reply {
        self.refuse(Some(super::Mode::Set), key, status)
    }

    /// Counts a fetch by a meta command, which is a touch if it has a new time to live.
    pub(crate) fn count_meta_get(&mut self, touches: bool, hit: bool) {
        let (all, hits) = match touches {
            true => (&mut self.counts.touches, &mut self.counts.touch_hits),
            false => (&mut self.counts.gets, &mut self.counts.get_hits),
        };
        *all += 1;
        *hits += u64::from(hit);
    }
}
