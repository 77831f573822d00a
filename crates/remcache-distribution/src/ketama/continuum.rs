//! The continuum: sorted points on a circle, each of which belongs to a server.

/// A position on a circle of 2^32 or 2^128.
pub(crate) trait Position: Copy + Ord {
    /// Converts a hash to a position, by its least significant bits.
    fn of(hash: u128) -> Self;

    /// Returns the 32 most significant bits.
    fn top(self) -> u32;
}

impl Position for u32 {
    #[inline]
    fn of(hash: u128) -> Self {
        hash as Self
    }

    #[inline]
    fn top(self) -> u32 {
        self
    }
}

impl Position for u128 {
    fn of(hash: u128) -> Self {
        hash
    }

    fn top(self) -> u32 {
        (self >> 96) as u32
    }
}

/// A point of the circle. Points are ordered by value, then by server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Point<P = u32> {
    pub(crate) value: P,
    pub(crate) server: u32,
}

/// The rule by which a hash is assigned to a point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lookup {
    /// The first point at or after it; after the last, the first of all.
    AtOrAfter,
    /// The first point after it; after the last, the first of all.
    After,
    /// The last point at or before it; before the first, the last of all.
    AtOrBefore,
    /// The first point at or after it; after the last, the first of all, but before the first the last of all: a bug of
    /// Enyim's client.
    AtOrAfterOrLast,
}

/// All points of a list of servers, ascending, with an index by the top bits of a value.
///
/// A binary search over the 156,000 points of 1,000 servers would miss the cache at most of its 18 steps.
/// Points are hashes and evenly distributed: the top bits locate a value within two or three points.
#[derive(Debug, Clone)]
pub(crate) struct Continuum<P = u32> {
    points: Box<[Point<P>]>,
    /// Invariant: `starts[b]` is the number of points whose top bits are below `b << shift`; one entry more than
    /// buckets.
    starts: Box<[u32]>,
    shift: u32,
    lookup: Lookup,
}

impl<P: Position> Continuum<P> {
    /// Creates a continuum of sorted points.
    pub(crate) fn new(points: Vec<Point<P>>, lookup: Lookup) -> Self {
        debug_assert!(points.is_sorted_by_key(|point| point.value));
        let bits = (points.len() / POINTS_PER_BUCKET).max(2).ilog2();
        let shift = u32::BITS - bits;
        Self { starts: starts_of_buckets(&points, bits, shift), points: points.into_boxed_slice(), shift, lookup }
    }

    /// Returns the point of a hash; `None` if there are no points.
    #[inline]
    pub(crate) fn find(&self, hash: P) -> Option<&Point<P>> {
        self.points.get(self.index(hash))
    }

    /// Returns the servers of the points from that of a hash on: the order in which they take over its keys.
    pub(crate) fn walk(&self, hash: P) -> impl Iterator<Item = usize> + use<'_, P> {
        let (start, len) = (self.index(hash), self.points.len());
        let backward = self.lookup == Lookup::AtOrBefore;
        (0..len).map(move |step| {
            let step = if backward { len - step } else { step };
            self.points[(start + step) % len].server as usize
        })
    }

    #[inline]
    fn index(&self, hash: P) -> usize {
        let len = self.points.len();
        match self.lookup {
            Lookup::AtOrAfter => or_first(self.count_before(hash, |value| value < hash), len),
            Lookup::After => or_first(self.count_before(hash, |value| value <= hash), len),
            Lookup::AtOrBefore => match self.count_before(hash, |value| value <= hash) {
                0 => len.saturating_sub(1),
                count => count - 1,
            },
            Lookup::AtOrAfterOrLast => match self.count_before(hash, |value| value < hash) {
                0 if self.points.first().is_some_and(|first| first.value != hash) => len - 1,
                count => or_first(count, len),
            },
        }
    }

    /// Counts the points that fulfil a condition that holds for all below the hash and for none above it.
    #[inline]
    fn count_before(&self, hash: P, is_before: impl Fn(P) -> bool) -> usize {
        let bucket = (hash.top() >> self.shift) as usize;
        let start = self.starts[bucket] as usize;
        // No point after the bucket is before the hash, so the window may reach beyond it. It is counted without an
        // early exit, because the branch would be mispredicted for every other key.
        if let Some(window) = self.points[start..].first_chunk::<WINDOW>() {
            let before = window.iter().map(|point| usize::from(is_before(point.value))).sum::<usize>();
            if before < WINDOW {
                return start + before;
            }
        }
        self.count_before_in(bucket, is_before)
    }

    /// Counts the points for a bucket with more points than a window, and at the end of the ring.
    #[cold]
    fn count_before_in(&self, bucket: usize, is_before: impl Fn(P) -> bool) -> usize {
        let (start, end) = (self.starts[bucket] as usize, self.starts[bucket + 1] as usize);
        // If all points of the bucket are before the hash, the count is the start of the next bucket.
        start + self.points[start..end].partition_point(|point| is_before(point.value))
    }
}

fn or_first(index: usize, len: usize) -> usize {
    if index == len { 0 } else { index }
}

fn starts_of_buckets<P: Position>(points: &[Point<P>], bits: u32, shift: u32) -> Box<[u32]> {
    let mut below = 0;
    let starts = (0..1_u64 << bits).map(|bucket| {
        let first = bucket << shift;
        below += points[below..].iter().take_while(|point| u64::from(point.value.top()) < first).count();
        below as u32
    });
    starts.chain([points.len() as u32]).collect()
}

/// Average points per bucket, at most twice this number: the index of 1,000 servers takes 256 KiB, and nine buckets in
/// ten have no more points than a window.
const POINTS_PER_BUCKET: usize = 2;
/// The number of points that are compared at once.
const WINDOW: usize = 4;

#[cfg(test)]
impl<P> Continuum<P> {
    pub(crate) fn points(&self) -> &[Point<P>] {
        &self.points
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOOKUPS: [Lookup; 4] = [Lookup::AtOrAfter, Lookup::After, Lookup::AtOrBefore, Lookup::AtOrAfterOrLast];

    /// Looks a hash up by a scan of all points.
    fn scanned<P: Position>(sorted: &[Point<P>], hash: P, lookup: Lookup) -> Option<Point<P>> {
        let (first, last) = (sorted.first().copied(), sorted.last().copied());
        let at_or_after = sorted.iter().find(|point| point.value >= hash).copied();
        match lookup {
            Lookup::AtOrAfter => at_or_after.or(first),
            Lookup::After => sorted.iter().find(|point| point.value > hash).copied().or(first),
            Lookup::AtOrBefore => sorted.iter().rfind(|point| point.value <= hash).copied().or(last),
            Lookup::AtOrAfterOrLast if first.is_some_and(|first| hash < first.value) => last,
            Lookup::AtOrAfterOrLast => at_or_after.or(first),
        }
    }

    fn check<P: Position + std::fmt::Debug>(points: &[Point<P>], hashes: impl IntoIterator<Item = P>) {
        let mut sorted = points.to_vec();
        sorted.sort();
        let hashes: Vec<P> = hashes.into_iter().collect();
        for lookup in LOOKUPS {
            let continuum = Continuum::new(sorted.clone(), lookup);
            for &hash in &hashes {
                let found = continuum.find(hash).copied();
                assert_eq!(found, scanned(&sorted, hash, lookup), "{lookup:?} of {hash:?}");
                assert_eq!(continuum.walk(hash).next(), found.map(|point| point.server as usize));
            }
        }
    }

    fn around(value: u32) -> [u32; 3] {
        [value.wrapping_sub(1), value, value.wrapping_add(1)]
    }

    #[test]
    fn lookups_agree_with_a_scan() {
        for count in [1, 2, 3, 15, 16, 17, 31, 32, 33, 1000] {
            let mut random = fastrand::Rng::with_seed(count);
            let points: Vec<Point> =
                (0..count).map(|server| Point { value: random.u32(..), server: server as u32 }).collect();
            check(&points, (0..1000).map(|_| random.u32(..)));
            check(&points, points.iter().flat_map(|point| around(point.value)));
            check(&points, [0, 1, u32::MAX - 1, u32::MAX]);
        }
    }

    #[test]
    fn lookups_of_128_bits_agree_with_a_scan() {
        let mut random = fastrand::Rng::with_seed(128);
        let points: Vec<Point<u128>> = (0..500).map(|server| Point { value: random.u128(..), server }).collect();
        check(&points, (0..1000).map(|_| random.u128(..)));
        check(&points, points.iter().flat_map(|point| [point.value - 1, point.value, point.value + 1]));
        // Values with the same top bits.
        let close: Vec<Point<u128>> = (0..100).map(|i| Point { value: u128::from(i) * 3, server: i }).collect();
        check(&close, (0..400).chain([u128::MAX]));
    }

    #[test]
    fn points_in_one_bucket_and_at_the_ends_are_found() {
        let crowded: Vec<Point> = (0..100).map(|i| Point { value: 7 * i, server: i }).collect();
        check(&crowded, (0..1000).chain([u32::MAX]));
        let ends = [Point { value: 0, server: 1 }, Point { value: u32::MAX, server: 0 }];
        check(&ends, [0, 1, 1 << 31, u32::MAX - 1, u32::MAX]);
    }

    #[test]
    fn a_walk_visits_every_point_once_in_the_direction_of_the_lookup() {
        let points: Vec<Point> = (0..5).map(|i| Point { value: 10 * i, server: i }).collect();
        let walk = |lookup| Continuum::new(points.clone(), lookup).walk(25).collect::<Vec<_>>();
        assert_eq!(walk(Lookup::AtOrAfter), [3, 4, 0, 1, 2]);
        assert_eq!(walk(Lookup::AtOrBefore), [2, 1, 0, 4, 3]);
    }

    #[test]
    fn a_ring_without_points_has_no_owner() {
        for lookup in LOOKUPS {
            let empty = Continuum::<u32>::new(Vec::new(), lookup);
            assert_eq!(empty.find(0), None);
            assert_eq!(empty.find(u32::MAX), None);
            assert_eq!(empty.walk(7).next(), None);
        }
    }
}
