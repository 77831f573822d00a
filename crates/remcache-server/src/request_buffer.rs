//! The buffer of received bytes.

use bytes::{Buf, Bytes, BytesMut};

/// Collects received bytes until a request is complete.
///
/// It grows only for a request whose announced length was checked against a limit.
#[derive(Debug, Default)]
pub(crate) struct RequestBuffer {
    bytes: BytesMut,
    /// The length of the incomplete request at the front, if known.
    expected_len: usize,
    /// The capacity of the allocation behind `bytes`.
    allocated: usize,
}

/// The capacity of a new allocation.
const INITIAL_CAPACITY: usize = 64 * 1024;
/// The minimum space for a read.
const MIN_SPACE: usize = 16 * 1024;
/// The largest allocation that is kept once the buffer is empty.
const MAX_RETAINED: usize = 4 * INITIAL_CAPACITY;

impl RequestBuffer {
    #[inline]
    pub(crate) fn as_slice(&self) -> &[u8] {
        &self.bytes
    }

    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Returns the buffer with spare capacity, for reading into.
    pub(crate) fn spare(&mut self) -> &mut BytesMut {
        if self.bytes.is_empty() && self.allocated > MAX_RETAINED {
            (self.bytes, self.allocated) = (BytesMut::new(), 0);
        }
        let missing = self.expected_len.saturating_sub(self.bytes.len());
        let space = if self.bytes.capacity() == 0 { INITIAL_CAPACITY } else { MIN_SPACE };
        self.bytes.reserve(missing.max(space));
        self.allocated = self.allocated.max(self.bytes.capacity());
        &mut self.bytes
    }

    /// Sets the length of the request at the front.
    pub(crate) fn expect(&mut self, length: usize) {
        self.expected_len = length;
    }

    /// Consumes bytes.
    #[inline]
    pub(crate) fn skip(&mut self, count: usize) {
        self.bytes.advance(count.min(self.bytes.len()));
        self.expected_len = 0;
    }

    /// Returns whether a request of this length should be taken without copying. That keeps the whole allocation alive,
    /// so it must be most of it.
    pub(crate) fn should_take(&self, length: usize) -> bool {
        length >= INITIAL_CAPACITY && length >= self.allocated / 2
    }

    /// Consumes bytes without copying them.
    pub(crate) fn take(&mut self, count: usize) -> Bytes {
        self.expected_len = 0;
        self.bytes.split_to(count.min(self.bytes.len())).freeze()
    }

    /// Discards all bytes.
    pub(crate) fn clear(&mut self) {
        self.skip(usize::MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_request_is_taken_without_copying_if_it_fills_the_allocation() {
        let mut input = RequestBuffer::default();
        input.spare().extend_from_slice(&[7; INITIAL_CAPACITY]);
        input.expect(10 * INITIAL_CAPACITY);
        input.spare().extend_from_slice(&[7; 9 * INITIAL_CAPACITY]);
        assert!(input.should_take(10 * INITIAL_CAPACITY) && !input.should_take(4 * INITIAL_CAPACITY));
        let address = input.as_slice().as_ptr();
        let request = input.take(10 * INITIAL_CAPACITY);
        assert_eq!((request.len(), request.as_ptr()), (10 * INITIAL_CAPACITY, address), "shared, not copied");
        assert!(!RequestBuffer::default().should_take(100), "a small request is copied");
    }

    #[test]
    fn space_is_reserved_for_the_expected_length() {
        let mut input = RequestBuffer::default();
        input.spare().extend_from_slice(b"head");
        input.expect(1_000_000);
        let spare = input.spare();
        assert!(spare.capacity() >= 1_000_000);
        assert_eq!(input.as_slice(), b"head");
        input.skip(1);
        assert_eq!((input.as_slice(), input.len()), (&b"ead"[..], 3));
        input.clear();
        assert_eq!(input.len(), 0);
        assert!(input.spare().capacity() <= MAX_RETAINED, "memory for a large request is not kept");
    }
}
