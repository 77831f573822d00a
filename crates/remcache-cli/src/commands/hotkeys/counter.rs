//! Counts the most frequent keys in bounded memory (lossy counting).
//!
//! When the counter is full, the less frequent half of the keys is evicted. The highest evicted count is the
//! error bound: a key that is added later may have been fetched up to that many times before, and its entry
//! says so. With a capacity of `n` keys the bound never exceeds an `n`-th of all fetches, so a key with a
//! greater share is always present.

use std::collections::HashMap;

/// A fetch, as reported in a server's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fetch {
    pub(super) is_hit: bool,
    /// Size of the value, if the server reports it.
    pub(super) size: Option<u64>,
}

/// Counts of one key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct KeyCounts {
    /// Counted fetches.
    pub(super) gets: u64,
    pub(super) hits: u64,
    /// Size of the value that was fetched last.
    pub(super) size: Option<u64>,
    /// Bytes of all fetched values.
    pub(super) bytes: u64,
    /// Upper bound of the fetches before the key was added.
    pub(super) uncounted: u64,
}

impl KeyCounts {
    fn add(&mut self, fetch: Fetch) {
        self.gets += 1;
        if fetch.is_hit {
            self.hits += 1;
            self.size = fetch.size.or(self.size);
            self.bytes += fetch.size.unwrap_or_default();
        }
    }

    /// Returns the upper bound of all fetches of the key.
    fn max_gets(&self) -> u64 {
        self.gets + self.uncounted
    }
}

/// A counter of keys with a bounded number of entries.
#[derive(Debug)]
pub(super) struct LossyCounter {
    entries: HashMap<Vec<u8>, KeyCounts>,
    /// Entries that remain after an eviction; up to twice as many exist before one.
    capacity: usize,
    /// Upper bound of the fetches of a key without an entry.
    error_bound: u64,
}

impl LossyCounter {
    /// Creates a counter that finds every key with more than a `capacity`-th of all fetches.
    pub(super) fn new(capacity: usize) -> Self {
        Self { entries: HashMap::new(), capacity: capacity.max(1), error_bound: 0 }
    }

    /// Counts a fetch of a key.
    pub(super) fn count(&mut self, key: &[u8], fetch: Fetch) {
        if let Some(counts) = self.entries.get_mut(key) {
            return counts.add(fetch);
        }
        if self.entries.len() >= self.capacity.saturating_mul(2) {
            self.evict();
        }
        let mut counts = KeyCounts { uncounted: self.error_bound, ..KeyCounts::default() };
        counts.add(fetch);
        self.entries.insert(key.to_vec(), counts);
    }

    /// Returns the number of entries.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Returns all entries, in no particular order.
    pub(super) fn entries(&self) -> impl Iterator<Item = (&[u8], KeyCounts)> {
        self.entries.iter().map(|(key, counts)| (key.as_slice(), *counts))
    }

    /// Evicts the least frequent keys.
    fn evict(&mut self) {
        let mut counts: Vec<u64> = self.entries.values().map(KeyCounts::max_gets).collect();
        let (_, bound, _) = counts.select_nth_unstable_by(self.capacity, |count, other| other.cmp(count));
        self.error_bound = *bound;
        self.entries.retain(|_, counts| counts.max_gets() > self.error_bound);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HIT: Fetch = Fetch { is_hit: true, size: Some(10) };
    const MISS: Fetch = Fetch { is_hit: false, size: Some(0) };

    fn top(counter: &LossyCounter, limit: usize) -> Vec<(&[u8], KeyCounts)> {
        let mut all: Vec<_> = counter.entries().collect();
        all.sort_by_key(|(_, counts)| std::cmp::Reverse(counts.gets));
        all.truncate(limit);
        all
    }

    #[test]
    fn few_keys_are_counted_exactly() {
        let mut counter = LossyCounter::new(4);
        for (key, fetch) in [("a", HIT), ("b", MISS), ("a", HIT), ("a", MISS)] {
            counter.count(key.as_bytes(), fetch);
        }
        let a = KeyCounts { gets: 3, hits: 2, size: Some(10), bytes: 20, uncounted: 0 };
        let b = KeyCounts { gets: 1, ..KeyCounts::default() };
        assert_eq!(top(&counter, 10), [(&b"a"[..], a), (b"b", b)]);
    }

    #[test]
    fn memory_is_bounded_and_frequent_keys_are_found() {
        let mut random = fastrand::Rng::with_seed(7);
        let (mut counter, capacity, fetches) = (LossyCounter::new(100), 100, 200_000);
        let mut exact: HashMap<String, u64> = HashMap::new();
        for _ in 0..fetches {
            // Ten keys get a third of the fetches; the others are fetched once or twice.
            let key = match random.u32(0..3) {
                0 => format!("hot:{}", random.u32(0..10)),
                _ => format!("cold:{}", random.u32(..)),
            };
            counter.count(key.as_bytes(), HIT);
            *exact.entry(key).or_default() += 1;
            assert!(counter.len() <= 2 * capacity);
        }
        assert!(counter.error_bound <= fetches / capacity as u64, "{}", counter.error_bound);
        for (key, counts) in top(&counter, 10) {
            let key = std::str::from_utf8(key).unwrap();
            assert!(key.starts_with("hot:"), "{key}");
            assert!(counts.gets <= exact[key] && exact[key] <= counts.max_gets(), "{key}: {counts:?}, {}", exact[key]);
        }
    }

    #[test]
    fn a_late_key_has_the_error_bound() {
        let mut counter = LossyCounter::new(1);
        for key in ["a", "a", "b", "c"] {
            counter.count(key.as_bytes(), HIT);
        }
        // b, which was fetched once, was evicted for c.
        let c = top(&counter, 2)[1];
        assert_eq!((c.0, c.1.gets, c.1.uncounted), (&b"c"[..], 1, 1));
    }
}
