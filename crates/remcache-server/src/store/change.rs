//! What changes items: stores, extensions, counters.

use bytes::Bytes;
use remcache_proto::{Reply, Status};

use super::{Item, Marks, NewItem, Store};
use crate::counter::{self, Direction};
use crate::expiry::Expiry;
use crate::prefix::Use;
use crate::watch::Change;

/// How a value is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Set,
    Add,
    Replace,
    /// Only in the place of the item with that CAS value.
    Cas,
    /// As [`Mode::Cas`]; an older CAS value does as well, but then the item is stale.
    CasOrStale,
}

/// Where bytes are put to a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Front,
    Back,
}

/// A counter's request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Count {
    pub(crate) direction: Direction,
    pub(crate) delta: u64,
    /// What an absent counter becomes; without it, it stays absent.
    pub(crate) initial: Option<(u64, Expiry)>,
}

impl Store {
    /// Refuses to store: a refused set takes the old item with it (`docs/protocol.md` of remcache 2.1).
    pub(crate) fn refuse(&mut self, mode: Option<Mode>, key: &[u8], status: Status) -> Reply {
        match status {
            Status::ValueTooLarge => self.counts.too_large += 1,
            _ => self.counts.no_memory += 1,
        }
        if mode == Some(Mode::Set) {
            self.remove(key);
        }
        Reply::new(status)
    }

    pub(crate) fn store(&mut self, mode: Mode, item: NewItem<'_>, cas: u64) -> Reply {
        let (key, length, expiry) = (item.key, item.value.len(), item.expiry);
        let reply = self.store_unwatched(mode, item, cas);
        self.told_of_store(key, &reply, mode.into(), expiry, length);
        reply
    }

    fn store_unwatched(&mut self, mode: Mode, item: NewItem<'_>, cas: u64) -> Reply {
        let NewItem { key, value, flags, expiry, mut marks } = item;
        self.counts.sets += 1;
        self.prefixes.count(key, Use::Set);
        if let Err(status) = self.make_room(self.size(key.len(), value.len(), flags)) {
            return self.refuse(Some(mode), key, status);
        }
        let cas = if self.limits.cas { cas } else { 0 };
        let present = self.find(key).map(|item| (item.cas, item.expiry, item.marks));
        self.count_cas(cas, present.map(|(cas, ..)| cas));
        if let (Mode::CasOrStale, Some((present, expiry, old))) = (mode, present)
            && (1..present).contains(&cas)
        {
            // The item stays as stale as it was, and whoever was told to renew it still is.
            (marks.stale, marks.won) = (true, old.won);
            return self.put(key, value.into_bytes(), flags, expiry, marks);
        }
        match precondition(mode, cas, present.map(|(cas, ..)| cas)) {
            Some(status) => Reply::new(status),
            None => self.put(key, value.into_bytes(), flags, expiry, marks),
        }
    }

    pub(crate) fn extend(&mut self, end: End, key: &[u8], piece: &[u8], cas: u64) -> Reply {
        let reply = self.extend_unwatched(end, key, piece, cas);
        let item = self.items.peek(key).map(|item| (item.expiry, item.value.len()));
        let (expiry, length) = item.filter(|_| reply.is_ok()).unwrap_or((Expiry::NEVER, piece.len()));
        self.told_of_store(key, &reply, end.into(), expiry, length);
        reply
    }

    fn extend_unwatched(&mut self, end: End, key: &[u8], piece: &[u8], cas: u64) -> Reply {
        self.counts.sets += 1;
        self.prefixes.count(key, Use::Set);
        if let Err(status) = self.make_room(self.size(key.len(), piece.len(), 0)) {
            return self.refuse(None, key, status);
        }
        let cas = if self.limits.cas { cas } else { 0 };
        let present = self.find(key).map(|item| item.cas);
        self.count_cas(cas, present);
        let Some(item) = self.items.get(key) else { return Reply::new(Status::ItemNotStored) };
        if cas != 0 && cas != item.cas {
            return Reply::new(Status::KeyExists);
        }
        let value = match end {
            End::Front => [piece, &item.value].concat(),
            End::Back => [&item.value, piece].concat(),
        };
        let (flags, expiry) = (item.flags, item.expiry);
        match self.make_room(self.size(key.len(), value.len(), flags)) {
            Ok(()) => self.put(key, value.into(), flags, expiry, Marks::default()),
            Err(_) => Reply::new(Status::ItemNotStored),
        }
    }

    pub(crate) fn count(&mut self, key: &[u8], count: Count, cas: u64) -> Reply {
        let Some(item) = self.find(key) else { return self.create_counter(key, count) };
        if item.value.is_empty() {
            return Reply::new(Status::NonNumericValue);
        }
        if cas != 0 && cas != item.cas {
            return Reply::new(Status::KeyExists);
        }
        let Some(number) = counter::parse(&item.value) else {
            return Reply::new(Status::NonNumericValue);
        };
        let number = count.direction.step(number, count.delta);
        let length = item.value.len();
        let value = counter::padded(number, length);
        // What does not grow is changed in its place, and keeps its marks.
        let marks = if value.len() == length { item.marks } else { Marks::default() };
        let (flags, expiry) = (item.flags, item.expiry);
        *self.counts.of_counter(count.direction, true) += 1;
        let mut reply = self.put(key, value.into(), flags, expiry, marks);
        reply.number = Some(number);
        reply
    }

    fn create_counter(&mut self, key: &[u8], count: Count) -> Reply {
        *self.counts.of_counter(count.direction, false) += 1;
        let Some((number, expiry)) = count.initial else {
            return Reply::new(Status::KeyNotFound);
        };
        let value = number.to_string().into_bytes();
        let length = value.len();
        if let Err(status) = self.make_room(self.size(key.len(), length, 0)) {
            return self.refuse(None, key, status);
        }
        let mut reply = self.put(key, value.into(), 0, expiry, Marks::default());
        reply.number = Some(number);
        self.told_of_store(key, &reply, Change::Add, expiry, length);
        reply
    }

    /// Stores an item for which there is room, under a new CAS value.
    pub(super) fn put(&mut self, key: &[u8], value: Bytes, flags: u32, expiry: Expiry, marks: Marks) -> Reply {
        let cas = self.next_cas();
        let new = Item { value, flags, cas, expiry, stored_at: self.now, used_at: self.now, marks };
        self.bytes += self.size(key.len(), new.value.len(), flags);
        match self.items.get_mut(key) {
            // Most stores replace: the key that is there is kept.
            Some(item) => {
                let old = std::mem::replace(item, new);
                self.bytes -= self.size(key.len(), old.value.len(), old.flags);
            }
            None => {
                self.items.insert(key.into(), new);
            }
        }
        self.counts.stored += 1;
        let mut reply = Reply::new(Status::NoError);
        reply.cas = cas;
        reply
    }

    #[inline]
    fn told_of_store(&self, key: &[u8], reply: &Reply, change: Change, expiry: Expiry, length: usize) {
        if self.watchers.want_changes() {
            let class = self.class_of(key);
            self.watchers.tell_change(key, reply.status, change, expiry.left(self.now), class, length);
        }
    }

    fn count_cas(&mut self, cas: u64, present: Option<u64>) {
        let count = match present {
            _ if cas == 0 => return,
            None => &mut self.counts.cas_misses,
            Some(present) if present == cas => &mut self.counts.cas_hits,
            Some(_) => &mut self.counts.cas_mismatches,
        };
        *count += 1;
    }
}

/// Why a value may not be stored. A CAS value of 0 is no item's.
pub(super) fn precondition(mode: Mode, cas: u64, present: Option<u64>) -> Option<Status> {
    match (mode, present) {
        (Mode::Add, Some(_)) => Some(Status::KeyExists),
        (Mode::Replace | Mode::Cas | Mode::CasOrStale, None) => Some(Status::KeyNotFound),
        (Mode::Cas | Mode::CasOrStale, Some(present)) => (cas == 0 || cas != present).then_some(Status::KeyExists),
        _ => None,
    }
}
