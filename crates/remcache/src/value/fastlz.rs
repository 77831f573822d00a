//! FastLZ decompression: the default compression of php-memcached.
//!
//! The format is described at <https://github.com/ariya/FastLZ>: literal runs and matches, with two
//! levels that differ in how long matches and far distances are written. The level is in the upper
//! three bits of the first byte.

use super::compression::extend_bounded;
use super::{Compression, ValueError};
use crate::reason::Reason;

/// Decompresses at most `limit` bytes.
pub(crate) fn decompress(bytes: &[u8], limit: usize) -> Result<Vec<u8>, ValueError> {
    let (&first, rest) = bytes.split_first().ok_or_else(truncated)?;
    let level = match first >> 5 {
        0 => Level::One,
        1 => Level::Two,
        number => return Err(corrupt(format!("there is no level {number}"))),
    };
    let mut input = Input(rest);
    let mut value = Vec::new();
    // The level takes the place of a first match, for which there would be nothing to refer to.
    let mut control = first & 0x1f;
    loop {
        match control >> 5 {
            0 => extend_bounded(&mut value, input.take(usize::from(control).saturating_add(1))?, limit)?,
            _ => copy(&mut value, input.match_of(control, level)?, limit)?,
        }
        match input.next() {
            Ok(next) => control = next,
            Err(_) => return Ok(value),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Level {
    One,
    Two,
}

/// A back-reference: length and distance, in bytes.
#[derive(Clone, Copy, Debug)]
struct Match {
    distance: usize,
    length: usize,
}

struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn next(&mut self) -> Result<u8, ValueError> {
        let (&byte, rest) = self.0.split_first().ok_or_else(truncated)?;
        self.0 = rest;
        Ok(byte)
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], ValueError> {
        let (bytes, rest) = self.0.split_at_checked(count).ok_or_else(truncated)?;
        self.0 = rest;
        Ok(bytes)
    }

    fn match_of(&mut self, control: u8, level: Level) -> Result<Match, ValueError> {
        let mut length = usize::from(control >> 5).saturating_add(2);
        if control >> 5 == LONG {
            length = length.saturating_add(self.more_length(level)?);
        }
        let [high, low] = [control & 0x1f, self.next()?];
        let mut distance = usize::from(u16::from_be_bytes([high, low]));
        if level == Level::Two && distance == FAR {
            distance = distance.saturating_add(usize::from(u16::from_be_bytes([self.next()?, self.next()?])));
        }
        Ok(Match { distance: distance.saturating_add(1), length })
    }

    /// Returns the additional length of a long match: one byte, or in level two bytes
    /// as long as they are 255.
    fn more_length(&mut self, level: Level) -> Result<usize, ValueError> {
        let mut sum = 0_usize;
        loop {
            let byte = self.next()?;
            sum = sum.saturating_add(usize::from(byte));
            if level == Level::One || byte != u8::MAX {
                return Ok(sum);
            }
        }
    }
}

/// Copies a back-reference; a match may overlap its own output.
fn copy(value: &mut Vec<u8>, Match { distance, length }: Match, limit: usize) -> Result<(), ValueError> {
    let start = value.len().checked_sub(distance).ok_or_else(|| corrupt("a match begins before the beginning"))?;
    if value.len().saturating_add(length) > limit {
        return Err(ValueError::TooLarge { limit });
    }
    let end = start.saturating_add(distance.min(length));
    let pattern = value.get(start..end).unwrap_or_default().to_vec();
    for piece in repeat(&pattern, length) {
        extend_bounded(value, piece, limit)?;
    }
    Ok(())
}

/// Appends a repeated pattern of `length` bytes.
fn repeat(pattern: &[u8], length: usize) -> impl Iterator<Item = &[u8]> {
    let mut remaining = length;
    std::iter::from_fn(move || {
        let piece = pattern.get(..remaining.min(pattern.len()))?;
        remaining = remaining.saturating_sub(piece.len());
        (!piece.is_empty()).then_some(piece)
    })
}

#[cold]
fn truncated() -> ValueError {
    corrupt("unexpected end of data")
}

fn corrupt(reason: impl Into<Reason>) -> ValueError {
    ValueError::corrupt(Compression::FastLz, reason)
}

/// Length code of a match with additional length bytes.
const LONG: u8 = 7;
/// The distance of level two behind which a farther one follows.
const FAR: usize = 0x1fff;

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(bytes: &[u8], expected: Option<&[u8]>) {
        assert_eq!(decompress(bytes, 100_000).ok().as_deref(), expected, "{bytes:x?}");
    }

    #[test]
    fn literals() {
        check(&[2, b'a', b'b', b'c'], Some(b"abc"));
        check(&[0x22, b'a', b'b', b'c'], Some(b"abc"));
        check(&[0, b'a', 1, b'b', b'c'], Some(b"abc"));
    }

    #[test]
    fn matches_repeat_what_came_before() {
        check(&[2, b'a', b'b', b'c', 0x20, 2], Some(b"abcabc"));
        check(&[0, b'a', 0x20, 0], Some(b"aaaa"));
        check(&[0, b'a', 0xe0, 1, 0, 0, b'b'], Some(b"aaaaaaaaaaab"));
        check(&[1, b'a', b'b', 0x60, 1], Some(b"abababa"));
    }

    #[test]
    fn level_two_has_longer_lengths_and_farther_distances() {
        let long = [&[b'a'; 1 + 9 + 255 + 3][..], b"b"].concat();
        check(&[0x20, b'a', 0xe0, 255, 3, 0, 0, b'b'], Some(&long));
        let mut far = vec![0x20, b'x', 0xe0];
        far.extend([255; 32]);
        far.extend([100, 0, 0x3f, 0xff, 0, 1]);
        let mut expected = vec![b'x'; 1 + 9 + 32 * 255 + 100];
        expected.extend([b'x'; 3]);
        check(&far, Some(&expected));
    }

    #[test]
    fn damage_is_found() {
        for bytes in [
            &b""[..],
            &[0x40, b'a'],
            &[5, b'a'],
            &[0, b'a', 0x20],
            &[0, b'a', 0x20, 1],
            &[0, b'a', 0xe0],
            &[0x20, b'a', 0xe0, 255],
            &[0x20, b'a', 0x3f, 0xff, 0],
        ] {
            check(bytes, None);
        }
    }

    #[test]
    fn the_limit_holds() {
        let bomb = [0x20, b'a', 0xe0, 255, 255, 255, 255, 0, 0];
        assert_eq!(decompress(&bomb, 1000), Err(ValueError::TooLarge { limit: 1000 }));
    }
}
