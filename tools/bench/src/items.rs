//! The keys and values of a scenario, and the check of returned values.

use bytes::Bytes;

use crate::scenario::{Scenario, Verb};

/// A key and its value.
#[derive(Debug)]
pub(crate) struct Item {
    key: String,
    /// Empty in a scenario that only reads, which does not need the 100 MB of 10,000 values of 10 kB.
    value: Bytes,
    value_len: usize,
}

impl Item {
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

    /// Returns whether these bytes are the value of this key.
    pub(crate) fn holds(&self, value: &[u8]) -> bool {
        is_value_of(self.key.as_bytes(), self.value_len, value)
    }

    /// Returns whether these bytes are the value of another key in the same scenario.
    pub(crate) fn holds_for(&self, key: &[u8], value: &[u8]) -> bool {
        is_value_of(key, self.value_len, value)
    }
}

impl AsRef<[u8]> for Item {
    fn as_ref(&self) -> &[u8] {
        self.key.as_bytes()
    }
}

/// The items of a scenario.
#[derive(Debug)]
pub(crate) struct Items {
    /// All items twice, so that a window that wraps around is one slice.
    doubled: Vec<Item>,
}

impl Items {
    pub(crate) fn new(scenario: &Scenario) -> Self {
        let indices = (0..scenario.keys).chain(0..scenario.keys);
        Self { doubled: indices.map(|index| Item::new(index, scenario)).collect() }
    }

    pub(crate) fn len(&self) -> usize {
        self.doubled.len() / 2
    }

    /// Returns `count` items from position `from`; both are at most `len()`.
    pub(crate) fn window(&self, from: usize, count: usize) -> &[Item] {
        &self.doubled[from..from + count]
    }
}

/// Returns the key with this index.
pub(crate) fn key(index: usize) -> String {
    format!("key-{index:05}")
}

/// Returns the value of a key: the key, padding, and the key again, so that a truncated, shifted or swapped value is
/// detected.
pub(crate) fn value(key: &str, len: usize) -> Vec<u8> {
    let mut value = vec![b'.'; len];
    value[..key.len()].copy_from_slice(key.as_bytes());
    value[len - key.len()..].copy_from_slice(key.as_bytes());
    value
}

/// Returns whether `value` is the value of `key`, in constant time.
pub(crate) fn is_value_of(key: &[u8], len: usize, value: &[u8]) -> bool {
    value.len() == len && value.starts_with(key) && value.ends_with(key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::SCENARIOS;

    #[test]
    fn a_value_belongs_to_its_key_alone() {
        let correct = value("key-00007", 100);
        assert!(is_value_of(b"key-00007", 100, &correct));
        assert!(!is_value_of(b"key-00008", 100, &correct), "another key's value");
        assert!(!is_value_of(b"key-00007", 100, &correct[..99]), "truncated");
        assert!(!is_value_of(b"key-00007", 99, &correct[1..]), "shifted");
        assert!(!is_value_of(b"key-00007", 100, &[0; 100]), "zeros");
    }

    #[test]
    fn every_window_of_every_scenario_is_one_slice() {
        for scenario in SCENARIOS.iter().filter(|scenario| scenario.value_len <= 100) {
            let items = Items::new(scenario);
            let last = items.window(items.len() - 1, scenario.depth());
            assert_eq!(last.len(), scenario.depth(), "{}", scenario.id);
            assert_eq!(last[0].key(), key(scenario.keys - 1), "{}", scenario.id);
        }
    }
}
