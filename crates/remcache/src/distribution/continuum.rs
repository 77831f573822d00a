//! A ring of points: a circle of 2^32 positions on which each point belongs to a server.

/// A point of the circle. The order (value first, then server) is what decides between equal values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Point {
    pub(super) value: u32,
    pub(super) server: u32,
}

/// All points of a list of servers, ascending, with an index by the top bits of a value.
///
/// A binary search over the 156,000 points of 1,000 servers would miss the cache at most of its 18 steps.
/// Points are hashes, hence spread evenly: the top bits tell within some ten points where a value stands.
#[derive(Debug, Clone)]
pub(super) struct Continuum {
    points: Box<[Point]>,
    /// Invariant: `starts[b]` is the number of points whose value is below `b << shift`; one entry more than buckets.
    starts: Box<[u32]>,
    shift: u32,
}

impl Continuum {
    pub(super) fn new(mut points: Vec<Point>) -> Self {
        points.sort_unstable();
        let bits = (points.len() / POINTS_PER_BUCKET).max(2).ilog2();
        let shift = u32::BITS - bits;
        Self { starts: starts_of_buckets(&points, bits, shift), points: points.into_boxed_slice(), shift }
    }

    /// The server of the first point at or after `hash`, of the first point of all if there is none; `None` without points.
    pub(super) fn owner_of(&self, hash: u32) -> Option<usize> {
        let bucket = (hash >> self.shift) as usize;
        let (start, end) = (self.starts[bucket] as usize, self.starts[bucket + 1] as usize);
        // If the bucket has nothing at or after the hash, the search ends on the next bucket's first point.
        let at = start + self.points[start..end].partition_point(|point| point.value < hash);
        let point = self.points.get(at).or_else(|| self.points.first())?;
        Some(point.server as usize)
    }
}

fn starts_of_buckets(points: &[Point], bits: u32, shift: u32) -> Box<[u32]> {
    let mut below = 0;
    let starts = (0..1_u64 << bits).map(|bucket| {
        let first = bucket << shift;
        below += points[below..].iter().take_while(|point| u64::from(point.value) < first).count();
        below as u32
    });
    starts.chain([points.len() as u32]).collect()
}

/// At least so many on average: about a cache line of points to search, and an index small enough to stay cached.
const POINTS_PER_BUCKET: usize = 8;

#[cfg(test)]
impl Continuum {
    pub(super) fn points(&self) -> &[Point] {
        &self.points
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The definition: the first point at or after the hash, or else the first of all.
    fn scanned(sorted: &[Point], hash: u32) -> Option<usize> {
        let found = sorted.iter().find(|point| point.value >= hash);
        found.or_else(|| sorted.first()).map(|point| point.server as usize)
    }

    fn check(points: &[Point], hashes: impl IntoIterator<Item = u32>) {
        let continuum = Continuum::new(points.to_vec());
        let mut sorted = points.to_vec();
        sorted.sort();
        for hash in hashes {
            let owner = continuum.owner_of(hash);
            assert_eq!(owner, scanned(&sorted, hash), "hash {hash:#x}");
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
            let hashes: Vec<u32> = (0..1000).map(|_| random.u32(..)).collect();
            check(&points, hashes);
            check(&points, points.iter().flat_map(|point| around(point.value)));
            check(&points, [0, 1, u32::MAX - 1, u32::MAX]);
        }
    }

    #[test]
    fn points_in_one_bucket_and_at_the_ends_are_found() {
        let crowded: Vec<Point> = (0..100).map(|i| Point { value: 7 * i, server: i }).collect();
        check(&crowded, (0..1000).chain([u32::MAX]));
        let ends = [Point { value: 0, server: 1 }, Point { value: u32::MAX, server: 0 }];
        check(&ends, [0, 1, 1 << 31, u32::MAX - 1, u32::MAX]);
    }

    #[test]
    fn of_equal_values_the_lowest_server_wins() {
        let equal = [5, 3, 4].map(|server| Point { value: 1 << 20, server });
        assert_eq!(Continuum::new(equal.to_vec()).owner_of(9), Some(3));
    }

    #[test]
    fn without_points_nobody_owns_anything() {
        assert_eq!(Continuum::new(Vec::new()).owner_of(0), None);
        assert_eq!(Continuum::new(Vec::new()).owner_of(u32::MAX), None);
    }
}
