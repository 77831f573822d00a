//! The items: operations in, replies out. No wire and no socket is known here.

use bytes::Bytes;
use hashlink::LruCache;
use remcache::proto::{CowBytes, Reply, Status};

use crate::counter::{self, Direction};
use crate::expiry::Expiry;
use crate::prefix::{Prefixes, Use};

/// The items of a server, and what was done to them.
#[derive(Debug)]
pub(crate) struct Store {
    limits: Limits,
    /// The least recently used first.
    items: LruCache<Box<[u8]>, Item>,
    /// The size of all items, overhead included.
    bytes: usize,
    /// The current second: constant while requests that came together are executed.
    now: u64,
    last_cas: u64,
    /// When everything that is stored until then goes.
    flush_at: Option<u64>,
    pub(crate) counts: Counts,
    /// Uses by prefix, while somebody asked to count them.
    pub(crate) prefixes: Prefixes,
}

/// What a store may hold and do.
#[derive(Clone, Debug)]
pub(crate) struct Limits {
    /// The size of all items, in bytes.
    pub(crate) memory: usize,
    /// The size of one item, in bytes.
    pub(crate) item_size: usize,
    /// Whether items are evicted to make room for others.
    pub(crate) evicts: bool,
    /// Whether items have CAS values.
    pub(crate) cas: bool,
    /// Whether a client may flush.
    pub(crate) flush: bool,
}

#[derive(Debug)]
struct Item {
    value: Bytes,
    flags: u32,
    cas: u64,
    expiry: Expiry,
    stored_at: u64,
}

/// How often what happened, as `stat` tells it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) gets: u64,
    pub(crate) sets: u64,
    pub(crate) flushes: u64,
    pub(crate) touches: u64,
    pub(crate) get_hits: u64,
    pub(crate) get_expired: u64,
    pub(crate) delete_hits: u64,
    pub(crate) delete_misses: u64,
    pub(crate) increment_hits: u64,
    pub(crate) increment_misses: u64,
    pub(crate) decrement_hits: u64,
    pub(crate) decrement_misses: u64,
    pub(crate) cas_hits: u64,
    pub(crate) cas_misses: u64,
    pub(crate) cas_mismatches: u64,
    pub(crate) touch_hits: u64,
    pub(crate) too_large: u64,
    pub(crate) no_memory: u64,
    pub(crate) stored: u64,
    pub(crate) evictions: u64,
    pub(crate) expired: u64,
}

/// How a value is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Set,
    Add,
    Replace,
}

/// Where bytes are put to a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Front,
    Back,
}

/// An item that is to be stored.
#[derive(Clone, Debug)]
pub(crate) struct NewItem<'a> {
    pub(crate) key: &'a [u8],
    /// Copied unless it is shared already.
    pub(crate) value: CowBytes<'a>,
    pub(crate) flags: u32,
    pub(crate) expiry: Expiry,
}

/// A counter's request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Count {
    pub(crate) direction: Direction,
    pub(crate) delta: u64,
    /// What an absent counter becomes; without it, it stays absent.
    pub(crate) initial: Option<(u64, Expiry)>,
}

/// What memcached needs for an item beside key and value: its header, the key's end, the value's
/// line end; then a CAS value and, unless they are 0, flags.
const HEADER: usize = 51;
const CAS: usize = 8;
const FLAGS: usize = 4;

impl Limits {
    /// The size of an item with these lengths.
    pub(crate) fn size(&self, key: usize, value: usize, flags: u32) -> usize {
        let cas = if self.cas { CAS } else { 0 };
        let flags = if flags == 0 { 0 } else { FLAGS };
        HEADER + cas + flags + key + value
    }
}

impl Store {
    pub(crate) fn new(limits: Limits, now: u64) -> Self {
        Self {
            limits,
            items: LruCache::new_unbounded(),
            bytes: 0,
            now,
            last_cas: 0,
            flush_at: None,
            counts: Counts::default(),
            prefixes: Prefixes::default(),
        }
    }

    /// Tells the store what second it is; a flush that is due by then happens.
    #[inline]
    pub(crate) fn set_time(&mut self, now: u64) {
        self.now = now;
        if self.flush_at.is_some_and(|at| at <= now) {
            self.clear();
        }
    }

    pub(crate) fn now(&self) -> u64 {
        self.now
    }

    pub(crate) fn len(&self) -> usize {
        self.items.len()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.limits
    }

    /// How long ago the item that was not used for longest was stored, in seconds.
    pub(crate) fn age(&self) -> u64 {
        let oldest = self.items.iter().next();
        oldest.map_or(0, |(_, item)| self.now.saturating_sub(item.stored_at))
    }

    #[inline]
    pub(crate) fn get(&mut self, key: &[u8]) -> Reply {
        self.counts.gets += 1;
        let reply = match self.items.get(key) {
            Some(item) if !item.expiry.is_past(self.now) => item.reply(),
            Some(_) => {
                self.counts.get_expired += 1;
                self.drop_expired(key);
                Reply::new(Status::KeyNotFound)
            }
            None => Reply::new(Status::KeyNotFound),
        };
        self.counts.get_hits += u64::from(reply.is_ok());
        self.prefixes.count(key, Use::Get { hit: reply.is_ok() });
        reply
    }

    pub(crate) fn get_and_touch(&mut self, key: &[u8], expiry: Expiry) -> Reply {
        self.counts.touches += 1;
        let reply = self.get(key);
        if let (true, Some(item)) = (reply.is_ok(), self.items.get_mut(key)) {
            self.counts.touch_hits += 1;
            item.expiry = expiry;
        }
        reply
    }

    pub(crate) fn touch(&mut self, key: &[u8], expiry: Expiry) -> Reply {
        self.counts.touches += 1;
        let Some(item) = self.find(key) else { return Reply::new(Status::KeyNotFound) };
        item.expiry = expiry;
        let mut reply = item.reply();
        reply.value = Bytes::new();
        self.counts.touch_hits += 1;
        reply
    }

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
        let NewItem { key, value, flags, expiry } = item;
        self.counts.sets += 1;
        self.prefixes.count(key, Use::Set);
        if let Err(status) = self.make_room(self.size(key.len(), value.len(), flags)) {
            return self.refuse(Some(mode), key, status);
        }
        let cas = if self.limits.cas { cas } else { 0 };
        let present = self.find(key).map(|item| item.cas);
        self.count_cas(cas, present);
        match precondition(mode, cas, present) {
            Some(status) => Reply::new(status),
            None => self.put(key, value.into_bytes(), flags, expiry),
        }
    }

    pub(crate) fn extend(&mut self, end: End, key: &[u8], piece: &[u8], cas: u64) -> Reply {
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
            Ok(()) => self.put(key, value.into(), flags, expiry),
            Err(_) => Reply::new(Status::ItemNotStored),
        }
    }

    pub(crate) fn delete(&mut self, key: &[u8], cas: u64) -> Reply {
        self.prefixes.count(key, Use::Delete);
        match self.find(key).map(|item| item.cas) {
            None => {
                self.counts.delete_misses += 1;
                Reply::new(Status::KeyNotFound)
            }
            Some(present) if cas != 0 && cas != present => Reply::new(Status::KeyExists),
            Some(_) => {
                self.counts.delete_hits += 1;
                self.remove(key);
                Reply::new(Status::NoError)
            }
        }
    }

    pub(crate) fn count(&mut self, key: &[u8], count: Count, cas: u64) -> Reply {
        let Some(item) = self.find(key) else { return self.create_counter(key, count) };
        if cas != 0 && cas != item.cas {
            return Reply::new(Status::KeyExists);
        }
        let Some(number) = counter::parse(&item.value) else {
            return Reply::new(Status::NonNumericValue);
        };
        let number = count.direction.step(number, count.delta);
        let value = counter::padded(number, item.value.len());
        let (flags, expiry) = (item.flags, item.expiry);
        *self.counts.of_counter(count.direction, true) += 1;
        let mut reply = self.put(key, value.into(), flags, expiry);
        reply.number = Some(number);
        reply
    }

    fn create_counter(&mut self, key: &[u8], count: Count) -> Reply {
        *self.counts.of_counter(count.direction, false) += 1;
        let Some((number, expiry)) = count.initial else {
            return Reply::new(Status::KeyNotFound);
        };
        let value = number.to_string().into_bytes();
        if let Err(status) = self.make_room(self.size(key.len(), value.len(), 0)) {
            return self.refuse(None, key, status);
        }
        let mut reply = self.put(key, value.into(), 0, expiry);
        reply.number = Some(number);
        reply
    }

    /// Removes everything: now, or when that time comes. A time in the past removes nothing.
    ///
    /// The last flush counts: a flush that still waits is forgotten.
    pub(crate) fn flush(&mut self, at: Expiry) -> Reply {
        if !self.limits.flush {
            return Reply::new(Status::AuthError);
        }
        self.counts.flushes += 1;
        match at.at() {
            None => {
                self.clear();
                self.next_cas();
            }
            Some(at) => self.flush_at = (at > self.now).then_some(at),
        }
        Reply::new(Status::NoError)
    }

    fn clear(&mut self) {
        self.flush_at = None;
        self.items.clear();
        self.bytes = 0;
    }

    /// The item of a key, unless it is expired.
    fn find(&mut self, key: &[u8]) -> Option<&mut Item> {
        if self.items.get(key)?.expiry.is_past(self.now) {
            self.drop_expired(key);
            return None;
        }
        self.items.get_mut(key)
    }

    fn drop_expired(&mut self, key: &[u8]) {
        self.counts.expired += 1;
        self.remove(key);
    }

    fn remove(&mut self, key: &[u8]) {
        if let Some(item) = self.items.remove(key) {
            self.bytes -= self.size(key.len(), item.value.len(), item.flags);
        }
    }

    /// Stores an item for which there is room, under a new CAS value.
    fn put(&mut self, key: &[u8], value: Bytes, flags: u32, expiry: Expiry) -> Reply {
        let cas = self.next_cas();
        let new = Item { value, flags, cas, expiry, stored_at: self.now };
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

    /// Makes room for an item, by evicting what was not used for longest.
    fn make_room(&mut self, size: usize) -> Result<(), Status> {
        if size > self.limits.item_size {
            return Err(Status::ValueTooLarge);
        }
        let fits = |bytes: usize| bytes.saturating_add(size) <= self.limits.memory;
        if fits(self.bytes) {
            return Ok(());
        }
        if !self.limits.evicts || !fits(0) {
            return Err(Status::OutOfMemory);
        }
        self.evict_down_to(self.limits.memory - size);
        Ok(())
    }

    fn evict_down_to(&mut self, bytes: usize) {
        while self.bytes > bytes {
            let Some((key, item)) = self.items.remove_lru() else { return };
            self.bytes -= self.size(key.len(), item.value.len(), item.flags);
            match item.expiry.is_past(self.now) {
                true => self.counts.expired += 1,
                false => self.counts.evictions += 1,
            }
        }
    }

    fn size(&self, key: usize, value: usize, flags: u32) -> usize {
        self.limits.size(key, value, flags)
    }

    fn next_cas(&mut self) -> u64 {
        if self.limits.cas {
            self.last_cas += 1;
        }
        self.last_cas
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

impl Item {
    #[inline]
    fn reply(&self) -> Reply {
        let mut reply = Reply::with_text(Status::NoError, self.value.clone());
        reply.flags = self.flags;
        reply.cas = self.cas;
        reply
    }
}

impl Counts {
    fn of_counter(&mut self, direction: Direction, hit: bool) -> &mut u64 {
        match (direction, hit) {
            (Direction::Up, true) => &mut self.increment_hits,
            (Direction::Up, false) => &mut self.increment_misses,
            (Direction::Down, true) => &mut self.decrement_hits,
            (Direction::Down, false) => &mut self.decrement_misses,
        }
    }
}

/// Why a value may not be stored: a request with a CAS value needs exactly that item, whatever
/// the mode (`docs/protocol.md` of remcache 1.3).
fn precondition(mode: Mode, cas: u64, present: Option<u64>) -> Option<Status> {
    match (cas, present, mode) {
        (0, Some(_), Mode::Add) => Some(Status::KeyExists),
        (0, None, Mode::Replace) => Some(Status::KeyNotFound),
        (0, _, _) => None,
        (_, None, _) => Some(Status::KeyNotFound),
        (_, Some(present), _) => (cas != present).then_some(Status::KeyExists),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_800_000_000;

    fn limits() -> Limits {
        Limits { memory: 1 << 20, item_size: 1024, evicts: true, cas: true, flush: true }
    }

    fn store() -> Store {
        Store::new(limits(), NOW)
    }

    fn set(store: &mut Store, key: &str, value: &[u8]) -> Status {
        set_until(store, key, value, Expiry::NEVER)
    }

    fn set_until(store: &mut Store, key: &str, value: &[u8], expiry: Expiry) -> Status {
        let item = NewItem { key: key.as_bytes(), value: value.into(), flags: 0, expiry };
        store.store(Mode::Set, item, 0).status
    }

    #[test]
    fn preconditions_are_those_of_the_table() {
        use Status::{KeyExists, KeyNotFound};
        let present = Some(5);
        let cases = [
            (Mode::Set, 0, None, None),
            (Mode::Set, 0, present, None),
            (Mode::Add, 0, None, None),
            (Mode::Add, 0, present, Some(KeyExists)),
            (Mode::Replace, 0, None, Some(KeyNotFound)),
            (Mode::Replace, 0, present, None),
        ];
        for (mode, cas, present, expected) in cases {
            assert_eq!(precondition(mode, cas, present), expected, "{mode:?} {cas} {present:?}");
        }
        for mode in [Mode::Set, Mode::Add, Mode::Replace] {
            assert_eq!(precondition(mode, 5, present), None, "{mode:?}");
            assert_eq!(precondition(mode, 6, present), Some(KeyExists), "{mode:?}");
            assert_eq!(precondition(mode, 5, None), Some(KeyNotFound), "{mode:?}");
        }
    }

    #[test]
    fn the_largest_value_is_what_memcached_takes() {
        let largest = 1024 - 59 - 1;
        let mut store = store();
        assert_eq!(set(&mut store, "k", &vec![b'v'; largest]), Status::NoError);
        assert_eq!(store.bytes(), 1024);
        assert_eq!(set(&mut store, "k", &vec![b'v'; largest + 1]), Status::ValueTooLarge);
        assert_eq!((store.len(), store.bytes()), (0, 0), "a refused set takes the old item with it");
        assert_eq!(limits().size(1, largest - 4, 7), 1024, "flags take four bytes");
    }

    #[test]
    fn what_was_not_used_for_longest_is_evicted() {
        let mut store = Store::new(Limits { memory: 3 * (59 + 1 + 100), ..limits() }, NOW);
        for key in ["a", "b", "c"] {
            set(&mut store, key, &[0; 100]);
        }
        assert!(store.get(b"a").is_ok());
        set(&mut store, "d", &[0; 100]);
        let there = ["a", "b", "c", "d"].map(|key| store.get(key.as_bytes()).is_ok());
        assert_eq!(there, [true, false, true, true]);
        assert_eq!(store.counts.evictions, 1);
    }

    #[test]
    fn without_evictions_a_full_store_refuses() {
        let mut store = Store::new(Limits { memory: 200, evicts: false, ..limits() }, NOW);
        assert_eq!(set(&mut store, "a", &[0; 100]), Status::NoError);
        assert_eq!(set(&mut store, "b", &[0; 100]), Status::OutOfMemory);
        assert!(store.get(b"a").is_ok());
        assert_eq!(set(&mut store, "a", &[0; 100]), Status::OutOfMemory);
        assert_eq!(store.len(), 0, "a refused set takes the old item with it");
    }

    #[test]
    fn an_item_larger_than_the_memory_evicts_nothing() {
        let mut store = Store::new(Limits { memory: 200, ..limits() }, NOW);
        set(&mut store, "a", b"v");
        assert_eq!(set(&mut store, "b", &[0; 500]), Status::OutOfMemory);
        assert!(store.get(b"a").is_ok());
    }

    #[test]
    fn sizes_come_back_to_zero() {
        let mut store = store();
        set(&mut store, "a", b"1");
        set(&mut store, "a", b"22");
        store.extend(End::Back, b"a", b"3", 0);
        let count = Count { direction: Direction::Up, delta: 1, initial: None };
        assert_eq!(store.count(b"a", count, 0).number, Some(224));
        assert_eq!(store.bytes(), 59 + 1 + 3);
        store.delete(b"a", 0);
        set_until(&mut store, "b", b"v", Expiry::from_wire(1, NOW));
        store.set_time(NOW + 1);
        assert!(!store.get(b"b").is_ok());
        assert_eq!((store.len(), store.bytes()), (0, 0));
    }

    #[test]
    fn an_expired_item_is_absent_for_everything() {
        let mut store = store();
        set_until(&mut store, "k", b"1", Expiry::from_wire(5, NOW));
        store.set_time(NOW + 4);
        assert!(store.get(b"k").is_ok());
        store.set_time(NOW + 5);
        let count = Count { direction: Direction::Up, delta: 1, initial: None };
        assert_eq!(store.count(b"k", count, 0).status, Status::KeyNotFound);
        assert_eq!(store.touch(b"k", Expiry::NEVER).status, Status::KeyNotFound);
        assert_eq!(store.extend(End::Back, b"k", b"2", 0).status, Status::ItemNotStored);
    }

    #[test]
    fn a_later_flush_takes_what_was_stored_meanwhile() {
        let mut store = store();
        store.flush(Expiry::from_wire(10, NOW));
        set(&mut store, "k", b"v");
        store.set_time(NOW + 9);
        assert!(store.get(b"k").is_ok());
        store.set_time(NOW + 10);
        assert!(!store.get(b"k").is_ok());
    }

    #[test]
    fn the_last_flush_counts() {
        for second in [Expiry::NEVER, Expiry::from_wire(2_592_001, NOW)] {
            let mut store = store();
            store.flush(Expiry::from_wire(10, NOW));
            store.flush(second);
            set(&mut store, "k", b"v");
            store.set_time(NOW + 20);
            assert!(store.get(b"k").is_ok(), "{second:?}");
        }
    }
}
