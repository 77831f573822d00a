//! The input buffer: received bytes that were not decoded yet.

use bytes::{Bytes, BytesMut};

/// Collects bytes from a socket until a reply is complete.
///
/// Small replies share one buffer, and their values are copied out of it, so that a kept value does not keep the
/// buffer alive. A reply that is larger than the buffer gets an allocation of exactly its own size, which its value
/// shares without a copy.
#[derive(Debug)]
pub struct InputBuffer {
    bytes: BytesMut,
    /// Consumed bytes at the front, which are discarded together before the next read.
    consumed: usize,
    /// The size of the allocation behind `bytes`, which a slice of it keeps alive.
    allocated: usize,
    /// The number of bytes to read at a time.
    chunk: usize,
    /// The length of an incomplete frame that is larger than `chunk`.
    expected: usize,
}

/// The read size of an idle connection and the largest one of a busy connection, in bytes.
const CHUNKS: [usize; 2] = [4 * 1024, 64 * 1024];

impl Default for InputBuffer {
    fn default() -> Self {
        let [chunk, _] = CHUNKS;
        Self { bytes: BytesMut::new(), consumed: 0, allocated: 0, chunk, expected: 0 }
    }
}

impl InputBuffer {
    /// Smallest value, in bytes, that may share the read buffer instead of being copied.
    pub(crate) const MIN_SHARED_LEN: usize = 4096;

    /// Creates an empty buffer, which allocates on the first call of [`InputBuffer::spare_capacity`].
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns the bytes that were not decoded yet.
    #[inline]
    pub fn as_slice(&self) -> &[u8] {
        self.bytes.get(self.consumed..).unwrap_or_default()
    }

    /// Returns whether no bytes wait to be decoded.
    pub fn is_empty(&self) -> bool {
        self.as_slice().is_empty()
    }

    /// Returns the buffer with spare capacity, for a socket to fill.
    pub fn spare_capacity(&mut self) -> &mut BytesMut {
        self.drop_consumed();
        if self.expected > 0 {
            self.make_room_for_frame();
        } else if self.bytes.capacity().saturating_sub(self.bytes.len()) < self.chunk / 2 {
            self.make_room();
        }
        &mut self.bytes
    }

    /// Records the length of the last read; a buffer that was filled grows.
    pub fn record_read(&mut self, count: usize) {
        let [_, largest] = CHUNKS;
        if self.expected == 0 && count >= self.chunk {
            self.chunk = self.chunk.saturating_mul(4).min(largest);
        }
    }

    /// Appends bytes that did not come from a socket's read.
    pub fn extend(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        self.allocated = self.bytes.capacity().max(self.allocated);
    }

    /// Releases the memory if the buffer is empty.
    pub fn release(&mut self) {
        if self.is_empty() {
            *self = Self::default();
        }
    }

    /// Sets the length of the incomplete frame at the front.
    ///
    /// The caller has checked it against the limit.
    pub(crate) fn expect(&mut self, length: usize) {
        self.expected = if length > self.chunk { length } else { 0 };
    }

    /// Consumes bytes.
    #[inline]
    pub(crate) fn skip(&mut self, count: usize) {
        self.consumed = self.consumed.saturating_add(count).min(self.bytes.len());
        self.expected = 0;
    }

    /// Consumes the bytes of a value and returns them: as a copy, or as a slice if the value is most of the allocation.
    #[inline]
    pub(crate) fn take(&mut self, count: usize) -> Bytes {
        let count = count.min(self.as_slice().len());
        if count == 0 {
            return Bytes::new();
        }
        if count >= Self::MIN_SHARED_LEN && count.saturating_mul(2) >= self.allocated {
            self.drop_consumed();
            return self.bytes.split_to(count).freeze();
        }
        let copy = Bytes::copy_from_slice(self.as_slice().get(..count).unwrap_or_default());
        self.skip(count);
        copy
    }

    /// Consumes a complete frame of `frame` bytes and takes a value out of it.
    #[inline]
    pub(crate) fn take_within(&mut self, frame: usize, begin: usize, count: usize) -> Bytes {
        if count >= Self::MIN_SHARED_LEN {
            self.skip(begin);
            let value = self.take(count);
            self.skip(frame.saturating_sub(begin).saturating_sub(count));
            return value;
        }
        let value = self.as_slice().get(begin..begin.saturating_add(count)).unwrap_or_default();
        let copy = if value.is_empty() { Bytes::new() } else { Bytes::copy_from_slice(value) };
        self.skip(frame);
        copy
    }

    fn drop_consumed(&mut self) {
        let consumed = std::mem::take(&mut self.consumed);
        if consumed == self.bytes.len() {
            self.bytes.clear();
        } else {
            bytes::Buf::advance(&mut self.bytes, consumed);
        }
    }

    fn make_room(&mut self) {
        // `reserve` moves the remaining bytes to the front if that frees enough space, otherwise it allocates.
        self.bytes.reserve(self.chunk);
        self.allocated = self.bytes.capacity();
    }

    fn make_room_for_frame(&mut self) {
        let missing = self.expected.saturating_sub(self.bytes.len());
        if self.bytes.capacity().saturating_sub(self.bytes.len()) >= missing.max(1) {
            return;
        }
        let mut exact = BytesMut::with_capacity(self.expected.max(self.bytes.len().saturating_add(1)));
        exact.extend_from_slice(&self.bytes);
        self.allocated = exact.capacity();
        self.bytes = exact;
    }
}

#[cfg(test)]
#[expect(clippy::arithmetic_side_effects, reason = "the numbers of a test are its own")]
mod tests {
    use super::*;

    fn read(buffer: &mut InputBuffer, source: &mut &[u8]) -> usize {
        let spare = buffer.spare_capacity();
        let room = spare.capacity() - spare.len();
        assert!(room > 0, "a read must be able to go on");
        let (now, later) = source.split_at(room.min(source.len()));
        spare.extend_from_slice(now);
        *source = later;
        buffer.record_read(now.len());
        now.len()
    }

    #[test]
    fn a_small_value_pins_nothing() {
        let mut buffer = InputBuffer::new();
        read(&mut buffer, &mut &[7; 3000][..]);
        let before = buffer.as_slice().as_ptr();
        assert_ne!(buffer.take(1000).as_ptr(), before);
    }

    #[test]
    fn a_large_value_pins_little_more_than_itself() {
        let length = 1_000_000;
        let mut source = &vec![7; length + 500][..];
        let mut buffer = InputBuffer::new();
        while buffer.as_slice().len() < length {
            read(&mut buffer, &mut source);
            buffer.expect(length);
        }
        let address = buffer.as_slice().as_ptr();
        assert!(buffer.allocated <= 2 * length);
        let value = buffer.take(length);
        assert_eq!((value.len(), value.as_ptr()), (length, address), "shared, not copied");
    }

    #[test]
    fn a_busy_connection_reads_more_at_a_time_and_an_idle_one_keeps_nothing() {
        let mut buffer = InputBuffer::new();
        for _ in 0..4 {
            let mut source = &vec![1; 200_000][..];
            read(&mut buffer, &mut source);
            let waiting = buffer.as_slice().len();
            buffer.skip(waiting);
        }
        assert!(buffer.spare_capacity().capacity() >= CHUNKS[1] / 2);
        buffer.release();
        assert_eq!(buffer.bytes.capacity(), 0);
    }
}
