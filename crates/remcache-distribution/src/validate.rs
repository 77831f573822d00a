//! Validation of server lists.

use std::{collections::HashMap, fmt};

use crate::spec::{PointSpec, Rule};
use crate::{Distribution, Hash, Node};

/// Returns the text that a distribution hashes for each server; none if it does not hash servers.
pub(crate) fn texts(distribution: Distribution, nodes: &[Node]) -> Result<Vec<String>, RingError> {
    let format = match distribution.spec().rule {
        Rule::Circle(circle) => circle.format,
        Rule::Rendezvous(format, _) => format,
        Rule::Modulo | Rule::WeightedModulo(_) | Rule::Jump | Rule::Furc | Rule::LiveModulo => return Ok(Vec::new()),
    };
    let texts = nodes.iter().enumerate().map(|(index, node)| {
        format.write(node).ok_or_else(|| RingError::NoIp { index, name: node.name.clone(), distribution })
    });
    texts.collect()
}

/// Rejects lists on which a server could never hold a key.
pub(crate) fn list(distribution: Distribution, nodes: &[Node], texts: &[String]) -> Result<(), RingError> {
    hash(distribution)?;
    if let Some(index) = nodes.iter().position(|node| node.weight == 0) {
        return Err(RingError::ZeroWeight { index, name: nodes[index].name.clone() });
    }
    let mut known = HashMap::new();
    for (index, text) in texts.iter().enumerate() {
        if let Some(first) = known.insert(text, index) {
            return Err(RingError::Duplicate { first, index, text: text.clone() });
        }
    }
    let uneven = nodes.iter().position(|node| node.weight != nodes[0].weight);
    match (distribution.spec().rule, uneven) {
        (Rule::Jump, Some(index)) => Err(RingError::Weights { index, name: nodes[index].name.clone(), distribution }),
        (Rule::Circle(circle), _) => points(&[circle.equal, circle.weighted], nodes),
        _ => Ok(()),
    }
}

fn hash(distribution: Distribution) -> Result<(), RingError> {
    match distribution.chosen_hash() {
        Some(hash) if !distribution.hashes().contains(&hash) => Err(RingError::Hash { hash, distribution }),
        _ => Ok(()),
    }
}

fn points(specs: &[PointSpec], nodes: &[Node]) -> Result<(), RingError> {
    let total = nodes.iter().map(|node| u64::from(node.weight)).sum();
    let most = specs.iter().map(|points| {
        nodes.iter().map(|node| u64::from(points.count.of(node.weight, total, nodes.len()))).sum::<u64>()
    });
    match most.max() {
        Some(points) if points > MAX_POINTS => Err(RingError::TooManyPoints { points }),
        _ => Ok(()),
    }
}

/// 16 million points take 128 MiB; 1,000 servers have 160,000.
const MAX_POINTS: u64 = 1 << 24;

/// Why a list of servers is invalid.
///
/// ```
/// use remcache_distribution::{Distribution, Node};
///
/// let refused = Distribution::KETAMA.ring(&[Node::tcp("a", 11211).with_weight(0)]);
/// assert!(refused.unwrap_err().to_string().starts_with("server \"a\" has the weight 0"));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum RingError {
    /// A server has the weight 0: it could never hold a key.
    #[non_exhaustive]
    ZeroWeight {
        /// Its place in the list.
        index: usize,
        /// Its configured name.
        name: String,
    },
    /// Two servers would have the same points or scores: one of them could never hold a key.
    ///
    /// Rules that do not hash servers, such as a modulo, accept a server twice: it has twice as many keys.
    #[non_exhaustive]
    Duplicate {
        /// The index of the first.
        first: usize,
        /// The index of the second.
        index: usize,
        /// The hashed text of both.
        text: String,
    },
    /// A server's IP address is hashed in addition to its name, but was not configured.
    #[non_exhaustive]
    NoIp {
        /// Its place in the list.
        index: usize,
        /// Its configured name.
        name: String,
        /// The distribution that hashes addresses.
        distribution: Distribution,
    },
    /// The weights differ, but the distribution does not support weights.
    #[non_exhaustive]
    Weights {
        /// The index of the first server whose weight differs.
        index: usize,
        /// Its configured name.
        name: String,
        /// The distribution.
        distribution: Distribution,
    },
    /// The imitated client does not offer the chosen hash.
    #[non_exhaustive]
    Hash {
        /// The chosen hash.
        hash: Hash,
        /// The distribution.
        distribution: Distribution,
    },
    /// The weights are so large that the points would not fit into memory.
    #[non_exhaustive]
    TooManyPoints {
        /// The number of points.
        points: u64,
    },
}

impl fmt::Display for RingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ZeroWeight { name, .. } => write!(
                f,
                "server {name:?} has the weight 0: give it a weight of 1 or more, or leave it out of the list"
            ),
            Self::Duplicate { first, index, text } => write!(
                f,
                "servers {first} and {index} of the list (counted from 0) have the same text {text:?} in the ring, so one of them would \
                 hold no key: list it once, with a weight if it should hold more"
            ),
            Self::NoIp { name, distribution, .. } => write!(
                f,
                "the distribution {distribution} hashes the address of server {name:?} in addition to its name: configure the \
                 address, the one that the other clients resolve"
            ),
            Self::Weights { name, distribution, .. } => write!(
                f,
                "server {name:?} does not have the same weight as the first, but the distribution {distribution} does not support weights: \
                 make them equal, or use rendezvous"
            ),
            Self::Hash { hash, distribution } if distribution.hashes().is_empty() => {
                write!(f, "the distribution {distribution} has a hash of its own: leave out {hash}")
            }
            Self::Hash { hash, distribution } => {
                let offered: Vec<_> = distribution.hashes().iter().map(|hash| hash.name()).collect();
                write!(
                    f,
                    "the distribution {distribution} does not offer the hash {hash}; it has {}",
                    offered.join(", ")
                )
            }
            Self::TooManyPoints { points } => write!(
                f,
                "these weights make {points} points, more than {MAX_POINTS}: divide them all by the same number"
            ),
        }
    }
}

impl std::error::Error for RingError {}
