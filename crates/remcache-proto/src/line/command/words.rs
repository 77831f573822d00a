//! Splitting of input into lines and words, as in memcached 1.6.18.

/// The most words that memcached accepts, including the command; only a fetch may have more.
pub(crate) const MAX_WORDS: usize = 23;

/// Returns the line at the front of the input without its line end, and its length with it; `None` if it is not
/// complete. A bare line feed ends it too.
pub fn split_line(input: &[u8]) -> Option<(&[u8], usize)> {
    let end = input.iter().position(|byte| *byte == b'\n')?;
    let line = input.get(..end).unwrap_or_default();
    // A single carriage return counts as a word, so an empty line is an error.
    let stripped = line.strip_suffix(b"\r").filter(|line| !line.is_empty());
    Some((stripped.unwrap_or(line), end.saturating_add(1)))
}

/// The words of a line, separated by spaces, up to the first zero byte.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Words<'a>(&'a [u8]);

impl<'a> Words<'a> {
    /// Creates an iterator over the words of a line.
    pub fn new(line: &'a [u8]) -> Self {
        Self(line.split(|byte| *byte == 0).next().unwrap_or_default())
    }

    /// Counts the words, up to a limit.
    pub(crate) fn count_up_to(&self, limit: usize) -> usize {
        self.clone().take(limit).count()
    }
}

impl<'a> Iterator for Words<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let start = self.0.iter().position(|byte| *byte != b' ').unwrap_or(self.0.len());
        let rest = self.0.get(start..).unwrap_or_default();
        let end = rest.iter().position(|byte| *byte == b' ').unwrap_or(rest.len());
        let (word, rest) = rest.split_at_checked(end)?;
        self.0 = rest;
        (!word.is_empty()).then_some(word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_end_with_a_line_feed() {
        type Cut = Option<(&'static [u8], usize)>;
        let cases: &[(&[u8], Cut)] = &[
            (b"", None),
            (b"get k\r", None),
            (b"get k\r\nmn\r\n", Some((b"get k", 7))),
            (b"get k\n", Some((b"get k", 6))),
            (b"\r\n", Some((b"\r", 2))),
            (b"\n", Some((b"", 1))),
            (b"a\r\r\n", Some((b"a\r", 4))),
        ];
        for (input, expected) in cases {
            assert_eq!(split_line(input), *expected, "{}", input.escape_ascii());
        }
    }

    #[test]
    fn words_are_between_spaces() {
        let words = |line: &'static [u8]| Words::new(line).collect::<Vec<_>>();
        assert_eq!(words(b"  a  bc d "), [&b"a"[..], b"bc", b"d"]);
        assert_eq!(words(b"a\tb c\0 d"), [&b"a\tb"[..], b"c"]);
        assert_eq!(words(b"   "), [b""; 0]);
    }
}
