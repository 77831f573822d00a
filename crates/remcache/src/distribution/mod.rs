//! Key placement: which server of a list holds a key.
//!
//! Everything here is a pure function of the configured list and the key: no I/O, no clock, no name resolution.
//! Two clients with the same list and the same [`Distribution`] therefore look for a key in the same place.
//!
//! ```
//! use remcache::distribution::{Distribution, Node};
//!
//! let nodes = [
//!     Node::tcp("cache1.example", 11211),
//!     Node::tcp("cache2.example", 11211),
//!     Node::unix("/run/memcached.sock").with_weight(2),
//! ];
//! let ring = Distribution::Ketama.ring(&nodes)?;
//! let server = ring.locate(b"user:42", |_| true).expect("the list is not empty");
//! println!("user:42 lives on {}", nodes[server].name);
//! # Ok::<(), remcache::distribution::RingError>(())
//! ```
//!
//! To add a distribution: one variant of [`Distribution`] with its entry in `ALL`, `name` and `needs_liveness`, one arm in
//! [`Distribution::ring`], and the file that computes it.
//! Rings of points share `Continuum`; what differs between them is how a server's points and a key are hashed.

mod continuum;
mod ketama;
mod md5;
mod name;
mod node;
mod remcached;
mod ring;

pub use name::UnknownDistribution;
pub use node::Node;
pub use ring::{Ring, RingError};

use ring::Placement;

/// A rule that places keys on servers.
///
/// It is chosen by name in configurations ([`FromStr`](std::str::FromStr)) and printed by the same name.
///
/// ```
/// use remcache::distribution::Distribution;
///
/// let chosen: Distribution = "remcached".parse()?;
/// assert_eq!(chosen, Distribution::Remcached);
/// assert_eq!(Distribution::default().to_string(), "ketama");
/// # Ok::<(), remcache::distribution::UnknownDistribution>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Distribution {
    /// libmemcached's weighted MD5 ring, the default: name `ketama`.
    ///
    /// It is what libmemcached does after `MEMCACHED_BEHAVIOR_KETAMA_WEIGHTED` (php-memcached's
    /// `OPT_LIBKETAMA_COMPATIBLE`, pylibmc's `ketama_weighted`), point for point; libmemcached 1.1.4 is the reference.
    /// Adding or removing one server of n moves about one key in n.
    /// The keys of a server that is away stay its own.
    ///
    /// A server is hashed by its configured name and port: `name` for port 11211, `name:port` for any other, `path:0` for
    /// a Unix socket.
    /// A server whose weight is below about 1/40 of the average gets no point and hence no key, as in libmemcached.
    ///
    /// ```
    /// use remcache::distribution::{Distribution, Node};
    ///
    /// let nodes = [Node::tcp("10.0.1.1", 11211), Node::tcp("10.0.1.2", 11211), Node::tcp("10.0.1.3", 11212)];
    /// let ring = Distribution::Ketama.ring(&nodes)?;
    /// let home = ring.locate(b"Hello", |_| true);
    /// assert_eq!(ring.locate(b"Hello", |_| false), home, "liveness moves no key");
    /// # Ok::<(), remcache::distribution::RingError>(())
    /// ```
    #[default]
    Ketama,
    /// The placement of the Ruby gem `remcached` 0.4.1: name `remcached`.
    ///
    /// The bytes of the key as one big-endian number, modulo the number of servers that are connected; the remainder
    /// counts through those servers in the order of the list.
    /// Every change of liveness moves most keys, and with 2, 4, 8, … servers only the last byte of a key matters: use it
    /// to share a cache with the gem.
    /// It has no notion of weight: all weights are treated alike.
    ///
    /// ```
    /// use remcache::distribution::{Distribution, Node};
    ///
    /// let nodes = [Node::tcp("a", 11211), Node::tcp("b", 11211), Node::tcp("c", 11211)];
    /// let ring = Distribution::Remcached.ring(&nodes)?;
    /// assert_eq!(ring.locate(b"a", |_| true), Some(97 % 3));
    /// // With the first server away, two are left: 97 % 2 = 1, the second of them.
    /// assert_eq!(ring.locate(b"a", |server| server != 0), Some(2));
    /// # Ok::<(), remcache::distribution::RingError>(())
    /// ```
    Remcached,
}

impl Distribution {
    /// Every distribution, in the order in which messages list them.
    ///
    /// ```
    /// use remcache::distribution::Distribution;
    ///
    /// assert!(Distribution::ALL.contains(&Distribution::Ketama));
    /// ```
    pub const ALL: &'static [Self] = &[Self::Ketama, Self::Remcached];

    /// The name in configurations and in the connection URL.
    ///
    /// ```
    /// use remcache::distribution::Distribution;
    ///
    /// assert_eq!(Distribution::Remcached.name(), "remcached");
    /// ```
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ketama => "ketama",
            Self::Remcached => "remcached",
        }
    }

    /// Whether a key's place depends on which servers are connected.
    ///
    /// If not, [`Ring::locate`] never calls `alive`, and the caller need not find out.
    ///
    /// ```
    /// use remcache::distribution::Distribution;
    ///
    /// assert!(!Distribution::Ketama.needs_liveness());
    /// assert!(Distribution::Remcached.needs_liveness());
    /// ```
    #[must_use]
    pub const fn needs_liveness(self) -> bool {
        match self {
            Self::Ketama => false,
            Self::Remcached => true,
        }
    }

    /// Prepares lookups for this list of servers; [`Ring::locate`] then answers with an index into it.
    ///
    /// A server that is listed twice is accepted: in a ketama ring the first of the two gets all their keys, with
    /// `remcached` each of them is a server.
    ///
    /// # Errors
    ///
    /// [`RingError::ZeroWeight`] if a server has the weight 0.
    ///
    /// ```
    /// use remcache::distribution::{Distribution, Node};
    ///
    /// let ring = Distribution::Ketama.ring(&[Node::tcp("localhost", 11211)])?;
    /// assert_eq!(ring.locate(b"Hello", |_| true), Some(0));
    ///
    /// let refused = Distribution::Ketama.ring(&[Node::tcp("localhost", 11211).with_weight(0)]);
    /// assert!(refused.is_err());
    /// # Ok::<(), remcache::distribution::RingError>(())
    /// ```
    pub fn ring(self, nodes: &[Node]) -> Result<Ring, RingError> {
        ring::refuse_zero_weight(nodes)?;
        let placement = match self {
            Self::Ketama => Placement::Md5Continuum(ketama::continuum(nodes)),
            Self::Remcached => Placement::BigEndianModulo,
        };
        Ok(Ring::new(self, nodes.len(), placement))
    }
}

/// The golden vectors: what the named implementations computed.
#[cfg(test)]
fn vectors() -> serde_json::Value {
    serde_json::from_str(include_str!("../../tests/vectors/placement.json")).expect("the vectors are JSON")
}
