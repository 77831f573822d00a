//! Numbers that are stored as text: how memcached reads and writes them.

/// Which way a counter goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    Up,
    Down,
}

impl Direction {
    /// The next number: up wraps at 2^64, down stops at 0.
    pub(crate) fn step(self, number: u64, delta: u64) -> u64 {
        match self {
            Self::Up => number.wrapping_add(delta),
            Self::Down => number.saturating_sub(delta),
        }
    }
}

/// The number that a value holds; `None` if it is none.
///
/// As memcached reads it: white space, perhaps a plus sign, digits, and then the end or white
/// space with whatever follows.
pub(crate) fn parse(value: &[u8]) -> Option<u64> {
    let start = value.iter().position(|byte| !is_space(*byte)).unwrap_or(value.len());
    let text = value.get(start..)?;
    let text = text.strip_prefix(b"+").unwrap_or(text);
    let end = text.iter().position(|byte| is_space(*byte)).unwrap_or(text.len());
    std::str::from_utf8(text.get(..end)?).ok().filter(|digits| !digits.starts_with('+'))?.parse().ok()
}

/// The value of a number that takes the place of one of this length: padded with spaces if it is
/// shorter (`docs/protocol.md` of remcache 2.8).
pub(crate) fn padded(number: u64, length: usize) -> Vec<u8> {
    format!("{number:<length$}").into_bytes()
}

fn is_space(byte: u8) -> bool {
    // What C calls space: the vertical tab too.
    byte.is_ascii_whitespace() || byte == 0x0b
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_a_number() {
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
    fn steps_wrap_above_and_stop_below() {
        assert_eq!(Direction::Up.step(u64::MAX, 1), 0);
        assert_eq!(Direction::Up.step(10, u64::MAX), 9);
        assert_eq!(Direction::Down.step(10, 11), 0);
        assert_eq!(Direction::Down.step(u64::MAX, u64::MAX - 3), 3);
    }

    #[test]
    fn a_shorter_number_is_padded_and_a_longer_one_is_not_cut() {
        assert_eq!(padded(99, 3), b"99 ");
        assert_eq!(padded(100, 2), b"100");
        assert_eq!(padded(0, 20), b"0                   ");
    }
}
