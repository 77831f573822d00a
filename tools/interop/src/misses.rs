//! What was compared, and what did not agree.

use serde::Serialize;

/// How many keys were compared, how many missed, and the first few of those in words.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Misses {
    /// The keys that were compared.
    pub keys: usize,
    /// Those that were not found, or were found elsewhere.
    pub misses: usize,
    /// The first few of them, with both servers.
    pub first: Vec<String>,
}

impl Misses {
    /// Counts a miss; the words are asked for only if they are to be shown.
    pub fn add(&mut self, words: impl FnOnce() -> String) {
        self.misses += 1;
        if self.first.len() < SHOWN {
            self.first.push(words());
        }
    }

    /// Adds what another comparison has found.
    pub fn merge(&mut self, other: Self) {
        self.keys += other.keys;
        self.misses += other.misses;
        let room = SHOWN - self.first.len();
        self.first.extend(other.first.into_iter().take(room));
    }
}

const SHOWN: usize = 3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_first_few_are_told() {
        let mut misses = Misses { keys: 10, ..Misses::default() };
        (0..7).for_each(|number| misses.add(|| number.to_string()));
        misses.merge(Misses { keys: 1, misses: 1, first: vec!["7".to_owned()] });
        assert_eq!((misses.keys, misses.misses), (11, 8));
        assert_eq!(misses.first, ["0", "1", "2"]);
    }
}
