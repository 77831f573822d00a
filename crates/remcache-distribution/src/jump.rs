//! Lamping and Veach's jump hash: "A Fast, Minimal Memory, Consistent Hash Algorithm" (2014).

/// Returns the bucket of a hash, below `places`, which is at least 1.
pub(crate) fn place(mut hash: u64, places: usize) -> usize {
    let (mut place, mut next) = (0, 0);
    while next < places as u64 {
        place = next;
        hash = hash.wrapping_mul(2_862_933_555_777_941_757).wrapping_add(1);
        let share = (1_u64 << 31) as f64 / ((hash >> 33) + 1) as f64;
        next = ((place + 1) as f64 * share) as u64;
    }
    place as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_more_takes_its_share_and_moves_nothing_between_the_others() {
        let mut random = fastrand::Rng::with_seed(3);
        let hashes: Vec<u64> = (0..20_000).map(|_| random.u64(..)).collect();
        for places in [1, 2, 3, 10, 99] {
            let moved = hashes.iter().filter(|&&hash| {
                let (before, after) = (place(hash, places), place(hash, places + 1));
                assert!(after == before || after == places, "{hash}: {before} to {after}");
                after != before
            });
            let (moved, expected) = (moved.count(), hashes.len() / (places + 1));
            assert!((expected * 8 / 10..expected * 12 / 10).contains(&moved), "{moved} moved to place {places}");
        }
    }

    #[test]
    fn published_values() {
        // From the test of Go's github.com/dgryski/go-jump, after the paper.
        for (hash, places, expected) in
            [(1, 1, 0), (42, 57, 43), (0xdead_10cc, 1, 0), (0xdead_10cc, 666, 361), (256, 1024, 520)]
        {
            assert_eq!(place(hash, places), expected, "{hash} of {places}");
        }
    }
}
