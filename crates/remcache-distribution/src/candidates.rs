//! Candidates: the servers of a key in the order in which they take it over when others are down.

use crate::ring::Placement;
use crate::spec::{Order, Retry};
use crate::{Ring, live_modulo as remcached};

/// The servers of a key in the order in which they take it over: returned by [`Ring::candidates`].
#[derive(Debug)]
pub struct Candidates<'a> {
    ring: &'a Ring,
    /// The hashed part of the key.
    key: &'a [u8],
    /// Created when a second server is requested; the first one is found without it.
    rest: Option<Rest<'a>>,
    given: usize,
}

impl Ring {
    /// Returns every server once: the one that holds `key`, then those that take it over while servers are down, in
    /// order.
    ///
    /// The order is that of the imitated client if it has one, or else that of the ring: the next points, scores or
    /// buckets. The first step does not allocate.
    ///
    /// ```
    /// use remcache_distribution::{Distribution, Node};
    ///
    /// let nodes = ["a", "b", "c"].map(|name| Node::tcp(name, 11211));
    /// let ring = Distribution::KETAMA.ring(&nodes)?;
    /// let order: Vec<usize> = ring.candidates(b"Hello").collect();
    /// assert_eq!(order.first().copied(), ring.locate(b"Hello", |_| true));
    /// assert_eq!(order.len(), 3);
    /// # Ok::<(), remcache_distribution::RingError>(())
    /// ```
    #[must_use]
    pub fn candidates<'a>(&'a self, key: &'a [u8]) -> Candidates<'a> {
        Candidates::new(self, key)
    }
}

impl<'a> Candidates<'a> {
    pub(crate) fn new(ring: &'a Ring, key: &'a [u8]) -> Self {
        Self { ring, key: ring.part.of(key), rest: None, given: 0 }
    }

    fn owner(&self) -> Option<usize> {
        if self.ring.servers() == 1 { Some(0) } else { self.ring.owner(self.key) }
    }
}

impl Iterator for Candidates<'_> {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        if self.given == self.ring.servers() {
            return None;
        }
        let server = match (&mut self.rest, self.given) {
            // Without points no server owns a key, and any order is as good as that of the list.
            (None, 0) => self.owner().unwrap_or(0),
            (rest, _) => rest.get_or_insert_with(|| Rest::new(self.ring, self.key)).next()?,
        };
        self.given += 1;
        Some(server)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let remaining = self.ring.servers() - self.given;
        (remaining, Some(remaining))
    }
}

impl ExactSizeIterator for Candidates<'_> {}

/// The servers after the first.
struct Rest<'a> {
    is_given: Box<[bool]>,
    /// The servers with repetitions, until every server has occurred.
    order: Box<dyn Iterator<Item = usize> + Send + Sync + 'a>,
}

impl<'a> Rest<'a> {
    fn new(ring: &'a Ring, key: &'a [u8]) -> Self {
        let servers = ring.servers();
        let owner = ring.owner(key).unwrap_or(0);
        let mut is_given = vec![false; servers].into_boxed_slice();
        is_given[owner] = true;
        let tries = tries(ring, key).filter_map(move |hash| ring.server_of_hash(hash));
        // Servers without points do not occur on the circle.
        let order = tries.chain(own_order(ring, key, owner)).chain(0..servers);
        Self { is_given, order: Box::new(order) }
    }

    fn next(&mut self) -> Option<usize> {
        let server = self.order.find(|&server| !self.is_given[server])?;
        self.is_given[server] = true;
        Some(server)
    }
}

impl std::fmt::Debug for Rest<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rest").finish_non_exhaustive()
    }
}

/// Returns the rule's own order: the next points, scores or buckets.
fn own_order<'a>(ring: &'a Ring, key: &'a [u8], owner: usize) -> Box<dyn Iterator<Item = usize> + Send + Sync + 'a> {
    let servers = ring.servers();
    match &ring.placement {
        Placement::Circle(order, circle) => Box::new(circle.walk(circle_position(*order, ring.keys.digest(key)))),
        Placement::WideCircle(circle) => Box::new(circle.walk(ring.keys.digest(key))),
        Placement::Rendezvous(scores) => Box::new(scores.order(key).into_iter()),
        Placement::LiveModulo => Box::new(remcached::order(key, servers).into_iter()),
        Placement::WeightedModulo(_) | Placement::Modulo | Placement::Jump | Placement::Furc => {
            Box::new((1..servers).map(move |step| (owner + step) % servers))
        }
    }
}

fn circle_position(order: Order, hash: u128) -> u32 {
    order.position(hash) as u32
}

/// Returns the hashes that a client tries after the key's own.
fn tries<'a>(ring: &'a Ring, key: &'a [u8]) -> Box<dyn Iterator<Item = u128> + Send + Sync + 'a> {
    let hash = move |text: &[u8]| ring.keys.digest(text);
    let numbered = move |number: usize| hash(&[number.to_string().as_bytes(), key].concat());
    let first = hash(key);
    match ring.distribution.spec().retry {
        Retry::Never => Box::new(std::iter::empty()),
        Retry::Spymemcached => Box::new(sums(first, (0..6).map(numbered))),
        Retry::Xmemcached => Box::new(sums(first, (1..=ring.servers()).map(numbered))),
        Retry::Dalli => Box::new((0..19).map(numbered)),
        Retry::Python => Box::new((0..9_u32).scan(first, move |last, number| {
            *last = hash(format!("{last}{number}").as_bytes());
            Some(*last)
        })),
        Retry::Mixed => Box::new((1..=8_u64).map(move |number| mixed(first as u64, number).into())),
    }
}

/// Returns the partial sums, in 32 bits.
fn sums(first: u128, more: impl Iterator<Item = u128>) -> impl Iterator<Item = u128> {
    more.scan(first as u32, |sum, hash| {
        *sum = sum.wrapping_add(hash as u32);
        Some((*sum).into())
    })
}

/// Derives a hash for each number.
fn mixed(hash: u64, number: u64) -> u64 {
    xxhash_rust::xxh3::xxh3_64(&(hash ^ number.rotate_right(8)).to_le_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Distribution, Hash, Node};

    fn ring(name: &str, servers: usize) -> Ring {
        let nodes: Vec<Node> = (0..servers).map(|number| Node::tcp(format!("10.0.0.{number}"), 11211)).collect();
        name.parse::<Distribution>().unwrap().ring(&nodes).unwrap()
    }

    #[test]
    fn spymemcached_retries_sums_of_hashes() {
        let ring = ring("spymemcached-ketama", 20);
        let mut sum = Hash::Md5.digest(b"key", ring.keys.chars) as u32;
        let expected = (0..6).map(|number| {
            sum = sum.wrapping_add(Hash::Md5.digest(format!("{number}key").as_bytes(), ring.keys.chars) as u32);
            u128::from(sum)
        });
        assert_eq!(tries(&ring, b"key").collect::<Vec<_>>(), expected.collect::<Vec<_>>());
    }

    #[test]
    fn python_memcached_hashes_the_digits_of_its_hash() {
        let ring = ring("python-memcached", 3);
        let crc = |text: &str| u128::from(crc32fast::hash(text.as_bytes()) >> 16 & 0x7fff);
        let second = crc(&format!("{}0", crc("key")));
        let third = crc(&format!("{second}1"));
        assert_eq!(tries(&ring, b"key").take(2).collect::<Vec<_>>(), [second, third]);
    }

    #[test]
    fn dalli_puts_the_number_before_the_key() {
        let ring = ring("dalli", 3);
        let crc = |text: &str| u128::from(crc32fast::hash(text.as_bytes()));
        assert_eq!(tries(&ring, b"key").take(2).collect::<Vec<_>>(), [crc("0key"), crc("1key")]);
        assert_eq!(tries(&ring, b"key").count(), 19);
    }
}
