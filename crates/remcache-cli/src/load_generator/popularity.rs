//! The distribution of a load over its keys.

use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};

use rand_core::RngCore;
use rand_distr::{Distribution as _, Zipf};

/// The distribution of the operations of a load over its keys.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Popularity {
    /// All keys equally often.
    Uniform,
    /// The n-th key in proportion to 1/n to the power of this exponent: few keys are popular.
    Zipf(f64),
    /// One key after the other, in a circle.
    Sequential,
}

impl FromStr for Popularity {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, exponent) = text.split_once(':').map_or((text, None), |(name, exponent)| (name, Some(exponent)));
        match (name, exponent) {
            ("uniform", None) => Ok(Self::Uniform),
            ("sequential", None) => Ok(Self::Sequential),
            ("zipf", None) => Ok(Self::Zipf(1.0)),
            ("zipf", Some(exponent)) => {
                let exponent = exponent.parse().ok().filter(|exponent| EXPONENTS.contains(exponent));
                exponent.map(Self::Zipf).ok_or_else(|| {
                    format!("{text:?}: the exponent must be a number from {} to {}", EXPONENTS.start(), EXPONENTS.end())
                })
            }
            _ => Err(format!("unknown distribution {text:?}; known are uniform, zipf:1.0, sequential")),
        }
    }
}

impl fmt::Display for Popularity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Uniform => f.write_str("uniform"),
            Self::Zipf(exponent) => write!(f, "zipf:{exponent:?}"),
            Self::Sequential => f.write_str("sequential"),
        }
    }
}

/// Beyond the largest exponent nearly every operation would be on one key.
const EXPONENTS: std::ops::RangeInclusive<f64> = 0.01..=10.0;

/// Picks keys by their popularity.
#[derive(Debug)]
pub(crate) enum KeyPicker {
    Uniform(u64),
    Zipf(Zipf<f64>, u64),
    Sequential(AtomicU64, u64),
}

impl KeyPicker {
    /// Creates a picker for this many keys, at least one.
    pub(crate) fn new(popularity: Popularity, keys: u64) -> Self {
        let keys = keys.max(1);
        match popularity {
            Popularity::Uniform => Self::Uniform(keys),
            Popularity::Sequential => Self::Sequential(AtomicU64::new(0), keys),
            Popularity::Zipf(exponent) => match Zipf::new(keys as f64, exponent) {
                Ok(zipf) => Self::Zipf(zipf, keys),
                // Only a negative exponent and an empty set of keys are errors.
                Err(_) => Self::Uniform(keys),
            },
        }
    }

    /// Picks the number of a key; the most popular key has the lowest number.
    pub(crate) fn pick(&self, random: &mut fastrand::Rng) -> u64 {
        match self {
            Self::Uniform(keys) => random.u64(..keys),
            Self::Zipf(zipf, keys) => (zipf.sample(&mut RngAdapter(random)) as u64).clamp(1, *keys) - 1,
            Self::Sequential(next, keys) => next.fetch_add(1, Ordering::Relaxed) % keys,
        }
    }
}

/// Adapts the random number generator to the trait that the distribution needs.
struct RngAdapter<'r>(&'r mut fastrand::Rng);

impl RngCore for RngAdapter<'_> {
    fn next_u32(&mut self) -> u32 {
        self.0.u32(..)
    }

    fn next_u64(&mut self) -> u64 {
        self.0.u64(..)
    }

    fn fill_bytes(&mut self, bytes: &mut [u8]) {
        self.0.fill(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the number of picks of each of ten keys in 10,000.
    fn counts(text: &str) -> [u32; 10] {
        let picker = KeyPicker::new(text.parse().unwrap(), 10);
        let mut random = fastrand::Rng::with_seed(1);
        let mut counts = [0; 10];
        for _ in 0..10_000 {
            counts[picker.pick(&mut random) as usize] += 1;
        }
        counts
    }

    #[test]
    fn keys_are_picked_by_their_popularity() {
        assert_eq!(counts("sequential"), [1000; 10]);
        assert!(counts("uniform").iter().all(|count| (850..1150).contains(count)), "{:?}", counts("uniform"));
        // With ten keys the shares of zipf:1 are 1/n of 1/2.929.
        let zipf = counts("zipf:1.0");
        for (rank, expected) in [(0, 3414), (1, 1707), (9, 341)] {
            assert!(zipf[rank].abs_diff(expected) < 150, "{zipf:?}");
        }
        assert_eq!(counts("zipf"), zipf);
    }

    #[test]
    fn distributions_are_parsed_as_they_are_printed() {
        for text in ["uniform", "zipf:1.0", "zipf:0.99", "sequential"] {
            assert_eq!(text.parse::<Popularity>().unwrap().to_string(), text);
        }
        for (text, word) in [
            ("", "known are"),
            ("zipf:", "exponent"),
            ("zipf:-1", "exponent"),
            ("zipf:nan", "exponent"),
            ("uniform:2", "uniform:2"),
        ] {
            let error = text.parse::<Popularity>().unwrap_err();
            assert!(error.contains(word), "{text}: {error}");
        }
    }
}
