//! mcrouter's `furc_hash`: a walk down a binary tree, one bit of a stream of hashes at a time.

use crate::hash::MCROUTER_SEED;
use crate::hash::murmur::murmur64a;

/// Returns the bucket of a key, below `places`.
///
/// Each row of the tree decides whether the key is in the upper half of the places that this row adds; where it is, the
/// next bits say at which of them.
/// A place that does not exist, since the number of places is no power of two, is drawn again.
pub(crate) fn place(key: &[u8], places: usize) -> usize {
    if places <= 1 {
        return 0;
    }
    let mut stream = Stream::of(key);
    let mut row = usize::BITS - (places - 1).leading_zeros();
    let mut at = row;
    for _ in 0..MOST_TRIES {
        while !stream.bit(at) {
            row -= 1;
            if row == 0 {
                return 0;
            }
            at = row;
        }
        at += STRIDE;
        let mut place = 1;
        for _ in 1..row {
            place = place << 1 | usize::from(stream.bit(at));
            at += STRIDE;
        }
        if place < places {
            return place;
        }
    }
    0
}

/// Hashes one after the other, each of the one before, as bits.
struct Stream {
    first: u64,
    current: u64,
    /// Which of them `current` is.
    number: u32,
}

impl Stream {
    fn of(key: &[u8]) -> Self {
        let first = murmur64a(key, MCROUTER_SEED);
        Self { first, current: first, number: 0 }
    }

    fn bit(&mut self, at: u32) -> bool {
        let number = at / 64;
        if number < self.number {
            (self.current, self.number) = (self.first, 0);
        }
        while self.number < number {
            self.current = murmur64a(&self.current.to_le_bytes(), MCROUTER_SEED);
            self.number += 1;
        }
        self.current >> (at % 64) & 1 == 1
    }
}

const MOST_TRIES: u32 = 32;
/// How far apart the bits of one place are, hence at most 2^23 places.
const STRIDE: u32 = 23;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vectors;

    #[test]
    fn golden_places() {
        let vectors = vectors();
        let golden = vectors["mcrouter_ch3_furc_hash"].as_object().unwrap();
        assert_eq!(golden.len(), 8);
        for (key, places) in golden {
            for (count, expected) in places.as_object().unwrap() {
                assert_eq!(*expected, place(key.as_bytes(), count.parse().unwrap()), "{key} of {count}");
            }
        }
    }

    #[test]
    fn a_place_more_moves_nothing_between_the_others() {
        for key in 0..2000_u32 {
            for places in [1, 2, 3, 4, 7, 8, 9, 100] {
                let (before, after) = (place(&key.to_be_bytes(), places), place(&key.to_be_bytes(), places + 1));
                assert!(after == before || after == places, "{key}: {before} to {after}");
            }
        }
    }
}
