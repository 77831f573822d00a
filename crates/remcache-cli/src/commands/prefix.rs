//! Prefixes of keys, by which `keys --tree` and `hotkeys --by-prefix` sum up.

/// A rule that reduces a key to a prefix.
#[derive(Clone, Debug)]
pub(super) struct PrefixRule {
    separator: Vec<u8>,
    /// Number of parts that a prefix has at most.
    depth: usize,
}

impl PrefixRule {
    /// Creates a rule for prefixes of `depth` parts, each of which ends with the separator.
    pub(super) fn new(separator: &str, depth: usize) -> Self {
        Self { separator: separator.as_bytes().to_vec(), depth: depth.max(1) }
    }

    /// Returns the prefix of a key, including the last separator; it is empty for a key without a separator.
    ///
    /// A key with fewer separators than the depth has a shorter prefix.
    pub(super) fn prefix<'k>(&self, key: &'k [u8]) -> &'k [u8] {
        let mut end = 0;
        for _ in 0..self.depth {
            match self.find(&key[end..]) {
                Some(at) => end += at + self.separator.len(),
                None => break,
            }
        }
        &key[..end]
    }

    fn find(&self, text: &[u8]) -> Option<usize> {
        text.windows(self.separator.len().max(1)).position(|window| window == self.separator)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_have_a_depth() {
        for (separator, depth, key, expected) in [
            (":", 1, "user:1:name", "user:"),
            (":", 2, "user:1:name", "user:1:"),
            (":", 3, "user:1:name", "user:1:"),
            (":", 2, "plain", ""),
            ("::", 1, "a::b", "a::"),
            (":", 1, ":b", ":"),
            ("", 1, "a:b", ""),
        ] {
            let prefix = PrefixRule::new(separator, depth).prefix(key.as_bytes()).escape_ascii().to_string();
            assert_eq!(prefix, expected, "{separator:?} {depth} {key}");
        }
    }
}
