//! Lines, words, numbers and keys, shared by the meta and text protocols.
pub(crate) mod base64;
pub(crate) mod command;
pub(crate) mod error_line;

use crate::buffer::output::Output;
use crate::types::cow_bytes::CowBytes;
use crate::types::error::{InvalidRequest, ProtocolError};
use crate::types::key::InvalidKey;
use crate::types::ttl::Ttl;

/// The longest line of a reply, in bytes.
pub(crate) const MAX_LINE: usize = 8192;

/// Returns the line at the front without its line end, and its length with it; `None` if it is not complete.
#[inline]
pub(crate) fn peek(bytes: &[u8]) -> Result<Option<(&[u8], usize)>, ProtocolError> {
    match bytes.first() {
        None => return Ok(None),
        Some(first) if !first.is_ascii_graphic() => return Err(ProtocolError::NotText(*first)),
        Some(_) => {}
    }
    let window = bytes.get(..MAX_LINE).unwrap_or(bytes);
    let Some(end) = line_feed(window) else {
        return if window.len() < MAX_LINE { Ok(None) } else { Err(ProtocolError::LineTooLong(MAX_LINE)) };
    };
    let line = window.get(..end).unwrap_or_default();
    Ok(Some((line.strip_suffix(b"\r").unwrap_or(line), end.saturating_add(1))))
}

/// Finds the first line feed, searching eight bytes at a time.
#[inline]
fn line_feed(bytes: &[u8]) -> Option<usize> {
    let (eights, rest) = bytes.as_chunks::<8>();
    for (index, eight) in eights.iter().enumerate() {
        let difference = u64::from_le_bytes(*eight) ^ LINE_FEEDS;
        // The high bit is set in the lowest zero byte, and in no byte below it.
        let zeros = difference.wrapping_sub(ONES) & !difference & HIGH_BITS;
        if zeros != 0 {
            return Some(index.saturating_mul(8).saturating_add(zeros.trailing_zeros() as usize / 8));
        }
    }
    let before = bytes.len().saturating_sub(rest.len());
    rest.iter().position(|&byte| byte == b'\n').map(|index| before.saturating_add(index))
}

const ONES: u64 = u64::from_le_bytes([1; 8]);
const HIGH_BITS: u64 = u64::from_le_bytes([0x80; 8]);
const LINE_FEEDS: u64 = u64::from_le_bytes([b'\n'; 8]);

/// Reads the words of a line from left to right; reading any part of a word consumes the whole word.
#[derive(Clone, Debug)]
pub(crate) struct Scanner<'a>(std::slice::Iter<'a, u8>);

impl<'a> Scanner<'a> {
    #[inline]
    pub(crate) fn new(line: &'a [u8]) -> Self {
        Self(line.iter())
    }

    /// Returns the first byte of the next word; its rest is read next.
    #[inline]
    pub(crate) fn letter(&mut self) -> Option<u8> {
        self.0.by_ref().copied().find(|&byte| byte != b' ')
    }

    /// Parses the rest of the word as a number.
    #[inline]
    pub(crate) fn number(&mut self) -> Option<u64> {
        let (mut number, mut digits) = (0_u64, 0_u32);
        for &byte in self.0.by_ref() {
            let digit = byte.wrapping_sub(b'0');
            if digit > 9 {
                if byte != b' ' {
                    self.skip_word();
                    return None;
                }
                break;
            }
            // Numbers of fewer digits cannot overflow.
            if digits >= 19 {
                return self.last_digit(number, digit);
            }
            number = number.wrapping_mul(10).wrapping_add(u64::from(digit));
            digits = digits.wrapping_add(1);
        }
        (digits > 0).then_some(number)
    }

    /// Adds the twentieth digit, which must be the last one.
    #[cold]
    fn last_digit(&mut self, number: u64, digit: u8) -> Option<u64> {
        let number = number.checked_mul(10).and_then(|tens| tens.checked_add(u64::from(digit)));
        match self.0.next() {
            None | Some(b' ') => number,
            Some(_) => {
                self.skip_word();
                None
            }
        }
    }

    /// Parses the next word as a number.
    #[inline]
    pub(crate) fn next_number(&mut self) -> Option<u64> {
        while let Some((b' ', rest)) = self.0.as_slice().split_first() {
            self.0 = rest.iter();
        }
        self.number()
    }

    /// Parses the rest of a token as an opaque; only tokens that this crate writes are valid.
    #[inline]
    pub(crate) fn opaque(&mut self) -> Option<u32> {
        let (token, rest) = self.0.as_slice().split_first_chunk::<8>()?;
        self.0 = rest.iter();
        match self.0.next() {
            None | Some(b' ') => opaque(token),
            Some(_) => None,
        }
    }

    /// Skips the rest of the word.
    #[inline]
    pub(crate) fn skip_word(&mut self) {
        self.0.by_ref().find(|&&byte| byte == b' ');
    }
}

/// Splits a line into words at runs of spaces.
#[inline]
pub(crate) fn words(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    line.split(|&byte| byte == b' ').filter(|word| !word.is_empty())
}

/// Splits off the first word and the space after it.
pub(crate) fn split_word(line: &[u8]) -> (&[u8], &[u8]) {
    match line.iter().position(|&byte| byte == b' ') {
        Some(at) => line.split_at_checked(at).map_or((line, &[][..]), |(word, rest)| {
            let rest = rest.get(1..).unwrap_or_default();
            (word, rest)
        }),
        None => (line, &[]),
    }
}

/// Returns the start of a line, for an error message.
pub(crate) fn excerpt(line: &[u8]) -> bytes::Bytes {
    bytes::Bytes::copy_from_slice(line.get(..EXCERPT).unwrap_or(line))
}

const EXCERPT: usize = 100;

/// Parses a word as a number.
#[inline]
pub(crate) fn number(word: &[u8]) -> Option<u64> {
    if word.is_empty() {
        return None;
    }
    word.iter().try_fold(0_u64, |sum, byte| {
        let digit = byte.checked_sub(b'0').filter(|digit| *digit <= 9)?;
        sum.checked_mul(10)?.checked_add(u64::from(digit))
    })
}

/// Builds the tokens of an outgoing line: everything in a request except key and value.
#[derive(Debug)]
pub(crate) struct WordBuffer {
    bytes: [u8; Self::ROOM],
    length: usize,
}

impl WordBuffer {
    /// More than all flags of a meta command need with their longest numbers.
    const ROOM: usize = 256;

    pub(crate) fn new() -> Self {
        Self { bytes: [0; Self::ROOM], length: 0 }
    }

    pub(crate) fn as_slice(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }

    #[inline]
    fn put(&mut self, bytes: &[u8]) {
        let end = self.length.saturating_add(bytes.len());
        // A test with all options at once checks that the room suffices.
        if let Some(room) = self.bytes.get_mut(self.length..end) {
            room.copy_from_slice(bytes);
            self.length = end;
        }
    }

    /// Appends words, each of which includes the space before it.
    #[inline]
    pub(crate) fn words(&mut self, words: &'static [u8]) {
        self.put(words);
    }

    /// Appends a space and a flag of one letter.
    #[inline]
    pub(crate) fn flag(&mut self, letter: u8) {
        self.put(&[b' ', letter]);
    }

    /// Appends a letter to the last flag.
    #[inline]
    pub(crate) fn letter(&mut self, letter: u8) {
        self.put(&[letter]);
    }

    /// Appends a space and a flag with a number.
    #[inline]
    pub(crate) fn numbered(&mut self, letter: u8, number: u64) {
        self.flag(letter);
        self.put(Digits::of(number).as_slice());
    }

    /// Appends a space and a number.
    #[inline]
    pub(crate) fn number(&mut self, number: u64) {
        self.put(b" ");
        self.put(Digits::of(number).as_slice());
    }

    /// Appends the opaque flag, with eight hexadecimal digits, and the line end.
    #[inline]
    pub(crate) fn end_with_opaque(&mut self, opaque: u32) {
        let [a, b, c, d] = opaque.to_be_bytes().map(hex_digits);
        self.put(&[b' ', b'O', a[0], a[1], b[0], b[1], c[0], c[1], d[0], d[1], b'\r', b'\n']);
    }

    /// Appends the line end.
    #[inline]
    pub(crate) fn end(&mut self) {
        self.put(b"\r\n");
    }
}

#[inline]
fn hex_digits(byte: u8) -> [u8; 2] {
    [byte >> 4, byte & 0xf].map(|digit| HEX.get(usize::from(digit)).copied().unwrap_or(b'0'))
}

const HEX: &[u8; 16] = b"0123456789abcdef";

/// Parses the opaque in a token that this crate wrote.
#[inline]
fn opaque(token: &[u8; 8]) -> Option<u32> {
    let (mut opaque, mut all) = (0_u32, 0_u8);
    for &digit in token {
        let value = hex_value(digit);
        all |= value;
        opaque = opaque << 4 | u32::from(value & 0xf);
    }
    (all < NO_DIGIT).then_some(opaque)
}

/// Returns the value of a hexadecimal digit.
#[inline]
fn hex_value(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit.wrapping_sub(b'0'),
        b'a'..=b'f' => digit.wrapping_sub(b'a').wrapping_add(10),
        _ => NO_DIGIT,
    }
}

const NO_DIGIT: u8 = 0x80;

/// A number in decimal digits.
pub(crate) struct Digits {
    bytes: [u8; 20],
    start: usize,
}

impl Digits {
    #[inline]
    pub(crate) fn of(mut number: u64) -> Self {
        let mut digits = Self { bytes: [b'0'; 20], start: 19 };
        for (index, digit) in digits.bytes.iter_mut().enumerate().rev() {
            *digit = b'0'.wrapping_add((number % 10) as u8);
            number /= 10;
            digits.start = index;
            if number == 0 {
                break;
            }
        }
        digits
    }

    #[inline]
    pub(crate) fn as_slice(&self) -> &[u8] {
        self.bytes.get(self.start..).unwrap_or_default()
    }
}

/// Returns whether a key can be sent as a word without encoding.
#[inline]
pub(crate) fn is_printable(key: &[u8]) -> bool {
    match key.last_chunk::<8>() {
        // The last eight bytes may overlap with the chunk before.
        Some(last) => key.as_chunks::<8>().0.iter().chain([last]).all(|eight| eight_are_printable(*eight)),
        None => !key.iter().any(is_space_or_control),
    }
}

/// Checks eight bytes at once: the high bit of each byte is its result.
#[inline]
fn eight_are_printable(bytes: [u8; 8]) -> bool {
    const LOW: u64 = 0x7f7f_7f7f_7f7f_7f7f;
    let bytes = u64::from_le_bytes(bytes);
    // A sum reaches the high bit from 0x21 upwards; a byte other than DEL differs from it in some bit.
    let above_space = (bytes & LOW).wrapping_add(0x5f5f_5f5f_5f5f_5f5f);
    let no_delete = ((bytes ^ LOW) & LOW).wrapping_add(LOW);
    (bytes | (above_space & no_delete)) | LOW == u64::MAX
}

#[inline]
fn is_space_or_control(byte: &u8) -> bool {
    *byte <= b' ' || *byte == 0x7f
}

/// Checks a key for a classic text command.
pub(crate) fn checked_key(key: &[u8]) -> Result<&[u8], InvalidKey> {
    match key.iter().find(|byte| is_space_or_control(byte)) {
        Some(byte) => Err(InvalidKey::Unprintable(*byte)),
        None => Ok(key),
    }
}

/// Checks the words of a command: printable and separated by single spaces, so that they cannot end the line.
pub(crate) fn checked_words(words: &[u8]) -> Result<&[u8], InvalidRequest> {
    if words.len() > MAX_WORDS_LEN {
        return Err(InvalidRequest::Unsupported("the words of a command must have at most 250 bytes in total"));
    }
    if self::words(words).any(|word| word == b"noreply") {
        return Err(InvalidRequest::Unsupported("noreply is not supported: leave it out"));
    }
    let fits = words.is_empty() || words.split(|&byte| byte == b' ').all(|word| !word.is_empty() && is_printable(word));
    if fits {
        return Ok(words);
    }
    Err(InvalidRequest::Unsupported("the words of a command must be printable and separated by single spaces"))
}

const MAX_WORDS_LEN: usize = 250;

/// Converts a TTL to seconds. On the meta and text protocols servers read 31 bits (docs/protocol.md 2.6): a later time
/// becomes their last second, in January 2038.
#[inline]
pub(crate) fn seconds(ttl: Ttl) -> Result<u64, InvalidRequest> {
    const LAST: u32 = i32::MAX as u32;
    Ok(u64::from(ttl.seconds()?.min(LAST)))
}

/// Appends the bytes of a value and a line end.
#[inline]
pub(crate) fn put_value(value: &CowBytes<'_>, output: &mut Output) {
    output.put_value(value);
    output.put(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_ends_where_it_ends() {
        assert_eq!(peek(b""), Ok(None));
        assert_eq!(peek(b"HD"), Ok(None));
        assert_eq!(peek(b"HD\r"), Ok(None));
        assert_eq!(peek(b"HD\r\nEN"), Ok(Some((&b"HD"[..], 4))));
        assert_eq!(peek(b"key=a\n"), Ok(Some((&b"key=a"[..], 6))), "lines of a dump end so");
    }

    #[test]
    fn an_invalid_line_start_is_detected_at_the_first_byte() {
        for byte in (0..=b' ').chain(0x7f..=0xff) {
            assert_eq!(peek(&[byte]), Err(ProtocolError::NotText(byte)));
        }
    }

    #[test]
    fn the_search_for_a_line_end_is_bounded() {
        let mut bytes = vec![b'x'; MAX_LINE - 1];
        assert_eq!(peek(&bytes), Ok(None));
        bytes.push(b'\n');
        assert!(peek(&bytes).unwrap().is_some());
        bytes[MAX_LINE - 1] = b'x';
        assert_eq!(peek(&bytes), Err(ProtocolError::LineTooLong(MAX_LINE)));
    }

    #[test]
    fn numbers_are_read_as_they_are_written() {
        for value in [0, 1, 9, 10, 99, 100, 12_345, u64::MAX / 10, u64::MAX] {
            assert_eq!(Digits::of(value).as_slice(), value.to_string().as_bytes());
            assert_eq!(number(value.to_string().as_bytes()), Some(value));
        }
        for word in ["", "-1", "+1", "1x", " 1", "18446744073709551616", "99999999999999999999999"] {
            assert_eq!(number(word.as_bytes()), None, "{word}");
        }
    }

    #[test]
    fn opaques_are_eight_digits_and_nothing_else() {
        for value in [0, 1, 0xdead_beef, u32::MAX] {
            let mut words = WordBuffer::new();
            words.end_with_opaque(value);
            assert_eq!(words.as_slice(), format!(" O{value:08x}\r\n").as_bytes());
            let mut scanner = Scanner::new(words.as_slice().trim_ascii_end());
            assert_eq!((scanner.letter(), scanner.opaque()), (Some(b'O'), Some(value)));
        }
        for token in ["", "1", "DEADBEEF", "0000000g", "000000001", "0000000", "0000000 1", "\u{ff}000000"] {
            assert_eq!(Scanner::new(token.as_bytes()).opaque(), None, "{token}");
        }
    }

    #[test]
    fn a_byte_is_printable_or_not_wherever_it_stands() {
        for byte in 0..=u8::MAX {
            for length in 1..20 {
                for index in 0..length {
                    let mut key = vec![b'k'; length];
                    key[index] = byte;
                    assert_eq!(is_printable(&key), !is_space_or_control(&byte), "{byte:#04x} at {index} of {length}");
                }
            }
        }
    }

    #[test]
    fn a_line_feed_is_found_wherever_it_is() {
        for length in 0..40 {
            for index in 0..length {
                let mut bytes = vec![b'\n' ^ 0x80; length];
                assert_eq!(line_feed(&bytes), None);
                bytes[index] = b'\n';
                assert_eq!(line_feed(&bytes), Some(index));
                bytes[index..].fill(b'\n');
                assert_eq!(line_feed(&bytes), Some(index), "the first one");
                // The byte before is one more, where a subtraction borrows.
                bytes[..index].fill(b'\n' + 1);
                assert_eq!(line_feed(&bytes), Some(index));
            }
        }
    }

    #[test]
    fn a_line_is_read_word_by_word() {
        let mut scanner = Scanner::new(b"  f12 c x7 t-1  99 ");
        assert_eq!((scanner.letter(), scanner.number()), (Some(b'f'), Some(12)));
        assert_eq!((scanner.letter(), scanner.number()), (Some(b'c'), None), "no digit is no number");
        assert_eq!(scanner.letter(), Some(b'x'));
        scanner.skip_word();
        assert_eq!((scanner.letter(), scanner.number()), (Some(b't'), None));
        assert_eq!((scanner.next_number(), scanner.letter()), (Some(99), None));
        for word in ["18446744073709551616", "184467440737095516150", "99999999999999999999x", "1x", "x", "-1", ""] {
            let line = format!("{word} 7");
            let mut scanner = Scanner::new(line.as_bytes());
            if !word.is_empty() {
                assert_eq!(scanner.next_number(), None, "{word}");
            }
            assert_eq!(scanner.next_number(), Some(7), "behind {word}");
        }
        assert_eq!(Scanner::new(b"").next_number(), None);
        assert_eq!(Scanner::new(b"18446744073709551615").next_number(), Some(u64::MAX));
    }

    #[test]
    fn words_cannot_end_their_line() {
        for words in ["", "all", "automove 1", "tune 10 25 0.1 2.0"] {
            assert!(checked_words(words.as_bytes()).is_ok(), "{words}");
        }
        for words in [" ", " all", "all ", "a  b", "all\r\nflush_all", "all\n", "a\0", "a\tb"] {
            assert!(checked_words(words.as_bytes()).is_err(), "{words:?}");
        }
        assert!(checked_words(&[b'x'; 251]).is_err());
    }
}
