//! The operations of a load and their proportions.

use std::fmt;
use std::str::FromStr;

/// An operation of a load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    /// Fetch an item.
    Get,
    /// Store an item.
    Set,
    /// Store an item if the key is absent.
    Add,
    /// Remove an item.
    Delete,
    /// Change the time to live of an item.
    Touch,
    /// Increment a counter.
    Incr,
}

impl Operation {
    /// All operations with their names, in the order of the variants.
    pub(crate) const ALL: [(Self, &'static str); 6] = [
        (Self::Get, "get"),
        (Self::Set, "set"),
        (Self::Add, "add"),
        (Self::Delete, "delete"),
        (Self::Touch, "touch"),
        (Self::Incr, "incr"),
    ];

    /// Returns the name.
    pub(crate) fn name(self) -> &'static str {
        Self::ALL.iter().find(|(operation, _)| *operation == self).map_or("", |(_, name)| name)
    }

    /// Returns whether it stores a value.
    pub(crate) fn stores(self) -> bool {
        matches!(self, Self::Set | Self::Add)
    }

    /// Returns whether it can miss, so that it has a hit rate.
    pub(crate) fn has_hits(self) -> bool {
        !matches!(self, Self::Set | Self::Incr)
    }
}

impl FromStr for Operation {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = Self::ALL.iter().find(|(_, name)| *name == text);
        known.map(|(operation, _)| *operation).ok_or_else(|| {
            let names = Self::ALL.map(|(_, name)| name).join(", ");
            format!("unknown operation {text:?}; known are {names}, with their proportions as in get=9,set=1")
        })
    }
}

/// A proportion of operations: `get=9,set=1`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mix {
    shares: Vec<(Operation, u32)>,
    total: u32,
}

impl Mix {
    /// Creates a mix of this operation only.
    pub(crate) fn only(operation: Operation) -> Self {
        Self { shares: vec![(operation, 1)], total: 1 }
    }

    /// Returns the operations.
    pub(crate) fn operations(&self) -> impl Iterator<Item = Operation> {
        self.shares.iter().map(|(operation, _)| *operation)
    }

    /// Picks an operation at random, in proportion.
    pub(crate) fn pick(&self, random: &mut fastrand::Rng) -> Operation {
        let mut rest = if self.shares.len() > 1 { random.u32(..self.total) } else { 0 };
        for &(operation, share) in &self.shares {
            match rest.checked_sub(share) {
                Some(less) => rest = less,
                None => return operation,
            }
        }
        Operation::Get
    }
}

impl FromStr for Mix {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut shares: Vec<(Operation, u32)> = Vec::new();
        for part in text.split(',') {
            let (name, share) = part.split_once('=').unwrap_or((part, "1"));
            let operation: Operation = name.trim().parse()?;
            let share = share.trim().parse().ok().filter(|share| (1..=MAX_SHARE).contains(share));
            let share = share.ok_or_else(|| format!("{part:?}: expected a share from 1 to {MAX_SHARE}"))?;
            if shares.iter().any(|(known, _)| *known == operation) {
                return Err(format!("{name} is given twice"));
            }
            shares.push((operation, share));
        }
        let total = shares.iter().map(|(_, share)| share).sum();
        Ok(Self { shares, total })
    }
}

impl fmt::Display for Mix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shares: Vec<_> =
            self.shares.iter().map(|(operation, share)| format!("{}={share}", operation.name())).collect();
        f.write_str(&shares.join(","))
    }
}

const MAX_SHARE: u32 = 1_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_are_listed_in_the_order_of_the_variants() {
        for (index, (operation, name)) in Operation::ALL.into_iter().enumerate() {
            assert_eq!((operation as usize, operation.name(), name.parse()), (index, name, Ok(operation)));
        }
    }

    #[test]
    fn proportions() {
        let mix: Mix = "get=9,set=1".parse().unwrap();
        let mut random = fastrand::Rng::with_seed(1);
        let gets = (0..10_000).filter(|_| mix.pick(&mut random) == Operation::Get).count();
        assert!((8_800..9_200).contains(&gets), "{gets}");
        assert_eq!(mix.to_string(), "get=9,set=1");
        assert_eq!("incr".parse::<Mix>(), Ok(Mix::only(Operation::Incr)));
    }

    #[test]
    fn invalid_proportions_are_named() {
        for (text, word) in
            [("", "unknown"), ("got=1", "got"), ("get=0", "get=0"), ("get=x", "get=x"), ("get,get", "twice")]
        {
            let error = text.parse::<Mix>().unwrap_err();
            assert!(error.contains(word), "{text}: {error}");
        }
    }
}
