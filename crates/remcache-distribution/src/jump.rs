//! Lamping and Veach's jump hash: "A Fast, Minimal Memory, Consistent Hash Algorithm" (2014).

/// Returns the bucket of a hash, below `buckets`, which is at least 1.
pub(crate) fn bucket(mut hash: u64, buckets: usize) -> usize {
    let (mut bucket, mut next) = (0, 0);
    while next < buckets as u64 {
        bucket = next;
        hash = hash.wrapping_mul(2_862_933_555_777_941_757).wrapping_add(1);
        let share = (1_u64 << 31) as f64 / ((hash >> 33) + 1) as f64;
        next = ((bucket + 1) as f64 * share) as u64;
    }
    bucket as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_more_takes_its_share_and_moves_nothing_between_the_others() {
        let mut random = fastrand::Rng::with_seed(3);
        let hashes: Vec<u64> = (0..20_000).map(|_| random.u64(..)).collect();
        for buckets in [1, 2, 3, 10, 99] {
            let moved = hashes.iter().filter(|&&hash| {
                let (before, after) = (bucket(hash, buckets), bucket(hash, buckets + 1));
                assert!(after == before || after == buckets, "{hash}: {before} to {after}");
                after != before
            });
            let (moved, expected) = (moved.count(), hashes.len() / (buckets + 1));
            assert!((expected * 8 / 10..expected * 12 / 10).contains(&moved), "{moved} moved to bucket {buckets}");
        }
    }

    #[test]
    fn published_values() {
        // From the test of Go's github.com/dgryski/go-jump, after the paper.
        for (hash, buckets, expected) in
            [(1, 1, 0), (42, 57, 43), (0xdead_10cc, 1, 0), (0xdead_10cc, 666, 361), (256, 1024, 520)]
        {
            assert_eq!(bucket(hash, buckets), expected, "{hash} of {buckets}");
        }
    }
}
