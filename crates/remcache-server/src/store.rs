//! The items: operations in, replies out. No wire and no socket is known here.

mod change;
mod class;
mod counts;
mod item;
mod meta;
mod survey;

use std::sync::Arc;

use bytes::Bytes;
use hashlink::LruCache;
use remcache_proto::{Reply, Status};

use crate::expiry::Expiry;
use crate::prefix::{Prefixes, Use};
use crate::watch::{Found, Watchers};

pub(crate) use change::{Count, End, Mode};
pub(crate) use class::NUMBERS as CLASS_NUMBERS;
pub(crate) use counts::Counts;
pub(crate) use item::{Item, Limits, Marks, NewItem};
pub(crate) use meta::{Deleted, Fate};
pub(crate) use survey::{ClassSurvey, Listed};

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
    started_at: u64,
    last_cas: u64,
    /// When everything that is stored until then goes.
    flush_at: Option<u64>,
    pub(crate) counts: Counts,
    /// What rarely happens, by slab class.
    rare: survey::Rare,
    /// Uses by prefix, while somebody asked to count them.
    pub(crate) prefixes: Prefixes,
    /// Who is told of what happens here.
    pub(crate) watchers: Arc<Watchers>,
}

impl Store {
    pub(crate) fn new(limits: Limits, now: u64, watchers: Arc<Watchers>) -> Self {
        Self {
            limits,
            items: LruCache::new_unbounded(),
            bytes: 0,
            now,
            started_at: now,
            last_cas: 0,
            flush_at: None,
            counts: Counts::default(),
            rare: survey::Rare::default(),
            prefixes: Prefixes::default(),
            watchers,
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

    /// When a time to live ends that a text wire gave.
    pub(crate) fn expiry(&self, seconds: i32) -> Expiry {
        Expiry::from_text(seconds, self.now, self.started_at)
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

    /// Changes how much memory there is for all items; what does not fit any more is evicted.
    pub(crate) fn set_memory(&mut self, bytes: usize) {
        self.limits.memory = bytes;
        if self.limits.evicts {
            self.evict_down_to(bytes);
        }
    }

    #[inline]
    pub(crate) fn get(&mut self, key: &[u8]) -> Reply {
        self.counts.gets += 1;
        let now = self.now;
        let reply = match self.items.get_mut(key) {
            Some(item) if !item.expiry.is_past(now) => {
                item.bump(now);
                let reply = item.reply();
                self.told_of_get(key, Found::Yes, reply.value.len());
                reply
            }
            Some(_) => {
                self.counts.get_expired += 1;
                self.drop_expired(key);
                Reply::new(Status::KeyNotFound)
            }
            None => {
                self.told_of_get(key, Found::No, 0);
                Reply::new(Status::KeyNotFound)
            }
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
        let now = self.now;
        let Some(item) = self.find(key) else { return Reply::new(Status::KeyNotFound) };
        item.expiry = expiry;
        item.bump(now);
        let mut reply = item.reply();
        reply.value = Bytes::new();
        self.counts.touch_hits += 1;
        reply
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
                self.count_flush();
            }
            Some(at) => {
                self.flush_at = (at > self.now).then_some(at);
                if at <= self.now {
                    self.count_flush();
                }
            }
        }
        Reply::new(Status::NoError)
    }

    fn count_flush(&mut self) {
        if self.limits.flush_takes_cas {
            self.next_cas();
        }
    }

    fn clear(&mut self) {
        self.flush_at = None;
        self.items.clear();
        self.bytes = 0;
    }

    /// The item of a key, unless it is expired.
    pub(crate) fn find(&mut self, key: &[u8]) -> Option<&mut Item> {
        match self.items.get(key).map(|item| (item.expiry.is_past(self.now), item.value.len())) {
            None => self.told_of_get(key, Found::No, 0),
            Some((true, _)) => self.drop_expired(key),
            Some((false, length)) => self.told_of_get(key, Found::Yes, length),
        }
        // An expired one is gone by now.
        self.items.get_mut(key)
    }

    /// The item of a key that was just found or made.
    pub(crate) fn item(&mut self, key: &[u8]) -> Option<&mut Item> {
        self.items.get_mut(key)
    }

    fn drop_expired(&mut self, key: &[u8]) {
        self.counts.expired += 1;
        self.told_of_get(key, Found::Expired, 0);
        self.remove(key);
    }

    #[inline]
    fn told_of_get(&self, key: &[u8], found: Found, length: usize) {
        if self.watchers.want_fetches() {
            let class = if found == Found::Yes { self.class_of(key) } else { 0 };
            self.watchers.tell_fetch(key, found, class, length);
        }
    }

    pub(crate) fn remove(&mut self, key: &[u8]) {
        if let Some(item) = self.items.remove(key) {
            self.bytes -= self.size(key.len(), item.value.len(), item.flags);
        }
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
            self.rare.of(class::of(size)).no_memory += 1;
            return Err(Status::OutOfMemory);
        }
        self.evict_down_to(self.limits.memory - size);
        Ok(())
    }

    fn evict_down_to(&mut self, bytes: usize) {
        while self.bytes > bytes {
            let Some((key, item)) = self.items.remove_lru() else { return };
            let size = self.size(key.len(), item.value.len(), item.flags);
            self.bytes -= size;
            let class = class::of(size);
            if item.expiry.is_past(self.now) {
                self.counts.expired += 1;
                self.rare.of(class).reclaimed += 1;
                continue;
            }
            self.counts.evictions += 1;
            self.rare.of(class).evicted += 1;
            if self.watchers.want_evictions() {
                self.watchers.tell_eviction(&key, &item, class, self.now);
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
}

#[cfg(test)]
mod tests;
