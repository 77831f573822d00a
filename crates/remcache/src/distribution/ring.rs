//! A prepared list of servers, and the lookup of a key in it.

use std::fmt;

use super::{Distribution, Node, continuum::Continuum, md5, remcached};

/// A list of servers prepared for lookups by [`Distribution::ring`].
///
/// ```
/// use remcache::distribution::{Distribution, Node};
///
/// let ring = Distribution::default().ring(&[Node::tcp("a", 11211), Node::tcp("b", 11211)])?;
/// assert!(ring.locate(b"Hello", |_| true).is_some());
/// assert_eq!(ring.servers(), 2);
/// # Ok::<(), remcache::distribution::RingError>(())
/// ```
#[derive(Clone)]
pub struct Ring {
    distribution: Distribution,
    servers: usize,
    placement: Placement,
}

/// What a lookup consults: one variant for each way of looking, not for each distribution.
#[derive(Clone)]
pub(super) enum Placement {
    /// The key's first MD5 word on a ring of points.
    Md5Continuum(Continuum),
    /// The key as a number, modulo the living servers.
    BigEndianModulo,
}

impl Ring {
    pub(super) fn new(distribution: Distribution, servers: usize, placement: Placement) -> Self {
        Self { distribution, servers, placement }
    }

    /// The index of the server that holds `key`; `None` if the list is empty, or if no server that counts is alive.
    ///
    /// `alive` is called for distributions that [need liveness](Self::needs_liveness), once for each server in order;
    /// the others never call it, so a dead server's keys stay its own.
    /// The key is hashed as given: whether a namespace is part of it is the caller's choice.
    ///
    /// ```
    /// use remcache::distribution::{Distribution, Node};
    ///
    /// let nodes = [Node::tcp("a", 11211), Node::tcp("b", 11211)];
    /// let connected = [true, false];
    /// let ring = Distribution::Remcached.ring(&nodes)?;
    /// assert_eq!(ring.locate(b"Hello", |server| connected[server]), Some(0));
    /// assert_eq!(ring.locate(b"Hello", |_| false), None);
    /// # Ok::<(), remcache::distribution::RingError>(())
    /// ```
    #[must_use]
    pub fn locate(&self, key: &[u8], alive: impl Fn(usize) -> bool) -> Option<usize> {
        match &self.placement {
            // One server holds everything: no hashing, as in libmemcached.
            Placement::Md5Continuum(_) if self.servers == 1 => Some(0),
            Placement::Md5Continuum(continuum) => continuum.owner_of(md5::first_word(key)),
            Placement::BigEndianModulo => remcached::locate(key, self.servers, alive),
        }
    }

    /// Whether [`locate`](Self::locate) asks which servers are alive.
    ///
    /// ```
    /// use remcache::distribution::{Distribution, Node};
    ///
    /// let ring = Distribution::Ketama.ring(&[Node::tcp("a", 11211)])?;
    /// assert!(!ring.needs_liveness());
    /// # Ok::<(), remcache::distribution::RingError>(())
    /// ```
    #[must_use]
    pub fn needs_liveness(&self) -> bool {
        self.distribution.needs_liveness()
    }

    /// The distribution that this ring follows.
    ///
    /// ```
    /// use remcache::distribution::Distribution;
    ///
    /// let ring = Distribution::Remcached.ring(&[])?;
    /// assert_eq!(ring.distribution(), Distribution::Remcached);
    /// # Ok::<(), remcache::distribution::RingError>(())
    /// ```
    #[must_use]
    pub fn distribution(&self) -> Distribution {
        self.distribution
    }

    /// How many servers the list has, dead ones included.
    ///
    /// ```
    /// use remcache::distribution::Distribution;
    ///
    /// assert_eq!(Distribution::Ketama.ring(&[])?.servers(), 0);
    /// # Ok::<(), remcache::distribution::RingError>(())
    /// ```
    #[must_use]
    pub fn servers(&self) -> usize {
        self.servers
    }
}

impl fmt::Debug for Ring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The points, 160 a server, would bury whatever a ring is printed in.
        f.debug_struct("Ring")
            .field("distribution", &self.distribution)
            .field("servers", &self.servers)
            .finish_non_exhaustive()
    }
}

/// Why a list of servers makes no ring.
///
/// ```
/// use remcache::distribution::{Distribution, Node};
///
/// let refused = Distribution::Ketama.ring(&[Node::tcp("a", 11211).with_weight(0)]);
/// assert!(refused.unwrap_err().to_string().starts_with("server \"a\" has the weight 0"));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum RingError {
    /// A server with the weight 0: it could never hold a key.
    #[non_exhaustive]
    ZeroWeight {
        /// Its place in the list.
        index: usize,
        /// Its configured name.
        name: String,
    },
}

impl fmt::Display for RingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ZeroWeight { name, .. } => write!(
                f,
                "server {name:?} has the weight 0: give it a weight of 1 or more, or leave it out of the list"
            ),
        }
    }
}

impl std::error::Error for RingError {}

pub(super) fn refuse_zero_weight(nodes: &[Node]) -> Result<(), RingError> {
    match nodes.iter().position(|node| node.weight == 0) {
        Some(index) => Err(RingError::ZeroWeight { index, name: nodes[index].name.clone() }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_output_stays_short() {
        let nodes: Vec<Node> = (0..100).map(|i| Node::tcp(format!("h{i}"), 1)).collect();
        let ring = Distribution::Ketama.ring(&nodes).unwrap();
        assert_eq!(format!("{ring:?}"), "Ring { distribution: Ketama, servers: 100, .. }");
    }
}
