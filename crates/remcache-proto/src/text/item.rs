//! Item lines: `VALUE key flags length cas`, and the value after it.

use bytes::Bytes;

use crate::buffer::input::InputBuffer;
use crate::line::{self, split_word, words};
use crate::types::error::ProtocolError;

/// The fields of an item's line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ItemHead {
    /// The item's flags; of the 64-bit flags of some builds, the low half, as on other protocols.
    pub(crate) flags: u32,
    pub(crate) cas: u64,
    /// The length of the value.
    length: u64,
    /// The length of the line, including its line end.
    line: usize,
}

/// Parses a complete item with this key in the form that servers write; returns its line, its value, and the length of
/// both.
///
/// This is the fast path; if it returns `None`, [`read_item`] parses the line.
#[inline]
pub(crate) fn read_item_of<'a>(key: &[u8], bytes: &'a [u8]) -> Option<(ItemHead, &'a [u8], usize)> {
    let rest = bytes.strip_prefix(b"VALUE ")?.strip_prefix(key)?;
    let (flags, rest) = digits(rest.strip_prefix(b" ")?)?;
    let (length, rest) = digits(rest.strip_prefix(b" ")?)?;
    let (cas, rest) = digits(rest.strip_prefix(b" ")?)?;
    let rest = rest.strip_prefix(b"\r\n")?;
    let line = bytes.len().saturating_sub(rest.len());
    let (value, rest) = rest.split_at_checked(usize::try_from(length).ok()?)?;
    let rest = rest.strip_prefix(b"\r\n")?;
    let head = ItemHead { flags: flags as u32, cas, length, line };
    Some((head, value, bytes.len().saturating_sub(rest.len())))
}

/// Parses the number at the front; returns it and the rest, or `None` if it is invalid or too long.
#[inline]
fn digits(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (count, number) = match bytes.first_chunk::<8>() {
        Some(eight) => leading_digits(u64::from_le_bytes(*eight)),
        None => (0, 0),
    };
    match count {
        1..8 => Some((number, bytes.get(count..)?)),
        _ => many_digits(bytes),
    }
}

/// Returns how many of eight bytes, the lowest first, are leading digits, and their number.
#[inline]
fn leading_digits(bytes: u64) -> (usize, u64) {
    let digits = bytes ^ u64::from_le_bytes([b'0'; 8]);
    // The high bit of a byte marks a value above 9; it is reliable for the lowest such byte.
    let others = (digits.wrapping_add(u64::from_le_bytes([0x76; 8])) | digits) & u64::from_le_bytes([0x80; 8]);
    let count = others.trailing_zeros() / 8;
    // Padded with leading zeros; then neighbours are combined: digits, pairs, groups of four.
    let eight = digits.checked_shl(64_u32.saturating_sub(count.saturating_mul(8))).unwrap_or(0);
    let pairs = eight.wrapping_mul(10).wrapping_add(eight >> 8) & 0x00ff_00ff_00ff_00ff;
    let fours = pairs.wrapping_mul(100).wrapping_add(pairs >> 16) & 0x0000_ffff_0000_ffff;
    let number = fours.wrapping_mul(10_000).wrapping_add(fours >> 32) & 0xffff_ffff;
    (count as usize, number)
}

/// Parses a number of more than eight digits, one digit at a time.
fn many_digits(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (first, mut rest) = bytes.split_first()?;
    let mut number = digit(*first)?;
    while let Some((byte, others)) = rest.split_first()
        && let Some(digit) = digit(*byte)
    {
        number = number.wrapping_mul(10).wrapping_add(digit);
        rest = others;
    }
    (bytes.len().saturating_sub(rest.len()) <= MAX_DIGITS).then_some((number, rest))
}

#[inline]
fn digit(byte: u8) -> Option<u64> {
    let digit = byte.wrapping_sub(b'0');
    (digit <= 9).then_some(u64::from(digit))
}

/// The most decimal digits that always fit into 64 bits.
const MAX_DIGITS: usize = 19;

/// Parses a line as a key and an item; `None` if it is a different kind of line.
pub(crate) fn read_item(text: &[u8], line: usize) -> Result<Option<(&[u8], ItemHead)>, ProtocolError> {
    let (word, rest) = split_word(text);
    if word != b"VALUE" {
        return Ok(None);
    }
    let (key, numbers) = split_word(rest);
    let mut words = words(numbers).map(line::number);
    let unexpected = || ProtocolError::UnexpectedLine(line::excerpt(text));
    let mut next = || words.next().map(|number| number.ok_or_else(unexpected)).transpose();
    let (flags, length, cas) = (next()?, next()?, next()?);
    let (Some(flags), Some(length), None) = (flags, length, next()?) else { return Err(unexpected()) };
    Ok(Some((key, ItemHead { flags: flags as u32, cas: cas.unwrap_or(0), length, line })))
}

impl ItemHead {
    /// Creates the head of a value without flags and CAS value.
    pub(crate) fn of_length(length: u64, line: usize) -> Self {
        Self { flags: 0, cas: 0, length, line }
    }

    /// Takes the line and the value after it; `None` if that is not complete.
    #[inline]
    pub(crate) fn take_value(&self, input: &mut InputBuffer, limit: usize) -> Result<Option<Bytes>, ProtocolError> {
        self.take_value_before(b"\r\n", input, limit)
    }

    /// Takes the line and the value, which must be followed by `end`; `None` if they are not complete.
    #[inline]
    pub(crate) fn take_value_before(
        &self,
        end: &[u8],
        input: &mut InputBuffer,
        limit: usize,
    ) -> Result<Option<Bytes>, ProtocolError> {
        let length = usize::try_from(self.length).unwrap_or(usize::MAX);
        if length > limit {
            return Err(ProtocolError::TooLarge { announced: length, limit });
        }
        let last = self.line.saturating_add(length);
        let total = last.saturating_add(end.len());
        match input.as_slice().get(last..total) {
            Some(found) if found == end => {}
            Some(_) => return Err(ProtocolError::UnterminatedValue),
            None => {
                input.expect(total);
                return Ok(None);
            }
        }
        Ok(Some(input.take_within(total, self.line, length)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_up_to_any_delimiter() {
        for length in 1..=MAX_DIGITS {
            let figures = &b"1098765432109876543"[..length];
            let number = std::str::from_utf8(figures).unwrap().parse().unwrap();
            for follower in [b' ', b'\r', b'/', b':', 0, 0x7f, 0xff] {
                for filling in 0..12 {
                    let bytes = [figures, &[follower], &vec![0xff; filling]].concat();
                    let rest = &bytes[length..];
                    assert_eq!(digits(&bytes), Some((number, rest)), "{bytes:?}");
                }
            }
        }
        for none in [&b""[..], b" 1234567890", b"/", b":234567890", b"\xff234567890"] {
            assert_eq!(digits(none), None, "{none:?}");
        }
        assert_eq!(digits(b"12345678901234567890 "), None, "it may be too long");
    }

    #[test]
    fn the_fast_path_agrees_with_the_slow_one() {
        for line in [
            "VALUE k 0 1 2",
            "VALUE k 4294967295 1048576 18446744073709551615",
            "VALUE k 0 1 9999999999999999999",
            "VALUE kk 0 1 2",
            "VALUE k 0 1",
            "VALUE k  0 1 2",
            "VALUE k 0 1 2 3",
            "VALUE k 0 1 x",
            "VALUE k 0 1 ",
            "VALUE k 0  2",
            "END",
        ] {
            let bytes = [line.as_bytes(), b"\r\nv\r\n"].concat();
            let slow = read_item(line.as_bytes(), line.len() + 2);
            if let Some((head, value, length)) = read_item_of(b"k", &bytes) {
                assert_eq!(slow, Ok(Some((&b"k"[..], head))), "{line}");
                assert_eq!((value, length), (&b"v"[..], bytes.len()), "{line}");
            }
            for end in 0..bytes.len() {
                assert_eq!(read_item_of(b"k", &bytes[..end]), None, "{end} bytes of {line}");
            }
        }
        let (head, value, length) = read_item_of(b"k", b"VALUE k 7 5 9\r\nvalue\r\nEND\r\n").unwrap();
        assert_eq!((head.flags, head.length, head.cas, head.line), (7, 5, 9, 15));
        assert_eq!((value, length), (&b"value"[..], 22));
    }
}
