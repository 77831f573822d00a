//! The output buffer: encoded requests, with small parts copied and large values shared.

use std::io::IoSlice;
use std::ops::Range;

use bytes::{Buf, Bytes};

use crate::types::cow_bytes::CowBytes;

/// Encoded bytes that wait to be written.
///
/// Small parts are copied into one contiguous buffer, so that requests that are ready together leave in one write. A
/// shared value of [`Output::MIN_SHARED_LEN`] bytes or more is not copied: it is stored with its position, and written
/// with a vectored write.
///
/// As a [`Buf`] it returns its bytes in order.
#[derive(Debug, Default)]
pub struct Output {
    small: Vec<u8>,
    /// Consumed bytes of `small`.
    consumed: usize,
    /// Large values, each with the length of `small` before it; consumed from `first_large` on.
    large: Vec<(usize, Bytes)>,
    first_large: usize,
    /// Unconsumed bytes of `large`.
    large_bytes: usize,
}

impl Output {
    /// Smallest shared value, in bytes, that is written without a copy.
    pub const MIN_SHARED_LEN: usize = 4096;

    /// Creates an empty output.
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns the contiguous bytes, without the large values between them.
    pub fn small(&self) -> &[u8] {
        self.small.get(self.consumed..).unwrap_or_default()
    }

    /// Appends bytes by copying them.
    #[inline]
    pub fn put(&mut self, bytes: &[u8]) {
        self.make_room(bytes.len());
        self.small.extend_from_slice(bytes);
    }

    /// Appends a line of two parts and its line end.
    #[inline]
    pub(crate) fn put_line(&mut self, begin: &[u8], rest: &[u8]) {
        self.make_room(begin.len().saturating_add(rest.len()).saturating_add(LINE_END.len()));
        self.small.extend_from_slice(begin);
        self.small.extend_from_slice(rest);
        self.small.extend_from_slice(LINE_END);
    }

    /// Appends a word to the last line.
    #[inline]
    pub(crate) fn put_word(&mut self, word: &[u8]) {
        self.small.truncate(self.small.len().saturating_sub(LINE_END.len()));
        self.put_line(b" ", word);
    }

    #[inline]
    fn make_room(&mut self, needed: usize) {
        if self.small.capacity().saturating_sub(self.small.len()) < needed {
            self.grow(needed);
        }
    }

    /// Grows the buffer: doubles it while it is small, then grows it in small steps, so that the memory of a full
    /// connection stays close to its limit.
    #[cold]
    fn grow(&mut self, needed: usize) {
        let capacity = self.small.capacity();
        let step = if capacity < LARGE_BUFFER { capacity } else { capacity / 16 };
        self.small.reserve_exact(needed.max(step).max(256));
    }

    /// Appends a value: copied if it is small or borrowed, shared otherwise.
    #[inline]
    pub fn put_value(&mut self, value: &CowBytes<'_>) {
        match value {
            CowBytes::Shared(bytes) if bytes.len() >= Self::MIN_SHARED_LEN => self.put_shared(bytes.clone()),
            _ => self.put(value.as_slice()),
        }
    }

    fn put_shared(&mut self, bytes: Bytes) {
        self.large_bytes = self.large_bytes.saturating_add(bytes.len());
        self.large.push((self.small.len(), bytes));
    }

    /// Clears the output, and releases memory beyond `keep` bytes.
    pub fn clear(&mut self, keep: usize) {
        self.small.clear();
        self.small.shrink_to(keep);
        self.large.clear();
        self.consumed = 0;
        self.first_large = 0;
        self.large_bytes = 0;
    }

    /// Copies the next `count` bytes, without consuming them.
    pub fn copy_to(&self, count: usize, target: &mut Vec<u8>) {
        let mut remaining = count;
        for (piece, _) in self.pieces() {
            if remaining == 0 {
                break;
            }
            let part = piece.get(..remaining).unwrap_or(piece);
            target.extend_from_slice(part);
            remaining = remaining.saturating_sub(part.len());
        }
    }

    /// Copies a range of the byte stream that begins at the first unconsumed byte.
    pub(crate) fn copy_range(&self, range: Range<usize>, target: &mut Self) {
        let mut position = 0_usize;
        for (piece, shared) in self.pieces() {
            let end = position.saturating_add(piece.len());
            let from = range.start.clamp(position, end).saturating_sub(position);
            let to = range.end.clamp(position, end).saturating_sub(position);
            match shared {
                Some(bytes) if from == 0 && to == piece.len() && to > 0 => target.put_shared(bytes),
                _ => target.put(piece.get(from..to).unwrap_or_default()),
            }
            position = end;
        }
    }

    /// Returns the unconsumed bytes in order, in pieces; a large value also as shared bytes.
    fn pieces(&self) -> impl Iterator<Item = (&[u8], Option<Bytes>)> {
        let mut at = self.consumed;
        let large = self.large.get(self.first_large..).unwrap_or_default();
        let before = large.iter().flat_map(move |(offset, bytes)| {
            let small = self.small.get(at..*offset).unwrap_or_default();
            at = (*offset).max(at);
            [(small, None), (&bytes[..], Some(bytes.clone()))]
        });
        let last = large.last().map_or(self.consumed, |(offset, _)| *offset).max(self.consumed);
        before.chain(std::iter::once((self.small.get(last..).unwrap_or_default(), None)))
    }

    /// Consumes up to `count` bytes of the contiguous buffer, up to the position of the next large value.
    fn advance_small(&mut self, count: usize) -> usize {
        let until = self.large.get(self.first_large).map_or(self.small.len(), |(offset, _)| *offset);
        let consumed = count.min(until.saturating_sub(self.consumed));
        self.consumed = self.consumed.saturating_add(consumed);
        consumed
    }

    /// Consumes up to `count` bytes of the next large value.
    fn advance_large(&mut self, count: usize) -> usize {
        let Some((_, bytes)) = self.large.get_mut(self.first_large) else { return 0 };
        let consumed = count.min(bytes.len());
        bytes.advance(consumed);
        self.large_bytes = self.large_bytes.saturating_sub(consumed);
        if bytes.is_empty() {
            self.first_large = self.first_large.saturating_add(1);
        }
        consumed
    }
}

impl Buf for Output {
    fn remaining(&self) -> usize {
        self.small().len().saturating_add(self.large_bytes)
    }

    fn chunk(&self) -> &[u8] {
        match self.large.get(self.first_large) {
            None => self.small(),
            Some((offset, bytes)) if *offset == self.consumed => bytes,
            Some((offset, _)) => self.small.get(self.consumed..*offset).unwrap_or_default(),
        }
    }

    fn chunks_vectored<'a>(&'a self, target: &mut [IoSlice<'a>]) -> usize {
        let mut filled = 0_usize;
        let mut at = self.consumed;
        let mut add = |piece: &'a [u8]| {
            if let (false, Some(slot)) = (piece.is_empty(), target.get_mut(filled)) {
                *slot = IoSlice::new(piece);
                filled = filled.saturating_add(1);
            }
        };
        for (offset, bytes) in self.large.get(self.first_large..).unwrap_or_default() {
            add(self.small.get(at..*offset).unwrap_or_default());
            add(bytes);
            at = *offset;
        }
        add(self.small.get(at..).unwrap_or_default());
        filled
    }

    fn advance(&mut self, count: usize) {
        let mut remaining = count;
        while remaining > 0 {
            let consumed = self.advance_small(remaining);
            remaining = remaining.saturating_sub(consumed);
            let large_consumed = if remaining > 0 { self.advance_large(remaining) } else { 0 };
            remaining = remaining.saturating_sub(large_consumed);
            if consumed == 0 && large_consumed == 0 {
                break;
            }
        }
        if self.remaining() == 0 {
            self.clear(usize::MAX);
        }
    }
}

const LINE_END: &[u8] = b"\r\n";
/// The length from which a buffer is no longer doubled.
const LARGE_BUFFER: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn mixed() -> (Output, Vec<u8>) {
        let large = Bytes::from(vec![b'L'; Output::MIN_SHARED_LEN]);
        let second = Bytes::from(vec![b'M'; Output::MIN_SHARED_LEN + 3]);
        let mut output = Output::new();
        output.put(b"head");
        output.put_value(&CowBytes::Shared(large.clone()));
        output.put_value(&CowBytes::Shared(second.clone()));
        output.put_value(&CowBytes::from("tail"));
        let expected = [b"head", &large[..], &second[..], b"tail"].concat();
        (output, expected)
    }

    fn drained(output: &mut Output, step: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        while output.has_remaining() {
            let mut slices = [IoSlice::new(&[]); 8];
            let filled = output.chunks_vectored(&mut slices);
            let all: Vec<u8> = slices[..filled].iter().flat_map(|slice| slice.iter().copied()).collect();
            let written = step.min(all.len());
            assert!(all.starts_with(&output.chunk()[..output.chunk().len().min(all.len())]));
            bytes.extend_from_slice(&all[..written]);
            output.advance(written);
        }
        bytes
    }

    #[test]
    fn bytes_leave_in_order_whatever_the_socket_takes() {
        for step in [1, 3, 4, 5, 4096, 4097, 5000, 100_000] {
            let (mut output, expected) = mixed();
            assert_eq!(output.remaining(), expected.len());
            assert_eq!(drained(&mut output, step), expected, "{step} bytes at a time");
            assert_eq!(output.remaining(), 0);
        }
    }

    #[test]
    fn large_shared_values_are_not_copied() {
        let (output, _) = mixed();
        assert_eq!(output.small(), b"headtail");
    }

    #[test]
    fn any_range_can_be_copied() {
        for consumed in [0, 2, 4, 100, 5000] {
            let (mut output, expected) = mixed();
            output.advance(consumed);
            let expected = &expected[consumed..];
            let end = expected.len();
            for range in [0..end, 1..5, 0..0, 10..4200.min(end), 3000..end - 1] {
                let mut copy = Output::new();
                output.copy_range(range.clone(), &mut copy);
                assert_eq!(drained(&mut copy, 1 << 20), &expected[range.clone()], "{range:?} after {consumed}");
                let mut copy = Vec::new();
                output.copy_to(range.end, &mut copy);
                assert_eq!(copy, &expected[..range.end], "{} bytes after {consumed}", range.end);
            }
        }
    }
}
