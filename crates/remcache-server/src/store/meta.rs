//! What only meta commands do to items.

use remcache::proto::{Reply, Status};

use super::{Expiry, Item, Marks, Store};

/// What became of an item that is to be deleted or marked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Deleted {
    Yes,
    OtherCas,
    Absent,
}

impl Store {
    /// An empty item in an absent one's place, for whoever comes first to fill. `None` if there is
    /// no room for it.
    pub(crate) fn vivify(&mut self, key: &[u8]) -> Option<&mut Item> {
        self.make_room(self.size(key.len(), 0, 0)).ok()?;
        self.put(key, bytes::Bytes::new(), 0, Expiry::NEVER, Marks::default());
        self.items.get_mut(key)
    }

    /// Deletes an item, or marks it as stale with this new time to live.
    pub(crate) fn meta_delete(&mut self, key: &[u8], cas: Option<u64>, stale: Option<Option<Expiry>>) -> Deleted {
        let Some(item) = self.find(key) else {
            self.counts.delete_misses += 1;
            return Deleted::Absent;
        };
        if cas.is_some_and(|cas| cas != item.cas) {
            self.counts.delete_misses += 1;
            return Deleted::OtherCas;
        }
        match stale {
            None => {
                self.counts.delete_hits += 1;
                self.remove(key);
            }
            Some(expiry) => {
                item.expiry = expiry.unwrap_or(item.expiry);
                // Whoever comes next is told to renew it.
                (item.marks.stale, item.marks.won) = (true, false);
                let cas = self.next_cas();
                if let Some(item) = self.items.get_mut(key) {
                    item.cas = cas;
                }
            }
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
