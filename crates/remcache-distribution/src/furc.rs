//! mcrouter's `furc_hash`: a walk down a binary tree, one bit of a stream of hashes at a time.

use crate::hash::MCROUTER_SEED;
use crate::hash::murmur::murmur64a;

/// Returns the bucket of a key, below `buckets`.
///
/// Each level of the tree decides whether the key is in the upper half of the buckets that the level adds; if it is,
/// the next bits select one of them.
/// A bucket that does not exist, because their number is not a power of two, is drawn again.
pub(crate) fn bucket(key: &[u8], buckets: usize) -> usize {
    if buckets <= 1 {
        return 0;
    }
    let mut stream = Stream::of(key);
    let mut row = usize::BITS - (buckets - 1).leading_zeros();
    let mut at = row;
    for _ in 0..MAX_TRIES {
        while !stream.bit(at) {
            row -= 1;
            if row == 0 {
                return 0;
            }
            at = row;
        }
        at += STRIDE;
        let mut bucket = 1;
        for _ in 1..row {
            bucket = bucket << 1 | usize::from(stream.bit(at));
            at += STRIDE;
        }
        if bucket < buckets {
            return bucket;
        }
    }
    0
}

/// A stream of bits from a chain of hashes.
struct Stream {
    first: u64,
    current: u64,
    /// The index of `current` in the chain.
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

const MAX_TRIES: u32 = 32;
/// The distance between the bits of one bucket, which limits buckets to 2^23.
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
        for (key, buckets) in golden {
            for (count, expected) in buckets.as_object().unwrap() {
                assert_eq!(*expected, bucket(key.as_bytes(), count.parse().unwrap()), "{key} of {count}");
            }
        }
    }

    #[test]
    fn a_place_more_moves_nothing_between_the_others() {
        for key in 0..2000_u32 {
            for buckets in [1, 2, 3, 4, 7, 8, 9, 100] {
                let (before, after) = (bucket(&key.to_be_bytes(), buckets), bucket(&key.to_be_bytes(), buckets + 1));
                assert!(after == before || after == buckets, "{key}: {before} to {after}");
            }
        }
    }
}
