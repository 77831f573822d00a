//! The items and the operations on them, independent of protocols and connections.

mod class;
mod counters;
mod item;
mod meta;
mod scan;
mod write;

use std::sync::Arc;

use bytes::Bytes;
use hashlink::LruCache;
use remcache_proto::{Reply, Status};

use crate::expiry::Expiry;
use crate::prefix_stats::{KeyUse, PrefixStats};
use crate::watch::{Eviction, FetchResult, Watchers};

pub(crate) use class::CLASS_LIMIT;
use class::class_of;
pub(crate) use counters::Counters;
pub(crate) use item::{Item, ItemState, Limits, NewItem};
pub(crate) use meta::{DeleteOptions, DeleteResult};
pub(crate) use scan::{ClassStats, ItemEntry};
pub(crate) use write::{Arithmetic, Extension, Mode};

/// The items of a server, with counters of the operations on them.
#[derive(Debug)]
pub(crate) struct Store {
    limits: Limits,
    /// In the order of use, the least recently used first.
    items: LruCache<Box<[u8]>, Item>,
    /// The size of all items, including overhead.
    bytes: usize,
    /// The current second. It does not change while a batch of requests is processed.
    now: u64,
    started_at: u64,
    last_cas: u64,
    /// The time of a delayed flush.
    flush_at: Option<u64>,
    /// Without CAS values, the second up to which stored items count as flushed.
    flushed_until: u64,
    pub(crate) counters: Counters,
    class_events: scan::ClassEvents,
    pub(crate) prefix_stats: PrefixStats,
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
            flushed_until: 0,
            counters: Counters::default(),
            class_events: scan::ClassEvents::default(),
            prefix_stats: PrefixStats::default(),
            watchers,
        }
    }

    /// Sets the current second and performs a delayed flush that is due.
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

    /// Converts the time in a text request.
    pub(crate) fn expiry_from_text(&self, seconds: i32) -> Expiry {
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

    /// Changes the memory limit and evicts the items that exceed it.
    pub(crate) fn set_memory(&mut self, bytes: usize) {
        self.limits.memory = bytes;
        if self.limits.evictions {
            self.evict_down_to(bytes);
        }
    }

    #[inline]
    pub(crate) fn get(&mut self, key: &[u8]) -> Reply {
        self.counters.gets += 1;
        let now = self.now;
        let reply = match self.items.get_mut(key) {
            Some(item) if !item.expiry.is_past(now) => {
                item.bump(now);
                let reply = item.reply();
                self.log_fetch(key, FetchResult::Found, reply.value.len());
                reply
            }
            Some(_) => {
                self.counters.get_expired += 1;
                self.remove_expired(key);
                Reply::new(Status::KeyNotFound)
            }
            None => {
                self.log_fetch(key, FetchResult::NotFound, 0);
                Reply::new(Status::KeyNotFound)
            }
        };
        self.counters.get_hits += u64::from(reply.is_ok());
        self.prefix_stats.record(key, KeyUse::Get { hit: reply.is_ok() });
        reply
    }

    pub(crate) fn get_and_touch(&mut self, key: &[u8], expiry: Expiry) -> Reply {
        self.counters.touches += 1;
        let reply = self.get(key);
        if let (true, Some(item)) = (reply.is_ok(), self.items.get_mut(key)) {
            self.counters.touch_hits += 1;
            item.expiry = expiry;
        }
        reply
    }

    pub(crate) fn touch(&mut self, key: &[u8], expiry: Expiry) -> Reply {
        self.counters.touches += 1;
        let now = self.now;
        let Some(item) = self.find(key) else { return Reply::new(Status::KeyNotFound) };
        item.expiry = expiry;
        item.bump(now);
        let mut reply = item.reply();
        reply.value = Bytes::new();
        self.counters.touch_hits += 1;
        reply
    }

    pub(crate) fn delete(&mut self, key: &[u8], cas: u64) -> Reply {
        self.prefix_stats.record(key, KeyUse::Delete);
        match self.find(key).map(|item| item.cas) {
            None => {
                self.counters.delete_misses += 1;
                Reply::new(Status::KeyNotFound)
            }
            Some(present) if cas != 0 && cas != present => Reply::new(Status::KeyExists),
            Some(_) => {
                self.counters.delete_hits += 1;
                self.remove(key);
                Reply::new(Status::NoError)
            }
        }
    }

    /// Removes all items, now or at the given time. It replaces a delayed flush that is not due yet.
    ///
    /// A time in the past means now, except that memcached ignores times before its own start.
    pub(crate) fn flush(&mut self, at: Expiry) -> Reply {
        if !self.limits.flush {
            return Reply::new(Status::AuthError);
        }
        self.counters.flushes += 1;
        self.flush_at = at.at().filter(|at| *at > self.now);
        if self.flush_at.is_none() {
            if !at.predates(self.started_at) {
                self.flush_now(at);
            }
            if self.limits.flush_consumes_cas {
                self.next_cas();
            }
        }
        Reply::new(Status::NoError)
    }

    fn flush_now(&mut self, at: Expiry) {
        if self.limits.cas || !self.limits.flush_consumes_cas {
            return self.clear();
        }
        // Before 1.6.25, memcached compares CAS values to find the items stored before a flush. Without them it
        // compares seconds, and then also loses items that are stored in the same second after the flush.
        self.flushed_until = at.at().map_or(self.now, |at| at - 1);
        let (until, limits, bytes) = (self.flushed_until, &self.limits, &mut self.bytes);
        self.items.retain(|key, item| {
            let is_kept = item.stored_at > until;
            if !is_kept {
                *bytes -= limits.size(key.len(), item.value.len(), item.flags);
            }
            is_kept
        });
    }

    fn clear(&mut self) {
        self.flush_at = None;
        self.items.clear();
        self.bytes = 0;
    }

    /// Returns the item of a key, unless it is expired, and logs the fetch.
    pub(crate) fn find(&mut self, key: &[u8]) -> Option<&mut Item> {
        match self.items.get(key).map(|item| (item.expiry.is_past(self.now), item.value.len())) {
            None => self.log_fetch(key, FetchResult::NotFound, 0),
            Some((true, _)) => self.remove_expired(key),
            Some((false, length)) => self.log_fetch(key, FetchResult::Found, length),
        }
        // An expired item has been removed by now.
        self.items.get_mut(key)
    }

    /// Returns the item of a key that was just found or created.
    pub(crate) fn item(&mut self, key: &[u8]) -> Option<&mut Item> {
        self.items.get_mut(key)
    }

    fn remove_expired(&mut self, key: &[u8]) {
        self.counters.expired += 1;
        self.log_fetch(key, FetchResult::Expired, 0);
        self.remove(key);
    }

    #[inline]
    fn log_fetch(&self, key: &[u8], result: FetchResult, length: usize) {
        if self.watchers.has_fetchers() {
            let class = if result == FetchResult::Found { self.class_of_key(key) } else { 0 };
            self.watchers.log_fetch(key, result, class, length);
        }
    }

    pub(crate) fn remove(&mut self, key: &[u8]) {
        if let Some(item) = self.items.remove(key) {
            self.bytes -= self.item_size(key, &item);
        }
    }

    /// Makes room for an item of this size by evicting the least recently used ones.
    fn make_room(&mut self, size: usize) -> Result<(), Status> {
        if size > self.limits.item_size {
            return Err(Status::ValueTooLarge);
        }
        let fits = |bytes: usize| bytes.saturating_add(size) <= self.limits.memory;
        if fits(self.bytes) {
            return Ok(());
        }
        if !self.limits.evictions || !fits(0) {
            self.class_events.class(class_of(size)).no_memory += 1;
            return Err(Status::OutOfMemory);
        }
        self.evict_down_to(self.limits.memory - size);
        Ok(())
    }

    fn evict_down_to(&mut self, bytes: usize) {
        while self.bytes > bytes {
            let Some((key, item)) = self.items.remove_lru() else { return };
            let size = self.item_size(&key, &item);
            self.bytes -= size;
            let class = class_of(size);
            if item.expiry.is_past(self.now) {
                self.counters.expired += 1;
                self.class_events.class(class).reclaimed += 1;
                continue;
            }
            self.counters.evictions += 1;
            self.class_events.class(class).evicted += 1;
            self.log_eviction(&key, &item, class);
        }
    }

    fn log_eviction(&self, key: &[u8], item: &Item, class: u8) {
        if self.watchers.has_evictions() {
            let eviction = Eviction {
                fetched: item.state.fetched,
                ttl: item.expiry.at().map(|_| item.expiry.remaining(self.now)),
                idle: self.now.saturating_sub(item.used_at),
                class,
                length: item.value.len(),
            };
            self.watchers.log_eviction(key, &eviction);
        }
    }

    fn size(&self, key: usize, value: usize, flags: u32) -> usize {
        self.limits.size(key, value, flags)
    }

    fn item_size(&self, key: &[u8], item: &Item) -> usize {
        self.size(key.len(), item.value.len(), item.flags)
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
