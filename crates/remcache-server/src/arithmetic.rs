//! Arithmetic on numbers that are stored as text.

/// The direction of an increment or decrement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    Increment,
    Decrement,
}

impl Direction {
    /// Applies a delta. Increments wrap around at 2^64, decrements stop at 0.
    pub(crate) fn apply(self, number: u64, delta: u64) -> u64 {
        match self {
            Self::Increment => number.wrapping_add(delta),
            Self::Decrement => number.saturating_sub(delta),
        }
    }
}

/// Parses a value as memcached does: white space, an optional plus sign, digits, then the end of the value or white
/// space followed by anything. Returns `None` if it is not a number.
pub(crate) fn parse(value: &[u8]) -> Option<u64> {
    let start = value.iter().position(|byte| !is_space(*byte)).unwrap_or(value.len());
    let text = value.get(start..)?;
    let text = text.strip_prefix(b"+").unwrap_or(text);
    let end = text.iter().position(|byte| is_space(*byte)).unwrap_or(text.len());
    std::str::from_utf8(text.get(..end)?).ok().filter(|digits| !digits.starts_with('+'))?.parse().ok()
}

/// Formats a number that replaces a value of `length` bytes. A shorter number is padded with spaces, because memcached
/// updates the value in place (`docs/protocol.md` of remcache 2.8).
pub(crate) fn format_padded(number: u64, length: usize) -> Vec<u8> {
    format!("{number:<length$}").into_bytes()
}

/// Returns whether C's `isspace` accepts the byte; unlike Rust's function it accepts the vertical tab.
fn is_space(byte: u8) -> bool {
    byte.is_ascii_whitespace() || byte == 0x0b
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_parsed_like_in_memcached() {
        let cases: &[(&[u8], Option<u64>)] = &[
            (b"10", Some(10)),
            (b" 12", Some(12)),
            (b"12 ", Some(12)),
            (b"12 abc", Some(12)),
            (b"+12", Some(12)),
            (b"000000000000000000001", Some(1)),
            (b"18446744073709551615", Some(u64::MAX)),
            (b"18446744073709551616", None),
            (b"", None),
            (b"+", None),
            (b"++1", None),
            (b"-1", None),
            (b"12abc", None),
            (b"abc", None),
            (b"\xff", None),
        ];
        for (value, expected) in cases {
            assert_eq!(parse(value), *expected, "{}", value.escape_ascii());
        }
    }

    #[test]
    fn increments_wrap_and_decrements_stop_at_zero() {
        assert_eq!(Direction::Increment.apply(u64::MAX, 1), 0);
        assert_eq!(Direction::Increment.apply(10, u64::MAX), 9);
        assert_eq!(Direction::Decrement.apply(10, 11), 0);
        assert_eq!(Direction::Decrement.apply(u64::MAX, u64::MAX - 3), 3);
    }

    #[test]
    fn a_shorter_number_is_padded_and_a_longer_one_is_not_truncated() {
        assert_eq!(format_padded(99, 3), b"99 ");
        assert_eq!(format_padded(100, 2), b"100");
        assert_eq!(format_padded(0, 20), b"0                   ");
    }
}
