//! The keys that are fetched most, found in bounded memory however many keys there are.
//!
//! It is lossy counting: each key has a place with a count, and when the places are taken the coldest half
//! is forgotten. The highest count that was forgotten is the floor. A key that comes later, or comes again,
//! may have been fetched as often before, and its place says so. With room for `n` keys the floor is never
//! more than an `n`-th of all fetches, so a key with a greater share is never missing at the end.

use std::collections::HashMap;

/// A fetch, as a server's log tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fetch {
    pub(super) is_hit: bool,
    /// The size of the value, if the server tells it.
    pub(super) size: Option<u64>,
}

/// What was seen of one key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Spot {
    /// Fetches that were counted.
    pub(super) gets: u64,
    pub(super) hits: u64,
    /// The size of the value that was fetched last.
    pub(super) size: Option<u64>,
    /// How many bytes of values were fetched.
    pub(super) bytes: u64,
    /// How many fetches may have gone uncounted, before the key had its place.
    pub(super) uncounted: u64,
}

impl Spot {
    fn count(&mut self, fetch: Fetch) {
        self.gets += 1;
        if fetch.is_hit {
            self.hits += 1;
            self.size = fetch.size.or(self.size);
            self.bytes += fetch.size.unwrap_or_default();
        }
    }

    /// The most that it can have been fetched.
    fn most(&self) -> u64 {
        self.gets + self.uncounted
    }
}

/// The hottest keys so far.
#[derive(Debug)]
pub(super) struct Heat {
    spots: HashMap<Vec<u8>, Spot>,
    /// How many keys survive when the coldest are forgotten; twice as many have a place.
    kept: usize,
    /// The most that a key without a place can have been fetched.
    floor: u64,
}

impl Heat {
    /// Finds keys that have more than a `kept`-th of all fetches.
    pub(super) fn new(kept: usize) -> Self {
        Self { spots: HashMap::new(), kept: kept.max(1), floor: 0 }
    }

    /// Counts a fetch of a key.
    pub(super) fn count(&mut self, key: &[u8], fetch: Fetch) {
        if let Some(spot) = self.spots.get_mut(key) {
            return spot.count(fetch);
        }
        if self.spots.len() >= self.kept.saturating_mul(2) {
            self.forget_the_coldest();
        }
        let mut spot = Spot { uncounted: self.floor, ..Spot::default() };
        spot.count(fetch);
        self.spots.insert(key.to_vec(), spot);
    }

    /// How many keys have a place.
    pub(super) fn len(&self) -> usize {
        self.spots.len()
    }

    /// The keys that have a place, in no order.
    pub(super) fn spots(&self) -> impl Iterator<Item = (&[u8], Spot)> {
        self.spots.iter().map(|(key, spot)| (key.as_slice(), *spot))
    }

    fn forget_the_coldest(&mut self) {
        let mut counts: Vec<u64> = self.spots.values().map(Spot::most).collect();
        let (_, floor, _) = counts.select_nth_unstable_by(self.kept, |count, other| other.cmp(count));
        self.floor = *floor;
        self.spots.retain(|_, spot| spot.most() > self.floor);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HIT: Fetch = Fetch { is_hit: true, size: Some(10) };
    const MISS: Fetch = Fetch { is_hit: false, size: Some(0) };

    fn hottest(heat: &Heat, most: usize) -> Vec<(&[u8], Spot)> {
        let mut all: Vec<_> = heat.spots().collect();
        all.sort_by_key(|(_, spot)| std::cmp::Reverse(spot.gets));
        all.truncate(most);
        all
    }

    #[test]
    fn few_keys_are_counted_exactly() {
        let mut heat = Heat::new(4);
        for (key, fetch) in [("a", HIT), ("b", MISS), ("a", HIT), ("a", MISS)] {
            heat.count(key.as_bytes(), fetch);
        }
        let a = Spot { gets: 3, hits: 2, size: Some(10), bytes: 20, uncounted: 0 };
        let b = Spot { gets: 1, ..Spot::default() };
        assert_eq!(hottest(&heat, 10), [(&b"a"[..], a), (b"b", b)]);
    }

    #[test]
    fn memory_is_bounded_and_no_hot_key_is_missing() {
        let mut random = fastrand::Rng::with_seed(7);
        let (mut heat, kept, fetches) = (Heat::new(100), 100, 200_000);
        let mut truth: HashMap<String, u64> = HashMap::new();
        for _ in 0..fetches {
            // A few hot keys, which get a third of the fetches, among very many that come once or twice.
            let key = match random.u32(0..3) {
                0 => format!("hot:{}", random.u32(0..10)),
                _ => format!("cold:{}", random.u32(..)),
            };
            heat.count(key.as_bytes(), HIT);
            *truth.entry(key).or_default() += 1;
            assert!(heat.len() <= 2 * kept);
        }
        assert!(heat.floor <= fetches / kept as u64, "{}", heat.floor);
        for (key, spot) in hottest(&heat, 10) {
            let key = std::str::from_utf8(key).unwrap();
            assert!(key.starts_with("hot:"), "{key}");
            assert!(spot.gets <= truth[key] && truth[key] <= spot.most(), "{key}: {spot:?}, {}", truth[key]);
        }
    }

    #[test]
    fn a_key_that_comes_late_says_what_it_may_have_missed() {
        let mut heat = Heat::new(1);
        for key in ["a", "a", "b", "c"] {
            heat.count(key.as_bytes(), HIT);
        }
        // Its place was made by forgetting b, which was fetched once.
        let c = hottest(&heat, 2)[1];
        assert_eq!((c.0, c.1.gets, c.1.uncounted), (&b"c"[..], 1, 1));
    }
}
