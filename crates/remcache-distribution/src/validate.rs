//! What a list of servers must be like, and what is said of one that is not.

use std::{collections::HashMap, fmt};

use crate::spec::{PointSpec, Rule};
use crate::{Distribution, Hash, Node};

/// What a distribution hashes of each server; nothing if it hashes none.
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

/// Refuses lists on which a server could never hold a key.
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
        Some(points) if points > MOST_POINTS => Err(RingError::TooManyPoints { points }),
        _ => Ok(()),
    }
}

/// 16 million points take 128 MiB; 1,000 servers have 160,000.
const MOST_POINTS: u64 = 1 << 24;

/// Why a list of servers makes no ring.
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
    /// A server with the weight 0: it could never hold a key.
    #[non_exhaustive]
    ZeroWeight {
        /// Its place in the list.
        index: usize,
        /// Its configured name.
        name: String,
    },
    /// Two servers that would have the same points or scores: one of them could never hold a key.
    ///
    /// Rules that hash no server, such as a modulo, accept a server twice: it has twice as many keys.
    #[non_exhaustive]
    Duplicate {
        /// The place of the first.
        first: usize,
        /// The place of the second.
        index: usize,
        /// What is hashed of both.
        text: String,
    },
    /// A server whose address is hashed in addition to its name and was not configured.
    #[non_exhaustive]
    NoIp {
        /// Its place in the list.
        index: usize,
        /// Its configured name.
        name: String,
        /// The distribution that hashes addresses.
        distribution: Distribution,
    },
    /// Weights that differ, for a distribution that has no weights.
    #[non_exhaustive]
    Weights {
        /// The place of the first server whose weight is not that of the first.
        index: usize,
        /// Its configured name.
        name: String,
        /// The distribution.
        distribution: Distribution,
    },
    /// A hash that the imitated client does not offer.
    #[non_exhaustive]
    Hash {
        /// The hash that was chosen.
        hash: Hash,
        /// The distribution.
        distribution: Distribution,
    },
    /// Weights so large that the points would not fit into memory.
    #[non_exhaustive]
    TooManyPoints {
        /// How many there would be.
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
                "servers {first} and {index} of the list (counted from 0) are both {text:?} to the ring, so one of them would \
                 hold no key: list it once, with a weight if it should hold more"
            ),
            Self::NoIp { name, distribution, .. } => write!(
                f,
                "the distribution {distribution} hashes the address of server {name:?} in addition to its name: configure the \
                 address, the one that the other clients resolve"
            ),
            Self::Weights { name, distribution, .. } => write!(
                f,
                "server {name:?} has another weight than the first, and the distribution {distribution} knows no weights: \
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
                "these weights make {points} points, more than {MOST_POINTS}: divide them all by the same number"
            ),
        }
    }
}

impl std::error::Error for RingError {}
