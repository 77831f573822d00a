//! The sizes of the values of a load.

use std::fmt;
use std::str::FromStr;

use crate::options::value;

/// A size of values in bytes, or a range of sizes that are equally frequent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sizes {
    smallest: usize,
    largest: usize,
}

impl Sizes {
    /// Creates a distribution of this size only.
    pub(crate) fn only(size: usize) -> Self {
        Self { smallest: size, largest: size }
    }

    /// Returns the largest size.
    pub(crate) fn largest(self) -> usize {
        self.largest
    }

    /// Picks a size at random.
    pub(crate) fn pick(self, random: &mut fastrand::Rng) -> usize {
        if self.smallest == self.largest { self.largest } else { random.usize(self.smallest..=self.largest) }
    }
}

impl FromStr for Sizes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Some((smallest, largest)) = text.split_once("..") else {
            return value::bytes(text).map(Self::only).map_err(|error| format!("{error}, or a range such as 100..1k"));
        };
        let (smallest, largest) = (value::bytes(smallest)?, value::bytes(largest.trim_start_matches('='))?);
        if smallest > largest {
            return Err(format!("{text:?}: the first size of a range must be the smaller one"));
        }
        Ok(Self { smallest, largest })
    }
}

impl fmt::Display for Sizes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.smallest == self.largest {
            true => write!(f, "{}", self.largest),
            false => write!(f, "{}..{}", self.smallest, self.largest),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_one_or_a_range() {
        let mut random = fastrand::Rng::with_seed(1);
        for (text, shown, smallest, largest) in
            [("100", "100", 100, 100), ("100..1k", "100..1024", 100, 1024), ("1..=2", "1..2", 1, 2)]
        {
            let sizes: Sizes = text.parse().unwrap();
            assert_eq!((sizes.to_string().as_str(), sizes.largest()), (shown, largest));
            let picked: Vec<usize> = (0..20_000).map(|_| sizes.pick(&mut random)).collect();
            assert_eq!(picked.iter().min(), Some(&smallest), "{text}");
            assert_eq!(picked.iter().max(), Some(&largest), "{text}");
        }
    }

    #[test]
    fn invalid_sizes_are_named() {
        for (text, word) in [
            ("", "expected a size"),
            ("0", "expected a size"),
            ("1k..100", "smaller"),
            ("..5", "expected a size"),
            ("5..", "expected a size"),
        ] {
            let error = text.parse::<Sizes>().unwrap_err();
            assert!(error.contains(word), "{text}: {error}");
        }
    }
}
