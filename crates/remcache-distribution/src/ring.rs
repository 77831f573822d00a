//! Rings: lists of servers prepared for lookups.

use std::fmt;

use crate::hash::KeyHash;
use crate::hashed_part::HashedPart;
use crate::ketama::continuum::Continuum;
use crate::rendezvous::Rendezvous;
use crate::spec::{Order, Rule};
use crate::weighted_modulo::WeightedModulo;
use crate::{Distribution, Node, RingError, furc, jump, live_modulo as remcached, validate as check};

/// A list of servers prepared for lookups by [`Distribution::ring`].
///
/// ```
/// use remcache_distribution::{Distribution, Node};
///
/// let ring = Distribution::default().ring(&[Node::tcp("a", 11211), Node::tcp("b", 11211)])?;
/// assert!(ring.locate(b"Hello", |_| true).is_some());
/// assert_eq!(ring.servers(), 2);
/// # Ok::<(), remcache_distribution::RingError>(())
/// ```
#[derive(Clone)]
pub struct Ring {
    pub(crate) distribution: Distribution,
    pub(crate) keys: KeyHash,
    pub(crate) part: HashedPart,
    pub(crate) placement: Placement,
    pub(crate) nodes: Box<[Node]>,
    /// The hashed texts of the servers; empty for rules that do not hash servers.
    pub(crate) texts: Box<[String]>,
}

/// The data for lookups: one variant for each algorithm, not for each client.
#[derive(Clone)]
pub(crate) enum Placement {
    /// Points of 32 bits.
    Circle(Order, Continuum),
    /// Points of 128 bits.
    WideCircle(Continuum<u128>),
    /// The hash modulo the total weight.
    WeightedModulo(WeightedModulo),
    /// The hash modulo the number of servers.
    Modulo,
    Rendezvous(Rendezvous),
    Jump,
    Furc,
    /// The key as a number, modulo the live servers.
    LiveModulo,
}

impl Ring {
    pub(crate) fn new(distribution: Distribution, nodes: &[Node]) -> Result<Self, RingError> {
        let texts = check::texts(distribution, nodes)?;
        check::list(distribution, nodes, &texts)?;
        let keys = distribution.keys();
        let placement = match distribution.spec().rule {
            Rule::Circle(circle) if circle.order == Order::Wide => {
                Placement::WideCircle(circle.continuum(nodes, &texts, keys))
            }
            Rule::Circle(circle) => Placement::Circle(circle.order, circle.continuum(nodes, &texts, keys)),
            Rule::Rendezvous(_, score) => Placement::Rendezvous(Rendezvous::new(score, nodes, &texts)),
            Rule::WeightedModulo(order) => Placement::WeightedModulo(WeightedModulo::new(order, nodes)),
            Rule::Modulo => Placement::Modulo,
            Rule::Jump => Placement::Jump,
            Rule::Furc => Placement::Furc,
            Rule::LiveModulo => Placement::LiveModulo,
        };
        Ok(Self { distribution, keys, part: distribution.part(), placement, nodes: nodes.into(), texts: texts.into() })
    }

    /// Returns the index of the server that holds `key`; `None` if the list is empty, or if no relevant server is
    /// usable.
    ///
    /// `is_usable` is called for distributions that [need liveness](Self::needs_liveness), once for each server in
    /// order; others never call it, so a server that is down keeps its keys: for fallbacks see
    /// [`candidates`](Self::candidates). The key is hashed as given; [`Distribution::hashes_namespace`] returns whether
    /// the imitated client includes the namespace.
    ///
    /// ```
    /// use remcache_distribution::{Distribution, Node};
    ///
    /// let nodes = [Node::tcp("a", 11211), Node::tcp("b", 11211)];
    /// let connected = [true, false];
    /// let ring = Distribution::REMCACHED.ring(&nodes)?;
    /// assert_eq!(ring.locate(b"Hello", |server| connected[server]), Some(0));
    /// assert_eq!(ring.locate(b"Hello", |_| false), None);
    /// # Ok::<(), remcache_distribution::RingError>(())
    /// ```
    #[must_use]
    pub fn locate(&self, key: &[u8], is_usable: impl Fn(usize) -> bool) -> Option<usize> {
        let servers = self.servers();
        match self.placement {
            Placement::LiveModulo => remcached::locate(self.part.of(key), servers, is_usable),
            // A single server holds everything without hashing, as in libmemcached.
            _ if servers <= 1 => (servers == 1).then_some(0),
            _ => self.owner(self.part.of(key)),
        }
    }

    /// Returns the server of the hashed part of a key while all servers are alive.
    #[inline]
    pub(crate) fn owner(&self, key: &[u8]) -> Option<usize> {
        match &self.placement {
            Placement::Rendezvous(scores) => scores.winner(key),
            Placement::Furc => Some(furc::bucket(key, self.servers())),
            Placement::LiveModulo => remcached::locate(key, self.servers(), |_| true),
            _ => self.server_of_hash(self.keys.digest(key)),
        }
    }

    /// Returns the server of a hash, for rules that depend only on the key's hash.
    #[inline]
    pub(crate) fn server_of_hash(&self, hash: u128) -> Option<usize> {
        match &self.placement {
            Placement::Circle(order, circle) => {
                circle.find(order.position(hash) as u32).map(|point| point.server as usize)
            }
            Placement::WideCircle(circle) => circle.find(hash).map(|point| point.server as usize),
            Placement::WeightedModulo(shares) => shares.server(hash as u64),
            Placement::Modulo => Some((hash as u64 % self.servers() as u64) as usize),
            Placement::Jump => Some(jump::bucket(hash as u64, self.servers())),
            Placement::Rendezvous(_) | Placement::Furc | Placement::LiveModulo => None,
        }
    }

    /// Returns whether [`locate`](Self::locate) depends on which servers are usable.
    ///
    /// ```
    /// use remcache_distribution::{Distribution, Node};
    ///
    /// let ring = Distribution::KETAMA.ring(&[Node::tcp("a", 11211)])?;
    /// assert!(!ring.needs_liveness());
    /// # Ok::<(), remcache_distribution::RingError>(())
    /// ```
    #[must_use]
    pub fn needs_liveness(&self) -> bool {
        self.distribution.needs_liveness()
    }

    /// Returns the distribution.
    ///
    /// ```
    /// use remcache_distribution::Distribution;
    ///
    /// let ring = Distribution::REMCACHED.ring(&[])?;
    /// assert_eq!(ring.distribution(), Distribution::REMCACHED);
    /// # Ok::<(), remcache_distribution::RingError>(())
    /// ```
    #[must_use]
    pub fn distribution(&self) -> Distribution {
        self.distribution
    }

    /// Returns the number of servers in the list, including those that are down.
    ///
    /// ```
    /// use remcache_distribution::Distribution;
    ///
    /// assert_eq!(Distribution::KETAMA.ring(&[])?.servers(), 0);
    /// # Ok::<(), remcache_distribution::RingError>(())
    /// ```
    #[must_use]
    pub fn servers(&self) -> usize {
        self.nodes.len()
    }
}

impl fmt::Debug for Ring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The points, 160 per server, would be too long.
        f.debug_struct("Ring")
            .field("distribution", &self.distribution)
            .field("servers", &self.servers())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_output_stays_short() {
        let nodes: Vec<Node> = (0..100).map(|i| Node::tcp(format!("h{i}"), 1)).collect();
        let ring = Distribution::KETAMA.ring(&nodes).unwrap();
        assert_eq!(format!("{ring:?}"), "Ring { distribution: ketama, servers: 100, .. }");
    }
}
