//! Counts of compared keys and of misses.

use serde::Serialize;

/// The number of compared keys, the number of misses, and descriptions of the first misses.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Misses {
    /// Compared keys.
    pub keys: usize,
    /// Keys that were not found, or were found on another server.
    pub misses: usize,
    /// Descriptions of the first misses.
    pub descriptions: Vec<String>,
}

impl Misses {
    /// Counts a miss. The description is computed only for the first misses.
    pub fn add(&mut self, describe: impl FnOnce() -> String) {
        self.misses += 1;
        if self.descriptions.len() < MAX_DESCRIBED {
            self.descriptions.push(describe());
        }
    }

    /// Adds the counts of another comparison.
    pub fn merge(&mut self, other: Self) {
        self.keys += other.keys;
        self.misses += other.misses;
        let remaining = MAX_DESCRIBED - self.descriptions.len();
        self.descriptions.extend(other.descriptions.into_iter().take(remaining));
    }
}

const MAX_DESCRIBED: usize = 3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_first_misses_are_described() {
        let mut misses = Misses { keys: 10, ..Misses::default() };
        (0..7).for_each(|number| misses.add(|| number.to_string()));
        misses.merge(Misses { keys: 1, misses: 1, descriptions: vec!["7".to_owned()] });
        assert_eq!((misses.keys, misses.misses), (11, 8));
        assert_eq!(misses.descriptions, ["0", "1", "2"]);
    }
}
