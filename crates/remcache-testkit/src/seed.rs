//! Seeds of randomized tests, which a failing test prints.

use std::env;

/// Returns the seed of this test: the number in the environment variable `REMCACHE_SEED`, or a random one.
///
/// Keep the value until the end of the test: if it is dropped during a panic, it prints how to repeat the test.
///
/// # Panics
/// Panics if `REMCACHE_SEED` is not a number.
pub fn seed() -> Seed {
    match env::var(VARIABLE) {
        Ok(text) => Seed(parse(&text).unwrap_or_else(|| {
            panic!("{VARIABLE}={text}: expected a number of 64 bits, decimal or hexadecimal with 0x")
        })),
        Err(_) => Seed(fastrand::u64(..)),
    }
}

/// A seed that prints itself if the test panics; created by [`seed()`].
#[derive(Debug)]
#[must_use = "the seed is printed only if it is dropped while the test panics"]
pub struct Seed(u64);

impl Seed {
    /// Returns the number.
    #[must_use]
    pub fn value(&self) -> u64 {
        self.0
    }

    /// Returns a random number generator with this seed. Every call returns one that produces the same numbers.
    #[must_use]
    pub fn rng(&self) -> fastrand::Rng {
        fastrand::Rng::with_seed(self.0)
    }
}

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("repeat with {VARIABLE}={:#x}", self.0);
        }
    }
}

fn parse(text: &str) -> Option<u64> {
    match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

const VARIABLE: &str = "REMCACHE_SEED";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_printed_seed_can_be_parsed() {
        for number in [0, 1, 0xdead_beef, u64::MAX] {
            assert_eq!(parse(&format!("{number:#x}")), Some(number));
            assert_eq!(parse(&number.to_string()), Some(number));
        }
        assert_eq!(parse("seven"), None);
        assert_eq!(parse("0x1_0000_0000_0000_0000"), None);
    }
}
