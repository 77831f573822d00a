//! Uses of keys by their prefix: `stat detail`.

use std::collections::BTreeMap;
use std::fmt::Write;

/// Uses by prefix; nothing is counted until somebody asks for it.
#[derive(Debug, Default)]
pub(crate) struct Prefixes {
    counting: bool,
    uses: BTreeMap<Box<[u8]>, Uses>,
}

/// What is done to a key.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Use {
    Get { hit: bool },
    Set,
    Delete,
}

#[derive(Debug, Default)]
struct Uses {
    gets: u64,
    hits: u64,
    sets: u64,
    deletes: u64,
}

/// What ends a prefix; a key without it has none.
const DELIMITER: u8 = b':';

impl Prefixes {
    pub(crate) fn set_counting(&mut self, counting: bool) {
        self.counting = counting;
    }

    pub(crate) fn is_counting(&self) -> bool {
        self.counting
    }

    pub(crate) fn clear(&mut self) {
        self.uses.clear();
    }

    #[inline]
    pub(crate) fn count(&mut self, key: &[u8], what: Use) {
        if self.counting {
            self.count_prefix(key, what);
        }
    }

    fn count_prefix(&mut self, key: &[u8], what: Use) {
        let Some(end) = key.iter().position(|byte| *byte == DELIMITER) else { return };
        let uses = self.uses.entry(key[..end].into()).or_default();
        match what {
            Use::Get { hit } => {
                uses.gets += 1;
                uses.hits += u64::from(hit);
            }
            Use::Set => uses.sets += 1,
            Use::Delete => uses.deletes += 1,
        }
    }

    /// One line for each prefix, and an end line.
    pub(crate) fn dump(&self) -> String {
        let mut text = String::new();
        for (prefix, Uses { gets, hits, sets, deletes }) in &self.uses {
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
    fn uses_are_counted_by_prefix_while_asked_for() {
        let mut prefixes = Prefixes::default();
        prefixes.count(b"a:0", Use::Set);
        prefixes.set_counting(true);
        for (key, what) in [
            ("a:1", Use::Set),
            ("a:1", Use::Get { hit: true }),
            ("a:2", Use::Get { hit: false }),
            ("b:1:2", Use::Delete),
            ("none", Use::Set),
        ] {
            prefixes.count(key.as_bytes(), what);
        }
        let expected = "PREFIX a get 2 hit 1 set 1 del 0\r\nPREFIX b get 0 hit 0 set 0 del 1\r\nEND\r\n";
        assert_eq!(prefixes.dump(), expected);
        prefixes.clear();
        assert_eq!(prefixes.dump(), "END\r\n");
    }
}
