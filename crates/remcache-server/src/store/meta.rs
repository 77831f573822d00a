//! Operations of meta commands on items.

use bytes::Bytes;
use remcache_proto::{Reply, Status};

use super::{Expiry, Item, ItemState, Mode, Store};

/// The result of a meta delete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DeleteResult {
    /// The item was deleted or invalidated.
    Done,
    CasMismatch,
    NotFound,
}

/// The options of a meta delete. By default the item is removed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DeleteOptions {
    /// Keeps the item but marks it as stale.
    pub(crate) invalidate: bool,
    /// Keeps the item but clears its value, flags and expiry.
    pub(crate) remove_value: bool,
    pub(crate) expiry: Option<Expiry>,
    pub(crate) new_cas: Option<u64>,
}

impl Store {
    /// Creates an empty item for a key that is absent, for the caller to fill. Returns `None` if there is no room.
    pub(crate) fn autovivify(&mut self, key: &[u8]) -> Option<&mut Item> {
        self.make_room(self.size(key.len(), 0, 0)).ok()?;
        self.put(key, Bytes::new(), 0, Expiry::NEVER, ItemState::default());
        self.items.get_mut(key)
    }

    /// Deletes or invalidates an item.
    pub(crate) fn meta_delete(&mut self, key: &[u8], cas: Option<u64>, options: DeleteOptions) -> DeleteResult {
        let Some(item) = self.find(key) else {
            self.counters.delete_misses += 1;
            return DeleteResult::NotFound;
        };
        if cas.is_some_and(|cas| cas != item.cas) {
            self.counters.delete_misses += 1;
            return DeleteResult::CasMismatch;
        }
        if !options.invalidate && !options.remove_value {
            self.counters.delete_hits += 1;
            self.remove(key);
            return DeleteResult::Done;
        }
        let (length, flags) = (item.value.len(), item.flags);
        if options.remove_value {
            item.value = Bytes::new();
            (item.flags, item.expiry) = (0, Expiry::NEVER);
        }
        item.expiry = options.expiry.unwrap_or(item.expiry);
        if options.invalidate {
            // The next client that fetches the item wins the right to recache it.
            (item.state.stale, item.state.win_sent) = (true, false);
        }
        if options.remove_value {
            self.bytes -= self.size(key.len(), length, flags) - self.size(key.len(), 0, 0);
        }
        // Dropping the value alone keeps the CAS value.
        let cas = match options.new_cas {
            None if options.invalidate => Some(self.next_cas()),
            new_cas => new_cas,
        };
        if let (Some(cas), Some(item)) = (cas, self.items.get_mut(key)) {
            item.cas = cas;
        }
        DeleteResult::Done
    }

    /// Refuses a value that is too large for `ms`. The old item is removed in every mode.
    pub(crate) fn refuse_meta(&mut self, key: &[u8], status: Status) -> Reply {
        self.refuse(Some(Mode::Set), key, status)
    }

    /// Counts a fetch by a meta command, which is a touch if it sets a TTL.
    pub(crate) fn count_meta_get(&mut self, touches: bool, hit: bool) {
        let (all, hits) = match touches {
            true => (&mut self.counters.touches, &mut self.counters.touch_hits),
            false => (&mut self.counters.gets, &mut self.counters.get_hits),
        };
        *all += 1;
        *hits += u64::from(hit);
    }
}
