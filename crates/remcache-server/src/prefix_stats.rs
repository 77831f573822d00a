//! Statistics by key prefix: `stats detail`.

use std::collections::BTreeMap;
use std::fmt::Write;

/// Statistics by key prefix. Collection is off until a client enables it.
#[derive(Debug, Default)]
pub(crate) struct PrefixStats {
    enabled: bool,
    prefixes: BTreeMap<Box<[u8]>, PrefixCounters>,
}

/// An operation on a key.
#[derive(Clone, Copy, Debug)]
pub(crate) enum KeyUse {
    Get { hit: bool },
    Set,
    Delete,
}

#[derive(Debug, Default)]
struct PrefixCounters {
    gets: u64,
    hits: u64,
    sets: u64,
    deletes: u64,
}

/// The byte that ends a prefix. Keys without it are not counted.
const DELIMITER: u8 = b':';

impl PrefixStats {
    pub(crate) fn set_enabled(&mut self, enabled: bool) {
        self.enabled = enabled;
    }

    pub(crate) fn is_enabled(&self) -> bool {
        self.enabled
    }

    pub(crate) fn clear(&mut self) {
        self.prefixes.clear();
    }

    #[inline]
    pub(crate) fn record(&mut self, key: &[u8], operation: KeyUse) {
        if self.enabled {
            self.record_prefix(key, operation);
        }
    }

    fn record_prefix(&mut self, key: &[u8], operation: KeyUse) {
        let Some(end) = key.iter().position(|byte| *byte == DELIMITER) else { return };
        let counters = self.prefixes.entry(key[..end].into()).or_default();
        match operation {
            KeyUse::Get { hit } => {
                counters.gets += 1;
                counters.hits += u64::from(hit);
            }
            KeyUse::Set => counters.sets += 1,
            KeyUse::Delete => counters.deletes += 1,
        }
    }

    /// Formats one line for each prefix, and an end line.
    pub(crate) fn dump(&self) -> String {
        let mut text = String::new();
        for (prefix, PrefixCounters { gets, hits, sets, deletes }) in &self.prefixes {
            let prefix = String::from_utf8_lossy(prefix);
            let line = format_args!("PREFIX {prefix} get {gets} hit {hits} set {sets} del {deletes}\r\n");
            // Writing to a string does not fail.
            let _ = text.write_fmt(line);
        }
        text + "END\r\n"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_are_counted_by_prefix_while_enabled() {
        let mut stats = PrefixStats::default();
        stats.record(b"a:0", KeyUse::Set);
        stats.set_enabled(true);
        for (key, operation) in [
            ("a:1", KeyUse::Set),
            ("a:1", KeyUse::Get { hit: true }),
            ("a:2", KeyUse::Get { hit: false }),
            ("b:1:2", KeyUse::Delete),
            ("none", KeyUse::Set),
        ] {
            stats.record(key.as_bytes(), operation);
        }
        let expected = "PREFIX a get 2 hit 1 set 1 del 0\r\nPREFIX b get 0 hit 0 set 0 del 1\r\nEND\r\n";
        assert_eq!(stats.dump(), expected);
        stats.clear();
        assert_eq!(stats.dump(), "END\r\n");
    }
}
