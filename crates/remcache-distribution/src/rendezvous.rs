//! Rendezvous hashing: the server with the highest score has the key. Pymemcache's variant, and one for new fleets.

use std::{borrow::Cow, cmp::Reverse};

use xxhash_rust::xxh3::xxh3_64;

use crate::Node;
use crate::hash::murmur::Murmur3;
use crate::spec::{PythonKey, Score};

/// Servers prepared for scoring.
#[derive(Debug, Clone)]
pub(crate) struct Rendezvous {
    servers: Servers,
    /// The rank of each server by name: of equal scores the higher rank wins, independent of the order of the list.
    ranks: Box<[u32]>,
}

#[derive(Debug, Clone)]
enum Servers {
    /// The hash state after each server's text and a hyphen.
    Pymemcache(PythonKey, Box<[Murmur3]>),
    /// A hash of each server's text, for equal weights.
    Equal(Box<[u64]>),
    /// A hash of each server's text, and its weight.
    Weighted(Box<[(u64, u32)]>),
}

impl Rendezvous {
    pub(crate) fn new(score: Score, nodes: &[Node], texts: &[String]) -> Self {
        let seeds = texts.iter().map(|text| xxh3_64(text.as_bytes()));
        let are_equal = nodes.windows(2).all(|pair| pair[0].weight == pair[1].weight);
        let servers = match score {
            Score::Pymemcache(key) => {
                let begin = |text: &String| Murmur3::with_seed(0).and(low_bytes(text)).and(*b"-");
                Servers::Pymemcache(key, texts.iter().map(begin).collect())
            }
            Score::Rendezvous if are_equal => Servers::Equal(seeds.collect()),
            Score::Rendezvous => Servers::Weighted(seeds.zip(nodes.iter().map(|node| node.weight)).collect()),
        };
        Self { servers, ranks: ranks(texts) }
    }

    /// Returns the server with the highest score.
    pub(crate) fn winner(&self, key: &[u8]) -> Option<usize> {
        let mut best = None;
        self.each(key, |server, score| best = best.max(Some((score, self.ranks[server], server))));
        best.map(|(_, _, server)| server)
    }

    /// Returns all servers, the one with the highest score first.
    pub(crate) fn order(&self, key: &[u8]) -> Vec<usize> {
        let mut all = Vec::with_capacity(self.ranks.len());
        self.each(key, |server, score| all.push((score, self.ranks[server], server)));
        all.sort_unstable_by_key(|&score| Reverse(score));
        all.into_iter().map(|(_, _, server)| server).collect()
    }

    /// Formats the score of a server.
    pub(crate) fn print(&self, key: &[u8], server: usize) -> String {
        let mut text = String::new();
        self.each(key, |scored, score| {
            if scored == server {
                text = match self.servers {
                    Servers::Weighted(_) => f64::from_bits(score).to_string(),
                    _ => score.to_string(),
                };
            }
        });
        text
    }

    fn each(&self, key: &[u8], mut give: impl FnMut(usize, u64)) {
        match &self.servers {
            Servers::Pymemcache(form, servers) => {
                let key = form.bytes(key);
                for (number, server) in servers.iter().enumerate() {
                    give(number, server.and(key.iter().copied()).finish().into());
                }
            }
            Servers::Equal(seeds) => {
                let key = xxh3_64(key);
                for (number, seed) in seeds.iter().enumerate() {
                    give(number, mix(seed ^ key));
                }
            }
            Servers::Weighted(servers) => {
                let key = xxh3_64(key);
                for (number, (seed, weight)) in servers.iter().enumerate() {
                    give(number, weighted(mix(seed ^ key), *weight));
                }
            }
        }
    }
}

/// Returns the weight divided by the negative logarithm of the hash as a number between 0 and 1.
///
/// A server of weight w then wins the share w / total, and a changed weight moves as few keys as possible: see
/// Schindelhauer and Schomaker, "Weighted Distributed Hash Tables" (2005).
fn weighted(hash: u64, weight: u32) -> u64 {
    // 52 bits and a half: never 0, never 1.
    let part = ((hash >> 12) as f64 + 0.5) / (1_u64 << 52) as f64;
    let score = f64::from(weight) / -libm::log(part);
    // Positive floating-point numbers sort like their bits.
    score.to_bits()
}

/// Applies the finalizer of SplitMix64.
fn mix(hash: u64) -> u64 {
    let hash = (hash ^ hash >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let hash = (hash ^ hash >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ hash >> 31
}

fn ranks(texts: &[String]) -> Box<[u32]> {
    let mut order: Vec<usize> = (0..texts.len()).collect();
    order.sort_by_key(|&server| &texts[server]);
    let mut ranks = vec![0; texts.len()];
    for (rank, server) in order.into_iter().enumerate() {
        ranks[server] = rank as u32;
    }
    ranks.into_boxed_slice()
}

impl PythonKey {
    /// Returns the bytes that pymemcache hashes for a key.
    fn bytes(self, key: &[u8]) -> Cow<'_, [u8]> {
        match self {
            Self::Str if key.is_ascii() => Cow::Borrowed(key),
            Self::Str => Cow::Owned(low_bytes(&String::from_utf8_lossy(key)).collect()),
            Self::Bytes => Cow::Owned(repr(key).into_bytes()),
        }
    }
}

/// Returns the lowest byte of each code point, which is all that pymemcache hashes.
fn low_bytes(text: &str) -> impl Iterator<Item = u8> {
    text.chars().map(|char| u32::from(char) as u8)
}

/// Formats bytes like Python's `repr`.
fn repr(key: &[u8]) -> String {
    let quote = if key.contains(&b'\'') && !key.contains(&b'"') { '"' } else { '\'' };
    let mut text = format!("b{quote}");
    for &byte in key {
        match byte {
            b'\t' => text.push_str("\\t"),
            b'\n' => text.push_str("\\n"),
            b'\r' => text.push_str("\\r"),
            b'\\' => text.push_str("\\\\"),
            b'\'' if quote == '\'' => text.push_str("\\'"),
            b' '..=b'~' => text.push(char::from(byte)),
            _ => text.push_str(&format!("\\x{byte:02x}")),
        }
    }
    text.push(quote);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_printed_as_python_prints_them() {
        for (key, text) in [
            (&b"key"[..], "b'key'"),
            (b"it's", "b\"it's\""),
            (b"it's \"it\"", "b'it\\'s \"it\"'"),
            (b"\"", "b'\"'"),
            (b"\\\t\n\r\0\x7f\xc3", "b'\\\\\\t\\n\\r\\x00\\x7f\\xc3'"),
        ] {
            assert_eq!(repr(key), text);
        }
    }

    #[test]
    fn a_str_is_its_low_bytes() {
        assert_eq!(*PythonKey::Str.bytes("é€".as_bytes()), [0xe9, 0xac]);
        assert_eq!(*PythonKey::Str.bytes(b"key"), *b"key");
    }

    #[test]
    fn of_equal_scores_the_last_by_name_wins_in_any_order() {
        let winner = |names: [&str; 3]| {
            let texts = names.map(str::to_owned);
            let nodes = names.map(|name| Node::tcp(name, 1));
            let mut scores = Rendezvous::new(Score::Rendezvous, &nodes, &texts);
            scores.servers = Servers::Equal([7, 7, 7].into());
            let winner = scores.winner(b"key").unwrap();
            assert_eq!(scores.order(b"key")[0], winner);
            names[winner].to_owned()
        };
        assert_eq!(winner(["a", "b", "c"]), "c");
        assert_eq!(winner(["c", "a", "b"]), "c");
    }

    #[test]
    fn equal_weights_score_as_their_hashes_do() {
        let mut random = fastrand::Rng::with_seed(9);
        for _ in 0..10_000 {
            let (a, b) = (random.u64(..), random.u64(..));
            assert_eq!(weighted(a, 3).cmp(&weighted(b, 3)), a.cmp(&b), "{a} and {b}");
        }
        assert!(f64::from_bits(weighted(u64::MAX, u32::MAX)).is_finite());
        assert!(f64::from_bits(weighted(0, 1)) > 0.0);
    }
}
