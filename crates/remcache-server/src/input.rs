//! Bytes from the socket on their way to the wire.

use bytes::{Buf, Bytes, BytesMut};

/// Where bytes are gathered until a request is complete.
///
/// It grows only for a request whose announced length was checked against a limit.
#[derive(Debug, Default)]
pub(crate) struct Input {
    bytes: BytesMut,
    /// How long the request at the front is, if it is known and not complete.
    wanted: usize,
    /// The memory behind `bytes`.
    allocated: usize,
}

/// What is taken at first, the least room that a read finds, and what is kept after large requests.
const CAPACITY: usize = 64 * 1024;
const ROOM: usize = 16 * 1024;
const KEPT: usize = 4 * CAPACITY;

impl Input {
    #[inline]
    pub(crate) fn as_slice(&self) -> &[u8] {
        &self.bytes
    }

    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// The buffer with room behind its bytes, for a socket to fill.
    pub(crate) fn spare(&mut self) -> &mut BytesMut {
        if self.bytes.is_empty() && self.allocated > KEPT {
            (self.bytes, self.allocated) = (BytesMut::new(), 0);
        }
        let missing = self.wanted.saturating_sub(self.bytes.len());
        let room = if self.bytes.capacity() == 0 { CAPACITY } else { ROOM };
        self.bytes.reserve(missing.max(room));
        self.allocated = self.allocated.max(self.bytes.capacity());
        &mut self.bytes
    }

    /// Says how long the request at the front is.
    pub(crate) fn want(&mut self, length: usize) {
        self.wanted = length;
    }

    /// Consumes bytes.
    #[inline]
    pub(crate) fn skip(&mut self, count: usize) {
        self.bytes.advance(count.min(self.bytes.len()));
        self.wanted = 0;
    }

    /// Whether so many bytes are most of the memory that they would keep alive.
    pub(crate) fn is_worth_taking(&self, count: usize) -> bool {
        count >= CAPACITY && count >= self.allocated / 2
    }

    /// Consumes bytes without copying them.
    pub(crate) fn take(&mut self, count: usize) -> Bytes {
        self.wanted = 0;
        self.bytes.split_to(count.min(self.bytes.len())).freeze()
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        self.skip(usize::MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_pins_little_more_than_itself() {
        let mut input = Input::default();
        input.spare().extend_from_slice(&[7; CAPACITY]);
        input.want(10 * CAPACITY);
        input.spare().extend_from_slice(&[7; 9 * CAPACITY]);
        assert!(input.is_worth_taking(10 * CAPACITY) && !input.is_worth_taking(4 * CAPACITY));
        let place = input.as_slice().as_ptr();
        let taken = input.take(10 * CAPACITY);
        assert_eq!((taken.len(), taken.as_ptr()), (10 * CAPACITY, place), "shared, not copied");
        assert!(!Input::default().is_worth_taking(100), "a small request is copied");
    }

    #[test]
    fn there_is_room_for_what_is_wanted() {
        let mut input = Input::default();
        input.spare().extend_from_slice(b"head");
        input.want(1_000_000);
        let spare = input.spare();
        assert!(spare.capacity() >= 1_000_000);
        assert_eq!(input.as_slice(), b"head");
        input.skip(1);
        assert_eq!((input.as_slice(), input.len()), (&b"ead"[..], 3));
        input.clear();
        assert_eq!(input.len(), 0);
        assert!(input.spare().capacity() <= KEPT, "memory for a large request is not kept");
    }
}
