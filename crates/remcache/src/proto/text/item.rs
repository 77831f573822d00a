//! The lines of items: `VALUE key flags length cas`, and the value behind.

use bytes::Bytes;

use crate::proto::line::{self, Scanner, split_word};
use crate::proto::{InputBuffer, ProtocolError};

/// What the line of an item tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::proto) struct ItemHead {
    /// A build with flags of 64 bits tells more; other wires see the low half too.
    pub(in crate::proto) flags: u32,
    pub(in crate::proto) cas: u64,
    /// How long the value is.
    length: u64,
    /// How long the line is, with its end.
    line: usize,
}

/// The item of this key, if the bytes begin with its line in the form that servers write.
///
/// A quick look: where it finds nothing, [`read_item`] tells what is there.
#[inline]
pub(in crate::proto) fn read_item_of(key: &[u8], bytes: &[u8]) -> Option<ItemHead> {
    let rest = bytes.strip_prefix(b"VALUE ")?.strip_prefix(key)?;
    let (flags, rest) = digits(rest.strip_prefix(b" ")?)?;
    let (length, rest) = digits(rest.strip_prefix(b" ")?)?;
    let (cas, rest) = digits(rest.strip_prefix(b" ")?)?;
    let rest = rest.strip_prefix(b"\r\n")?;
    Some(ItemHead { flags: flags as u32, cas, length, line: bytes.len().saturating_sub(rest.len()) })
}

/// The number at the front, and what follows it; `None` where it is none, or may be too long.
#[inline]
fn digits(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (first, mut rest) = bytes.split_first()?;
    let mut number = digit(*first)?;
    while let Some((byte, others)) = rest.split_first()
        && let Some(digit) = digit(*byte)
    {
        number = number.wrapping_mul(10).wrapping_add(digit);
        rest = others;
    }
    (bytes.len().saturating_sub(rest.len()) <= MOST_DIGITS).then_some((number, rest))
}

#[inline]
fn digit(byte: u8) -> Option<u64> {
    let digit = byte.wrapping_sub(b'0');
    (digit <= 9).then_some(u64::from(digit))
}

/// So many digits are a number of 64 bits, whatever they are.
const MOST_DIGITS: usize = 19;

/// The key and the item that a line tells; `None` if it is another line.
pub(in crate::proto) fn read_item(text: &[u8], line: usize) -> Result<Option<(&[u8], ItemHead)>, ProtocolError> {
    let (word, rest) = split_word(text);
    if word != b"VALUE" {
        return Ok(None);
    }
    let (key, numbers) = split_word(rest);
    let mut scanner = Scanner::new(numbers);
    let (flags, length) = (scanner.next_number(), scanner.next_number());
    let cas = if scanner.is_over() { Some(0) } else { scanner.next_number() };
    let (Some(flags), Some(length), Some(cas), true) = (flags, length, cas, scanner.is_over()) else {
        return Err(ProtocolError::UnexpectedLine(line::excerpt(text)));
    };
    Ok(Some((key, ItemHead { flags: flags as u32, cas, length, line })))
}

impl ItemHead {
    /// The head of a value without flags and CAS value.
    pub(super) fn of_length(length: u64, line: usize) -> Self {
        Self { flags: 0, cas: 0, length, line }
    }

    /// Takes the line and the value behind it; `None` if that is not complete.
    #[inline]
    pub(in crate::proto) fn take_value(
        &self,
        input: &mut InputBuffer,
        limit: usize,
    ) -> Result<Option<Bytes>, ProtocolError> {
        self.take_value_before(b"\r\n", input, limit)
    }

    /// The same for a value that is followed by these bytes.
    #[inline]
    pub(in crate::proto) fn take_value_before(
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
        let whole = last.saturating_add(end.len());
        match input.as_slice().get(last..whole) {
            Some(found) if found == end => {}
            Some(_) => return Err(ProtocolError::UnendedValue),
            None => {
                input.expect(whole);
                return Ok(None);
            }
        }
        Ok(Some(input.take_between(self.line, length, end.len())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_quick_look_agrees_with_the_other() {
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
            let bytes = [line.as_bytes(), b"\r\n"].concat();
            let slow = read_item(line.as_bytes(), bytes.len());
            if let Some(head) = read_item_of(b"k", &bytes) {
                assert_eq!(slow, Ok(Some((&b"k"[..], head))), "{line}");
            }
            for end in 0..bytes.len() {
                assert_eq!(read_item_of(b"k", &bytes[..end]), None, "{end} bytes of {line}");
            }
        }
        let head = read_item_of(b"k", b"VALUE k 7 5 9\r\nvalue\r\n").unwrap();
        assert_eq!((head.flags, head.length, head.cas, head.line), (7, 5, 9, 15));
    }
}
