//! The number of a server's points, and their positions on the circle.

use std::fmt::Write as _;

use sha1::{Digest as _, Sha1};

use crate::Hash;
use crate::hash::{KeyHash, md5, murmur, sha384_words};

/// The number of a server's points.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PointCount {
    /// A fixed number, independent of the weight.
    Fixed(u32),
    /// A fixed number per unit of weight.
    Each(u32),
    /// Nominally 160, by share of the weight in single precision: libmemcached's formula, which others copied.
    Single,
    /// Nominally 160, by share of the weight, the product in double precision: libketama's.
    SingleThenDouble,
    /// Nominally 160, by share of the weight in double precision: Dalli's.
    Double,
    /// Like `Double`, in groups of four: hashring's.
    DoubleInFours,
}

impl PointCount {
    /// Returns the number of points of a server with this weight, given the total weight of all servers.
    pub(crate) fn of(self, weight: u32, total_weight: u64, servers: usize) -> u32 {
        match self {
            Self::Fixed(points) => points,
            Self::Each(points) => points.saturating_mul(weight),
            Self::Single => single(weight, total_weight, servers),
            Self::SingleThenDouble => {
                let share = weight as f32 / total_weight as f32;
                4 * (f64::from(share) * 40.0 * f64::from(servers as f32)) as f32 as u32
            }
            Self::Double => {
                let points = servers as u64 * 160 * u64::from(weight);
                (points as f64 / total_weight as f64) as u32
            }
            // The steps are JavaScript's: an equal share of 49 servers is a little less than 40 digests.
            Self::DoubleInFours => 4 * (f64::from(weight) / total_weight as f64 * 40.0 * servers as f64) as u32,
        }
    }
}

/// Computes libmemcached's formula, with every step in `f32` and in the same order (`update_continuum` in its
/// `hosts.cc`).
///
/// For some numbers of servers, 25 being the lowest, equal weights therefore yield 156 points instead of 160; computed
/// in `f64`, 2 % of the keys of 25 servers would be placed on the wrong one.
fn single(weight: u32, total_weight: u64, servers: usize) -> u32 {
    let share = weight as f32 / total_weight as f32;
    let digests = share * 160.0 / 4.0 * servers as f32 + 1e-10;
    4 * digests.floor() as u32
}

/// The hash that determines the positions of a server's points.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PointHash {
    /// The four words of the MD5 of a text, for a quarter as many texts.
    Md5Words,
    /// The first four words of the SHA-384 of a text.
    Sha384Words,
    /// The hash of keys, with a text for each point.
    KeyHash,
    /// `Md5Words` if keys are hashed with MD5, or else `KeyHash`.
    Ketama,
    /// The first four bytes of the SHA-1, the most significant first.
    Sha1,
    /// The whole MD5, of 128 bits.
    Md5Number,
    /// The hash of the previous point, and of the text without a number for the first.
    Murmur3Chain,
}

impl PointHash {
    /// Passes every point of one server to `give`, in order; `keys` is the hash of keys.
    pub(crate) fn each(self, text: &PointText<'_>, count: u32, keys: KeyHash, mut give: impl FnMut(u128)) {
        match self.for_keys(keys) {
            Self::Md5Words => {
                text.each(count / 4, |text| md5::words(text).into_iter().for_each(|word| give(word.into())))
            }
            Self::Sha384Words => {
                text.each(count / 4, |text| sha384_words(text).into_iter().for_each(|word| give(word.into())));
            }
            Self::KeyHash | Self::Ketama => text.each(count, |text| give(keys.digest(text))),
            Self::Sha1 => text.each(count, |text| give(sha1_start(text).into())),
            Self::Md5Number => text.each(count, |text| give(md5::number(text))),
            Self::Murmur3Chain => {
                let mut link = murmur::murmur3(text.stem.as_bytes());
                for _ in 0..count {
                    give(link.into());
                    link = murmur::murmur3(&link.to_le_bytes());
                }
            }
        }
    }

    /// Returns the text whose hash is the point with this number.
    pub(crate) fn text_of(self, text: &PointText<'_>, number: usize, keys: KeyHash) -> String {
        let PointText { stem, separator } = text;
        match self.for_keys(keys) {
            Self::Md5Words | Self::Sha384Words => format!("{stem}{separator}{}", number / 4),
            Self::KeyHash | Self::Ketama | Self::Sha1 | Self::Md5Number => format!("{stem}{separator}{number}"),
            Self::Murmur3Chain => (*stem).to_owned(),
        }
    }

    fn for_keys(self, keys: KeyHash) -> Self {
        match self {
            Self::Ketama if keys.hash == Hash::Md5 => Self::Md5Words,
            Self::Ketama => Self::KeyHash,
            other => other,
        }
    }
}

/// The texts of one server's points: the server's text, a separator, and a number from 0.
#[derive(Debug)]
pub(crate) struct PointText<'a> {
    pub(crate) stem: &'a str,
    pub(crate) separator: char,
}

impl PointText<'_> {
    fn each(&self, count: u32, mut give: impl FnMut(&[u8])) {
        let mut text = format!("{}{}", self.stem, self.separator);
        let stem = text.len();
        for number in 0..count {
            text.truncate(stem);
            write!(text, "{number}").expect("a String takes everything");
            give(text.as_bytes());
        }
    }
}

fn sha1_start(input: &[u8]) -> u32 {
    let digest: [u8; 20] = Sha1::digest(input).into();
    u32::from_be_bytes(digest.as_chunks().0[0])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{hash::Chars, vectors};

    #[test]
    fn equal_weights_give_156_points_for_the_listed_counts_only() {
        let vectors = vectors();
        let golden = &vectors["points_per_server_equal_weights_not_160"];
        let listed: Vec<u64> =
            golden["f32_formula"].as_array().unwrap().iter().map(|count| count.as_u64().unwrap()).collect();
        let of = |servers: u64| PointCount::Single.of(1, servers, servers as usize);
        let found: Vec<u64> = (1..=500).filter(|&servers| of(servers) != 160).collect();
        assert_eq!(found, listed);
        for servers in found {
            assert_eq!(golden["value"], of(servers));
        }
    }

    #[test]
    fn a_common_factor_of_all_weights_changes_nothing_for_powers_of_two() {
        for servers in 1..=200_u64 {
            let of = |weight: u32| PointCount::Single.of(weight, u64::from(weight) * servers, servers as usize);
            assert_eq!(of(8), of(1));
        }
    }

    #[test]
    fn a_server_of_negligible_weight_has_no_point() {
        assert_eq!(PointCount::Single.of(1, 1001, 2), 0);
        assert_eq!(PointCount::Single.of(1000, 1001, 2), 4 * 79);
    }

    #[test]
    fn dalli_counts_single_points_and_libketama_fours() {
        assert_eq!(PointCount::Double.of(1, 3, 2), 106);
        assert_eq!(PointCount::SingleThenDouble.of(1, 3, 2), 104);
        assert_eq!(PointCount::Each(160).of(3, 99, 2), 480);
        assert_eq!(PointCount::DoubleInFours.of(1, 3, 2), 104);
    }

    #[test]
    fn the_hash_of_a_points_text_is_its_position() {
        let text = PointText { stem: "cache2", separator: '-' };
        let keys = KeyHash { hash: Hash::Jenkins, chars: Chars::Signed };
        for hash in [PointHash::Md5Words, PointHash::Sha384Words, PointHash::Sha1, PointHash::Md5Number] {
            let mut number = 0;
            hash.each(&text, 40, keys, |value| {
                let of_text = hash.text_of(&text, number, keys);
                let from_text = match hash {
                    PointHash::Md5Words => u128::from(md5::words(of_text.as_bytes())[number % 4]),
                    PointHash::Sha384Words => u128::from(sha384_words(of_text.as_bytes())[number % 4]),
                    PointHash::Sha1 => u128::from(sha1_start(of_text.as_bytes())),
                    _ => md5::number(of_text.as_bytes()),
                };
                assert_eq!(value, from_text, "{hash:?}: {number}");
                number += 1;
            });
            assert_eq!(number, 40);
        }
    }
}
