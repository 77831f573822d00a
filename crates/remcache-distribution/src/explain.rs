//! Explains the placement of a key, step by step.

use std::fmt;

use crate::ring::Placement;
use crate::spec::{Circle, Order, Rule};
use crate::{Hash, Ring};

/// The steps by which a key's server is found: returned by [`Ring::explain`].
///
/// ```
/// use remcache_distribution::{Distribution, Node};
///
/// let nodes = ["cache1", "cache2", "cache3"].map(|name| Node::tcp(name, 11211));
/// let why = Distribution::KETAMA.ring(&nodes)?.explain(b"user:42").expect("the list is not empty");
/// let point = why.point.expect("a ring has points");
/// println!("{} of the key is {}", why.hash, why.value);
/// println!("the next point, {}, is {}#{}", point.position, nodes[why.server].name, point.number);
/// println!("without that server: {}", nodes[why.next[0]].name);
/// # Ok::<(), remcache_distribution::RingError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Explanation {
    /// The hashed part of the key: all of it, except for hash tags, hash stops and the like.
    pub hashed: Vec<u8>,
    /// The hash function.
    pub hash: Hash,
    /// The hash as the imitated client would print it: an integer, which may be negative with folsom; with rendezvous
    /// the score of the server.
    pub value: String,
    /// The point that the hash belongs to, if the distribution has points.
    pub point: Option<ServerPoint>,
    /// The divisor, if the remainder of the hash decides: the number of servers, or the sum of their weights.
    pub divisor: Option<u64>,
    /// The index of the server in the list.
    pub server: usize,
    /// All other servers, in the order in which they take the key over while those before are down.
    pub next: Vec<usize>,
}

/// A point of a server on a ring.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServerPoint {
    /// Its position, as the imitated client would print it.
    pub position: String,
    /// Which of the server's points it is, counted from 0.
    pub number: usize,
    /// The text whose hash it is.
    pub text: String,
}

impl Ring {
    /// Explains the placement of `key`; `None` if the list is empty.
    ///
    /// It takes a thousand times as long as [`locate`](Self::locate).
    #[must_use]
    pub fn explain(&self, key: &[u8]) -> Option<Explanation> {
        let hashed = self.part.of(key);
        let mut order = self.candidates(key);
        let server = order.next()?;
        Some(Explanation {
            hashed: hashed.to_vec(),
            hash: self.keys.hash,
            value: self.print_hash(hashed, server),
            point: self.point_of(hashed),
            divisor: self.divisor(),
            server,
            next: order.collect(),
        })
    }

    fn print_hash(&self, hashed: &[u8], server: usize) -> String {
        match &self.placement {
            Placement::Rendezvous(scores) => scores.print(hashed, server),
            // A 250-byte number is unreadable; its bytes are the key.
            Placement::LiveModulo => {
                format!("0x{}", hashed.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
            }
            Placement::Circle(Order::Signed, _) => (self.keys.digest(hashed) as u32 as i32).to_string(),
            _ => self.keys.digest(hashed).to_string(),
        }
    }

    fn point_of(&self, hashed: &[u8]) -> Option<ServerPoint> {
        let Rule::Circle(circle) = self.distribution.spec().rule else { return None };
        let hash = self.keys.digest(hashed);
        let (position, server) = match &self.placement {
            Placement::Circle(order, points) => {
                let point = points.find(order.position(hash) as u32)?;
                (u128::from(point.value), point.server)
            }
            Placement::WideCircle(points) => points.find(hash).map(|point| (point.value, point.server))?,
            _ => return None,
        };
        self.server_point(&circle, position, server as usize)
    }

    fn server_point(&self, circle: &Circle, position: u128, server: usize) -> Option<ServerPoint> {
        let (number, text) = circle.origin(&self.nodes, server, &self.texts[server], self.keys, position)?;
        Some(ServerPoint { position: circle.order.print(position), number, text })
    }

    fn divisor(&self) -> Option<u64> {
        match &self.placement {
            Placement::Modulo | Placement::LiveModulo => Some(self.servers() as u64),
            Placement::WeightedModulo(shares) => shares.buckets(),
            _ => None,
        }
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} = {}", self.hash, self.value)?;
        match (&self.point, self.divisor) {
            (Some(point), _) => {
                write!(f, ", point {} (number {} of the server, {})", point.position, point.number, point.text)
            }
            (None, Some(divisor)) => write!(f, ", modulo {divisor}"),
            (None, None) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Distribution, Node};

    fn explain(name: &str, key: &str) -> Explanation {
        let nodes: Vec<Node> = (1..=3).map(|number| Node::tcp(format!("10.0.1.{number}"), 11211)).collect();
        name.parse::<Distribution>().unwrap().ring(&nodes).unwrap().explain(key.as_bytes()).unwrap()
    }

    #[test]
    fn every_distribution_explains_what_it_does() {
        for distribution in Distribution::all() {
            let why = explain(distribution.name(), "key-7");
            assert_eq!(why.next.len(), 2, "{distribution}");
            assert!(!why.next.contains(&why.server), "{distribution}");
            let is_circle = matches!(distribution.spec().rule, Rule::Circle(_));
            assert_eq!(why.point.is_some(), is_circle, "{distribution}");
            assert!(!why.value.is_empty(), "{distribution}");
        }
    }

    #[test]
    fn a_point_is_named_by_its_text() {
        let why = explain("ketama", "foo");
        let point = why.point.unwrap();
        assert_eq!(why.value, "3675831724");
        let text = format!("10.0.1.{}-{}", why.server + 1, point.number / 4);
        assert_eq!(point.text, text);
        let word = crate::hash::md5::words(text.as_bytes())[point.number % 4];
        assert_eq!(point.position, word.to_string());
    }

    #[test]
    fn explanations_contain_what_other_rules_compute() {
        assert_eq!(explain("libmemcached", "foo").to_string(), "one_at_a_time = 596015325, modulo 3");
        assert_eq!(explain("mcrouter", "/a/b/foo|#|bar").hashed, b"foo");
        assert_eq!(explain("remcached", "foo").to_string(), "number = 0x666f6f, modulo 3");
        assert!(explain("folsom", "foo").value.parse::<i32>().is_ok());
    }
}
