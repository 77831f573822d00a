//! The table of hash functions that clients use to place keys.

mod bytewise;
mod crc;
mod jenkins;
pub(crate) mod md5;
pub(crate) mod murmur;

use std::{fmt, str::FromStr};

use sha2::{Digest as _, Sha384};
use xxhash_rust::xxh3::xxh3_64;

/// A hash function as a client computes it for keys.
///
/// Some differ from the standard function of that name, as the clients' do: see each of them.
///
/// ```
/// use remcache_distribution::{Distribution, Hash};
///
/// let hash: Hash = "fnv1a_64".parse()?;
/// assert_eq!(hash, Hash::Fnv1a64);
/// let like_a_php_application = Distribution::LIBMEMCACHED.hash(hash);
/// # Ok::<(), remcache_distribution::UnknownHash>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Hash {
    /// Bob Jenkins's one-at-a-time, libmemcached's default.
    OneAtATime,
    /// The first four bytes of the MD5, the least significant first.
    Md5,
    /// Bits 16 to 30 of the CRC-32: 15 bits, hence few positions on a ring.
    Crc32,
    /// The lower half of the FNV-1 of 64 bits.
    Fnv1_64,
    /// The lower half of the FNV-1a of 64 bits.
    Fnv1a64,
    /// The FNV-1 of 32 bits.
    Fnv1_32,
    /// The FNV-1a of 32 bits.
    Fnv1a32,
    /// MurmurHash2 with a seed made of the length.
    Murmur,
    /// MurmurHash3 with a seed made of the length, as in libmemcached.
    Murmur3,
    /// Bob Jenkins's lookup3.
    Jenkins,
    /// twemproxy's CRC-16, which keeps the bits that a 16-bit register would lose.
    Crc16,
    /// The whole CRC-32 of the IEEE.
    Crc32a,
    /// The lower 31 bits of the CRC-32: mcrouter's.
    Crc32Of31Bits,
    /// [`Crc32`](Self::Crc32), with 1 in place of 0: python-memcached's before 1.60.
    Crc32NotZero,
    /// Java's `String.hashCode` of the key as UTF-16.
    Java,
    /// The first four bytes of the SHA-384, the least significant first.
    Sha384,
    /// MurmurHash3 of 32 bits with the seed 0.
    Murmur3Unseeded,
    /// MurmurHash2 of 64 bits with mcrouter's seed.
    Murmur64a,
    /// The whole MD5 as a number, the first byte the most significant.
    Md5Number,
    /// XXH3 of 64 bits.
    Xxh3,
    /// The bytes of the key themselves, as one big-endian number: the gem remcached's.
    Number,
    /// [`Java`](Self::Java) as a signed number, without its sign: memjs's.
    JavaMagnitude,
}

impl Hash {
    /// Returns every hash, in the order used in messages.
    ///
    /// ```
    /// use remcache_distribution::Hash;
    ///
    /// assert!(Hash::all().any(|hash| hash.name() == "one_at_a_time"));
    /// ```
    pub fn all() -> impl ExactSizeIterator<Item = Self> + Clone {
        HASHES.iter().map(|(hash, _)| *hash)
    }

    /// Returns the name used in configurations and URLs.
    ///
    /// ```
    /// use remcache_distribution::Hash;
    ///
    /// assert_eq!(Hash::OneAtATime.name(), "one_at_a_time");
    /// ```
    #[must_use]
    pub fn name(self) -> &'static str {
        // A test checks that the table has the order of the enumeration.
        HASHES[self as usize].1
    }

    /// Hashes a key. Of a [`Number`](Self::Number) it returns the last 16 bytes.
    #[inline]
    pub(crate) fn digest(self, key: &[u8], chars: Chars) -> u128 {
        if self == Self::Md5 {
            return u128::from(md5::words(key)[0]);
        }
        self.other_digest(key, chars)
    }

    fn other_digest(self, key: &[u8], chars: Chars) -> u128 {
        let hash = match self {
            Self::OneAtATime => bytewise::one_at_a_time(key, chars),
            Self::Md5 => md5::words(key)[0],
            Self::Crc32 => crc::crc32_of_15_bits(key),
            Self::Fnv1_64 => bytewise::fnv1(key, chars, bytewise::BITS_64),
            Self::Fnv1a64 => bytewise::fnv1a(key, chars, bytewise::BITS_64),
            Self::Fnv1_32 => bytewise::fnv1(key, chars, bytewise::BITS_32),
            Self::Fnv1a32 => bytewise::fnv1a(key, chars, bytewise::BITS_32),
            Self::Murmur => murmur::murmur2(key),
            Self::Murmur3 => murmur::murmur3_seeded(key),
            Self::Jenkins => jenkins::jenkins(key),
            Self::Crc16 => crc::crc16(key),
            Self::Crc32a => crc::crc32(key),
            Self::Crc32Of31Bits => crc::crc32(key) & 0x7fff_ffff,
            Self::Crc32NotZero => crc::crc32_of_15_bits(key).max(1),
            Self::Java => bytewise::java(key, Chars::Utf16),
            Self::JavaMagnitude => (bytewise::java(key, Chars::Utf16) as i32).unsigned_abs(),
            Self::Sha384 => sha384_words(key)[0],
            Self::Murmur3Unseeded => murmur::murmur3(key),
            Self::Murmur64a => return murmur::murmur64a(key, MCROUTER_SEED).into(),
            Self::Md5Number => return md5::number(key),
            Self::Xxh3 => return xxh3_64(key).into(),
            Self::Number => return key.iter().fold(0, |number, &byte| number << 8 | u128::from(byte)),
        };
        hash.into()
    }
}

/// Returns the first four words of the SHA-384, each with the least significant byte first.
pub(crate) fn sha384_words(input: &[u8]) -> [u32; 4] {
    let digest: [u8; 48] = Sha384::digest(input).into();
    std::array::from_fn(|word| u32::from_le_bytes(digest.as_chunks().0[word]))
}

/// mcrouter's seed, chosen by its authors for the best diffusion.
pub(crate) const MCROUTER_SEED: u32 = 4_193_360_111;

/// A hash function, and its interpretation of characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct KeyHash {
    pub(crate) hash: Hash,
    pub(crate) chars: Chars,
}

impl KeyHash {
    #[inline]
    pub(crate) fn digest(self, key: &[u8]) -> u128 {
        self.hash.digest(key, self.chars)
    }
}

/// The interpretation of a key's characters by hashes that process one at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Chars {
    /// C's `char` on x86: bytes from 0x80 are negative, and fill the word with ones.
    Signed,
    /// Unsigned bytes.
    Unsigned,
    /// UTF-16 code units, as in Java.
    Utf16,
}

const HASHES: &[(Hash, &str)] = &[
    (Hash::OneAtATime, "one_at_a_time"),
    (Hash::Md5, "md5"),
    (Hash::Crc32, "crc32"),
    (Hash::Fnv1_64, "fnv1_64"),
    (Hash::Fnv1a64, "fnv1a_64"),
    (Hash::Fnv1_32, "fnv1_32"),
    (Hash::Fnv1a32, "fnv1a_32"),
    (Hash::Murmur, "murmur"),
    (Hash::Murmur3, "murmur3"),
    (Hash::Jenkins, "jenkins"),
    (Hash::Crc16, "crc16"),
    (Hash::Crc32a, "crc32a"),
    (Hash::Crc32Of31Bits, "crc32_31"),
    (Hash::Crc32NotZero, "crc32_not_zero"),
    (Hash::Java, "java"),
    (Hash::Sha384, "sha384"),
    (Hash::Murmur3Unseeded, "murmur3_32"),
    (Hash::Murmur64a, "murmur64a"),
    (Hash::Md5Number, "md5_128"),
    (Hash::Xxh3, "xxh3"),
    (Hash::Number, "number"),
    (Hash::JavaMagnitude, "java_magnitude"),
];

/// Other names that clients give to some of them.
const ALIASES: &[(&str, Hash)] = &[
    ("default", Hash::OneAtATime),
    ("crc", Hash::Crc32),
    ("native", Hash::Java),
    ("ketama", Hash::Md5),
    ("xxh3_64", Hash::Xxh3),
];

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Hash {
    type Err = UnknownHash;

    fn from_str(name: &str) -> Result<Self, UnknownHash> {
        let named = HASHES.iter().find(|(_, known)| *known == name).map(|(hash, _)| *hash);
        let named = named.or_else(|| ALIASES.iter().find(|(known, _)| *known == name).map(|(_, hash)| *hash));
        named.ok_or_else(|| UnknownHash { name: name.to_owned() })
    }
}

/// A name that no [`Hash`](enum@Hash) has.
///
/// ```
/// use remcache_distribution::Hash;
///
/// let unknown = "hsieh".parse::<Hash>().unwrap_err();
/// assert!(unknown.to_string().contains("licence"));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownHash {
    name: String,
}

impl fmt::Display for UnknownHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.name == "hsieh" {
            return f.write_str(
                "the hash hsieh is not offered: its licence asks for terms of its own, and libmemcached is built without \
                 it by default; another hash moves every key once",
            );
        }
        let known: Vec<_> = Hash::all().map(Hash::name).collect();
        write!(f, "unknown hash {:?}; known are {}", self.name, known.join(", "))
    }
}

impl std::error::Error for UnknownHash {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vectors;

    #[test]
    fn the_table_is_in_the_order_of_the_enumeration() {
        for (at, (hash, name)) in HASHES.iter().enumerate() {
            assert_eq!(*hash as usize, at, "{name}");
            assert_eq!(name.parse(), Ok(*hash));
            assert_eq!(hash.to_string(), *name);
        }
    }

    #[test]
    fn no_alias_hides_a_name() {
        for (alias, hash) in ALIASES {
            assert!(HASHES.iter().all(|(_, name)| name != alias));
            assert_eq!(alias.parse(), Ok(*hash));
        }
    }

    #[test]
    fn memjs_drops_the_sign() {
        let hashes =
            |key: &str| [Hash::Java, Hash::JavaMagnitude].map(|hash| hash.digest(key.as_bytes(), Chars::Utf16));
        assert_eq!(hashes("Hello"), [69_609_650, 69_609_650]);
        // As Java prints it: -862545276.
        assert_eq!(hashes("Hello World"), [3_432_422_020, 862_545_276]);
        // The lowest 32-bit number has no positive counterpart in 32 bits, but in JavaScript it has.
        assert_eq!(hashes("polygenelubricants"), [1 << 31, 1 << 31]);
    }

    #[test]
    fn golden_hashes() {
        let vectors = vectors();
        let hashes = vectors["hashes"].as_object().unwrap();
        assert_eq!(hashes.len(), 9);
        for (input, expected) in hashes {
            check(input, expected, Chars::Signed);
        }
        for (input, expected) in vectors["hashes_unsigned_char_for_nonascii"].as_object().unwrap() {
            check(input, expected, Chars::Unsigned);
        }
    }

    /// Checks every hash of the list but one, which is not supported.
    fn check(input: &str, expected: &serde_json::Value, chars: Chars) {
        let offered = expected.as_object().unwrap().iter().filter(|(name, _)| *name != "hsieh");
        for (name, value) in offered {
            let hash: Hash = name.trim_start_matches("default(").trim_end_matches(')').parse().unwrap();
            assert_eq!(u128::from(value.as_u64().unwrap()), hash.digest(input.as_bytes(), chars), "{name} of {input}");
        }
    }

    #[test]
    fn only_hashes_of_single_characters_know_signs() {
        let signs_matter = [Hash::OneAtATime, Hash::Fnv1_64, Hash::Fnv1a64, Hash::Fnv1_32, Hash::Fnv1a32];
        for hash in Hash::all() {
            let differs =
                hash.digest("été".as_bytes(), Chars::Signed) != hash.digest("été".as_bytes(), Chars::Unsigned);
            assert_eq!(differs, signs_matter.contains(&hash), "{hash}");
        }
    }
}
