//! The keys and values of a scenario, and the check that an answer is the right one.

use bytes::Bytes;

use crate::scenario::{Scenario, Verb};

/// One key, and the value that a contestant writes under it.
#[derive(Debug)]
pub(crate) struct Sample {
    key: String,
    /// Empty in a scenario that only reads: 10,000 values of 10 kB would be 100 MB for nothing.
    value: Bytes,
    value_len: usize,
}

impl Sample {
    fn new(index: usize, scenario: &Scenario) -> Self {
        let key = key(index);
        let value = match scenario.verb {
            Verb::Set => Bytes::from(value(&key, scenario.value_len)),
            Verb::Get | Verb::GetMany => Bytes::new(),
        };
        Self { key, value, value_len: scenario.value_len }
    }

    pub(crate) fn key(&self) -> &str {
        &self.key
    }

    pub(crate) fn value(&self) -> &Bytes {
        &self.value
    }

    /// Whether these bytes are the value of this key.
    pub(crate) fn holds(&self, value: &[u8]) -> bool {
        is_value_of(self.key.as_bytes(), self.value_len, value)
    }

    /// Whether these bytes are the value of that other key, in the same scenario.
    pub(crate) fn holds_for(&self, key: &[u8], value: &[u8]) -> bool {
        is_value_of(key, self.value_len, value)
    }
}

impl AsRef<[u8]> for Sample {
    fn as_ref(&self) -> &[u8] {
        self.key.as_bytes()
    }
}

/// The samples of a scenario.
#[derive(Debug)]
pub(crate) struct Samples {
    /// Every sample twice in a row, so a window that wraps around is one slice.
    ring: Vec<Sample>,
}

impl Samples {
    pub(crate) fn of(scenario: &Scenario) -> Self {
        let indices = (0..scenario.keys).chain(0..scenario.keys);
        Self { ring: indices.map(|index| Sample::new(index, scenario)).collect() }
    }

    pub(crate) fn len(&self) -> usize {
        self.ring.len() / 2
    }

    /// `count` samples from position `from` on; both at most `len()`.
    pub(crate) fn window(&self, from: usize, count: usize) -> &[Sample] {
        &self.ring[from..from + count]
    }
}

/// The key of that number.
pub(crate) fn key(index: usize) -> String {
    format!("key-{index:05}")
}

/// The value of a key: the key, filling, and the key again, so that a cut, shifted or exchanged value shows.
pub(crate) fn value(key: &str, len: usize) -> Vec<u8> {
    let mut value = vec![b'.'; len];
    value[..key.len()].copy_from_slice(key.as_bytes());
    value[len - key.len()..].copy_from_slice(key.as_bytes());
    value
}

/// Whether `value` is the value of `key`, at a cost that does not depend on its length.
pub(crate) fn is_value_of(key: &[u8], len: usize, value: &[u8]) -> bool {
    value.len() == len && value.starts_with(key) && value.ends_with(key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::SCENARIOS;

    #[test]
    fn a_value_belongs_to_its_key_alone() {
        let right = value("key-00007", 100);
        assert!(is_value_of(b"key-00007", 100, &right));
        assert!(!is_value_of(b"key-00008", 100, &right), "another key's value");
        assert!(!is_value_of(b"key-00007", 100, &right[..99]), "cut");
        assert!(!is_value_of(b"key-00007", 99, &right[1..]), "shifted");
        assert!(!is_value_of(b"key-00007", 100, &[0; 100]), "zeros");
    }

    #[test]
    fn every_window_of_every_scenario_is_one_slice() {
        for scenario in SCENARIOS.iter().filter(|scenario| scenario.value_len <= 100) {
            let samples = Samples::of(scenario);
            let last = samples.window(samples.len() - 1, scenario.depth());
            assert_eq!(last.len(), scenario.depth(), "{}", scenario.id);
            assert_eq!(last[0].key(), key(scenario.keys - 1), "{}", scenario.id);
        }
    }
}
