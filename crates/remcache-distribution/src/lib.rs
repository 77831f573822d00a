//! Key placement: which server of a list holds a key.
//!
//! Everything here is a pure function of the configured list and the key: no I/O, no clock, no name resolution.
//! Two clients with the same list and the same [`Distribution`] therefore use the same server for a key.
//! One of them may be another client: there is a distribution, by its name, for each that is in wide use.
//!
//! ```
//! use remcache_distribution::{Distribution, Node};
//!
//! let nodes = [
//!     Node::tcp("cache1.example", 11211),
//!     Node::tcp("cache2.example", 11211),
//!     Node::unix("/run/memcached.sock").with_weight(2),
//! ];
//! let ring = Distribution::KETAMA.ring(&nodes)?;
//! let server = ring.locate(b"user:42", |_| true).expect("the list is not empty");
//! println!("user:42 lives on {}", nodes[server].name);
//!
//! // The same servers as a Ruby application with Dalli sees them.
//! let dalli = "dalli".parse::<Distribution>().expect("it is in the table").ring(&nodes)?;
//! println!("Dalli has it on {}", nodes[dalli.locate(b"user:42", |_| true).unwrap()].name);
//! # Ok::<(), remcache_distribution::RingError>(())
//! ```
//!
//! [Which client is which distribution, and what a new fleet should take](https://github.com/remcache/remcache/blob/main/docs/placement.md).
//!
//! To add a client: one row in `spec_table.rs`.
//! A row defines the text of servers, their number of points, the hashes of points and keys, and which point a key
//! belongs to; new code is needed only for algorithms that no other client uses.
// Marks items of features in the documentation of docs.rs, which is built by a nightly toolchain.
#![cfg_attr(docsrs, feature(doc_cfg))]
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

pub(crate) mod hashed_part;
pub(crate) mod ketama;
pub(crate) mod live_modulo;
pub(crate) mod names;
pub(crate) mod node_key;
pub(crate) mod rendezvous;
pub(crate) mod spec;
pub(crate) mod spec_table;
pub(crate) mod validate;
pub(crate) mod weighted_modulo;

mod candidates;
mod explain;
mod furc;
#[cfg(test)]
mod golden_vectors;
mod hash;
mod jump;
mod node;
mod ring;

use std::fmt;

pub use crate::names::UnknownDistribution;
pub use crate::validate::RingError;
pub use candidates::Candidates;
pub use explain::{Explanation, ServerPoint};
pub use hash::{Hash, UnknownHash};
pub use node::Node;
pub use ring::Ring;

use crate::hashed_part::HashedPart;
use crate::spec::{PlacementSpec, Rule};
use crate::spec_table::SPECS;
use hash::{Chars, KeyHash};

/// A rule that places keys on servers: that of a client, with the options that the client offers.
///
/// It is chosen by name in configurations ([`FromStr`](std::str::FromStr)) and printed by the same name.
/// Some clients have options for the hash, or for placing keys by a part of them; these are methods here.
///
/// ```
/// use remcache_distribution::{Distribution, Hash};
///
/// let chosen: Distribution = "twemproxy".parse()?;
/// let like_our_proxy = chosen.hash(Hash::Murmur).hash_tag(*b"{}");
/// assert_eq!(like_our_proxy.to_string(), "twemproxy");
/// assert_eq!("pylibmc".parse(), Ok(Distribution::LIBMEMCACHED));
/// assert_eq!(Distribution::default(), Distribution::KETAMA);
/// # Ok::<(), remcache_distribution::UnknownDistribution>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Distribution {
    /// The index in the table.
    row: u8,
    hash: Option<Hash>,
    has_unsigned_chars: bool,
    hash_tag: Option<[u8; 2]>,
    hashes_namespace: Option<bool>,
}

impl Distribution {
    /// libmemcached's weighted MD5 ring with the namespace hashed as part of the key: the default, `ketama`.
    ///
    /// It is what libmemcached does with `MEMCACHED_BEHAVIOR_KETAMA_WEIGHTED` (php-memcached's
    /// `OPT_LIBKETAMA_COMPATIBLE`, pylibmc's `ketama_weighted`), point for point; libmemcached 1.1.4 is the reference.
    /// Adding or removing one server of n moves about one key in n.
    ///
    /// A server is hashed by its configured name and port: `name` for port 11211, `name:port` for any other, `path:0`
    /// for a Unix socket.
    /// A server whose weight is below about 1/40 of the average gets no points and hence no keys, as in libmemcached.
    ///
    /// ```
    /// use remcache_distribution::{Distribution, Node};
    ///
    /// let nodes = [Node::tcp("10.0.1.1", 11211), Node::tcp("10.0.1.2", 11211), Node::tcp("10.0.1.3", 11212)];
    /// let ring = Distribution::KETAMA.ring(&nodes)?;
    /// let owner = ring.locate(b"Hello", |_| true);
    /// assert_eq!(ring.locate(b"Hello", |_| false), owner, "liveness moves no key");
    /// # Ok::<(), remcache_distribution::RingError>(())
    /// ```
    pub const KETAMA: Self = Self::named("ketama");

    /// Weighted rendezvous hashing over XXH3, `rendezvous`: recommended for new fleets.
    ///
    /// Shares follow the weights exactly, a change moves as few keys as possible, and the keys of a server that is down
    /// spread over all others.
    /// A lookup computes a score for each server: some 2 ns each, ten times that with weights.
    pub const RENDEZVOUS: Self = Self::named("rendezvous");

    /// Jump hash over XXH3, `jump`: for hundreds of equal servers that are added and removed at the end of the list.
    pub const JUMP: Self = Self::named("jump");

    /// The hash modulo the number of servers, the default of libmemcached, pylibmc and php-memcached: `libmemcached`.
    pub const LIBMEMCACHED: Self = Self::named("libmemcached");

    /// libmemcached's weighted MD5 ring, without the namespace in the hash: `libmemcached-ketama-weighted`.
    pub const LIBMEMCACHED_KETAMA_WEIGHTED: Self = Self::named("libmemcached-ketama-weighted");

    /// spymemcached's ketama: `spymemcached-ketama`.
    pub const SPYMEMCACHED_KETAMA: Self = Self::named("spymemcached-ketama");

    /// twemproxy's ketama: `twemproxy`.
    pub const TWEMPROXY: Self = Self::named("twemproxy");

    /// The placement of the Ruby gem `remcached` 0.4.1: `remcached`.
    ///
    /// The bytes of the key as one big-endian number, modulo the number of connected servers; the remainder is the
    /// index among those servers, in the order of the list.
    /// Every change of liveness moves most keys, and with 2, 4, 8, … servers only the last byte of a key matters: use
    /// it to share a cache with the gem.
    /// It ignores weights.
    ///
    /// ```
    /// use remcache_distribution::{Distribution, Node};
    ///
    /// let nodes = [Node::tcp("a", 11211), Node::tcp("b", 11211), Node::tcp("c", 11211)];
    /// let ring = Distribution::REMCACHED.ring(&nodes)?;
    /// assert_eq!(ring.locate(b"a", |_| true), Some(97 % 3));
    /// // With the first server away, two are left: 97 % 2 = 1, the second of them.
    /// assert_eq!(ring.locate(b"a", |server| server != 0), Some(2));
    /// # Ok::<(), remcache_distribution::RingError>(())
    /// ```
    pub const REMCACHED: Self = Self::named("remcached");

    /// Returns every distribution with default options, in the order used in documents.
    ///
    /// ```
    /// use remcache_distribution::Distribution;
    ///
    /// for distribution in Distribution::all() {
    ///     println!("{distribution:32} {}", distribution.description());
    /// }
    /// ```
    pub fn all() -> impl ExactSizeIterator<Item = Self> + Clone {
        (0..SPECS.len()).map(|row| Self::in_row(row as u8))
    }

    /// Returns the name used in configurations and URLs.
    ///
    /// ```
    /// use remcache_distribution::Distribution;
    ///
    /// assert_eq!(Distribution::REMCACHED.name(), "remcached");
    /// ```
    #[must_use]
    pub fn name(self) -> &'static str {
        self.spec().name
    }

    /// Returns other names: of clients that place keys in the same way.
    ///
    /// ```
    /// use remcache_distribution::Distribution;
    ///
    /// assert!(Distribution::LIBMEMCACHED.aliases().contains(&"php-memcached"));
    /// ```
    #[must_use]
    pub fn aliases(self) -> &'static [&'static str] {
        self.spec().aliases
    }

    /// Returns a description in one line.
    #[must_use]
    pub fn description(self) -> &'static str {
        self.spec().description
    }

    /// Sets the hash function of keys.
    ///
    /// [`ring`](Self::ring) refuses a hash that the client does not offer; [`hashes`](Self::hashes) lists those that it
    /// does.
    ///
    /// ```
    /// use remcache_distribution::{Distribution, Hash, Node};
    ///
    /// let nodes = [Node::tcp("a", 11211), Node::tcp("b", 11211)];
    /// assert!(Distribution::LIBMEMCACHED.hash(Hash::Murmur).ring(&nodes).is_ok());
    /// assert!(Distribution::LIBMEMCACHED.hash(Hash::Xxh3).ring(&nodes).is_err());
    /// ```
    #[must_use]
    pub const fn hash(mut self, hash: Hash) -> Self {
        self.hash = Some(hash);
        self
    }

    /// Sets whether bytes from 0x80 are negative in hashes that process single characters (default: `true`).
    ///
    /// They are where C's `char` is signed, as on x86, but not on ARM: libmemcached places such keys differently there.
    /// It has no effect on the distributions of clients that are not written in C.
    #[must_use]
    pub const fn signed_chars(mut self, are_signed: bool) -> Self {
        self.has_unsigned_chars = !are_signed;
        self
    }

    /// Places keys by their part between these two bytes, if it is not empty: twemproxy's `hash_tag`.
    ///
    /// ```
    /// use remcache_distribution::{Distribution, Node};
    ///
    /// let nodes: Vec<_> = (0..100).map(|number| Node::tcp(format!("cache{number}"), 11211)).collect();
    /// let ring = Distribution::TWEMPROXY.hash_tag(*b"{}").ring(&nodes)?;
    /// assert_eq!(ring.locate(b"user:{42}:name", |_| true), ring.locate(b"user:{42}:mail", |_| true));
    /// # Ok::<(), remcache_distribution::RingError>(())
    /// ```
    #[must_use]
    pub const fn hash_tag(mut self, tag: [u8; 2]) -> Self {
        self.hash_tag = Some(tag);
        self
    }

    /// Sets whether the namespace is hashed with the key (default: as in the imitated client).
    #[must_use]
    pub const fn hash_namespace(mut self, is_hashed: bool) -> Self {
        self.hashes_namespace = Some(is_hashed);
        self
    }

    /// Returns the hash function of keys.
    ///
    /// ```
    /// use remcache_distribution::{Distribution, Hash};
    ///
    /// assert_eq!(Distribution::TWEMPROXY.key_hash(), Hash::Fnv1a64);
    /// assert_eq!(Distribution::TWEMPROXY.hash(Hash::Md5).key_hash(), Hash::Md5);
    /// ```
    #[must_use]
    pub fn key_hash(self) -> Hash {
        self.hash.unwrap_or_else(|| self.spec().hash)
    }

    /// Returns the hashes that can be chosen; none if the client has only one.
    ///
    /// ```
    /// use remcache_distribution::{Distribution, Hash};
    ///
    /// assert!(Distribution::TWEMPROXY.hashes().contains(&Hash::Crc16));
    /// assert!(Distribution::KETAMA.hashes().is_empty());
    /// ```
    #[must_use]
    pub fn hashes(self) -> &'static [Hash] {
        self.spec().hashes
    }

    /// Returns whether the caller of [`Ring::locate`] should pass the key with its namespace.
    ///
    /// libmemcached, clients based on it, and pymemcache place keys without their prefix.
    ///
    /// ```
    /// use remcache_distribution::Distribution;
    ///
    /// assert!(Distribution::KETAMA.hashes_namespace());
    /// assert!(!Distribution::LIBMEMCACHED.hashes_namespace());
    /// ```
    #[must_use]
    pub fn hashes_namespace(self) -> bool {
        self.hashes_namespace.unwrap_or_else(|| self.spec().hashes_namespace)
    }

    /// Returns whether the IP address of a server is hashed in addition to its name, and so must be
    /// [configured](Node::with_ip) unless the name is an address.
    ///
    /// ```
    /// use remcache_distribution::Distribution;
    ///
    /// assert!(Distribution::SPYMEMCACHED_KETAMA.needs_ip());
    /// assert!(!Distribution::KETAMA.needs_ip());
    /// ```
    #[must_use]
    pub fn needs_ip(self) -> bool {
        matches!(self.spec().rule, Rule::Circle(circle) if circle.format.needs_ip())
    }

    /// Returns whether a key's server depends on which servers are connected.
    ///
    /// If not, [`Ring::locate`] never calls `is_usable`.
    ///
    /// ```
    /// use remcache_distribution::Distribution;
    ///
    /// assert!(!Distribution::KETAMA.needs_liveness());
    /// assert!(Distribution::REMCACHED.needs_liveness());
    /// ```
    #[must_use]
    pub fn needs_liveness(self) -> bool {
        matches!(self.spec().rule, Rule::LiveModulo)
    }

    /// Prepares lookups for this list of servers; [`Ring::locate`] returns indices into it.
    ///
    /// Weights have the same effect as in the imitated client, and none if it has no weights.
    /// A server that is listed twice is refused if servers are hashed, because one of the two would hold nothing; it
    /// counts as two servers if only indices matter, such as with `libmemcached` and `remcached`.
    ///
    /// # Errors
    ///
    /// [`RingError`] if the list is invalid: a weight of 0, a duplicate, a missing address, weights for `jump`, weights
    /// that are too large; or the distribution: a hash that the client does not offer.
    ///
    /// ```
    /// use remcache_distribution::{Distribution, Node};
    ///
    /// let ring = Distribution::KETAMA.ring(&[Node::tcp("localhost", 11211)])?;
    /// assert_eq!(ring.locate(b"Hello", |_| true), Some(0));
    ///
    /// let refused = Distribution::KETAMA.ring(&[Node::tcp("localhost", 11211).with_weight(0)]);
    /// assert!(refused.is_err());
    /// # Ok::<(), remcache_distribution::RingError>(())
    /// ```
    pub fn ring(self, nodes: &[Node]) -> Result<Ring, RingError> {
        Ring::new(self, nodes)
    }

    /// Finds the row of a name, at compile time.
    const fn named(name: &str) -> Self {
        let mut row = 0;
        while !is_same(SPECS[row].name, name) {
            row += 1;
        }
        Self::in_row(row as u8)
    }

    const fn in_row(row: u8) -> Self {
        Self { row, hash: None, has_unsigned_chars: false, hash_tag: None, hashes_namespace: None }
    }

    fn spec(self) -> &'static PlacementSpec {
        &SPECS[usize::from(self.row)]
    }

    fn chosen_hash(self) -> Option<Hash> {
        self.hash
    }

    fn keys(self) -> KeyHash {
        let chars = match self.spec().chars {
            Chars::Signed if self.has_unsigned_chars => Chars::Unsigned,
            chars => chars,
        };
        KeyHash { hash: self.key_hash(), chars }
    }

    fn part(self) -> HashedPart {
        HashedPart { part: self.spec().part, tag: self.hash_tag }
    }

    /// Copies the options of another distribution.
    pub fn with_options_of(self, other: Self) -> Self {
        Self { row: self.row, ..other }
    }
}

impl Default for Distribution {
    fn default() -> Self {
        Self::KETAMA
    }
}

impl fmt::Debug for Distribution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())?;
        if let Some(hash) = self.hash {
            write!(f, " hash={hash}")?;
        }
        if self.has_unsigned_chars {
            f.write_str(" signed_chars=false")?;
        }
        if let Some(tag) = self.hash_tag {
            write!(f, " hash_tag={:?}", tag.map(char::from))?;
        }
        match self.hashes_namespace {
            Some(is_hashed) => write!(f, " hash_namespace={is_hashed}"),
            None => Ok(()),
        }
    }
}

const fn is_same(one: &str, other: &str) -> bool {
    let (one, other) = (one.as_bytes(), other.as_bytes());
    if one.len() != other.len() {
        return false;
    }
    let mut at = 0;
    while at < one.len() {
        if one[at] != other[at] {
            return false;
        }
        at += 1;
    }
    true
}

/// Returns the golden vectors, which the named implementations computed.
#[cfg(test)]
fn vectors() -> serde_json::Value {
    serde_json::from_str(include_str!("../tests/vectors/placement.json")).expect("the vectors are JSON")
}

/// Returns the points of a ring as the vectors list them: the position as the client prints it, and the server.
#[cfg(test)]
fn circle_points(ring: &Ring) -> Vec<(i64, u32)> {
    let ring::Placement::Circle(order, circle) = &ring.placement else { panic!("{ring:?} is no circle of 32 bits") };
    let position = |value: u32| order.print(value.into()).parse().unwrap();
    circle.points().iter().map(|point| (position(point.value), point.server)).collect()
}
