//! An arena for the small values of a multi-key call.

use bytes::{Bytes, BytesMut};

/// An arena for copies of small values, so that few of them need a separate allocation.
///
/// A value keeps its block alive, which has at most [`ValueArena::LENGTH`] bytes.
#[derive(Debug, Default)]
pub(crate) struct ValueArena(BytesMut);

impl ValueArena {
    /// The length of a block, in bytes: the most memory that a small value keeps alive.
    pub(crate) const LENGTH: usize = 1024;
    /// The longest value in a block; longer ones are allocated separately.
    const MAX_VALUE: usize = Self::LENGTH / 4;

    /// Copies a value.
    #[inline]
    pub(crate) fn copy(&mut self, value: &[u8]) -> Bytes {
        if value.is_empty() || value.len() > Self::MAX_VALUE {
            return Bytes::copy_from_slice(value);
        }
        if self.0.capacity() < value.len() {
            self.0 = BytesMut::with_capacity(Self::LENGTH);
        }
        self.0.extend_from_slice(value);
        self.0.split().freeze()
    }

    /// Releases the current block.
    pub(crate) fn release(&mut self) {
        self.0 = BytesMut::new();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_do_not_change_when_others_are_copied() {
        let mut block = ValueArena::default();
        let values: Vec<Vec<u8>> = (0..2000_usize).map(|n| vec![n as u8; n % 300]).collect();
        let copies: Vec<Bytes> = values.iter().map(|value| block.copy(value)).collect();
        block.release();
        assert!(copies.iter().zip(&values).all(|(copy, value)| copy == value));
    }

    #[test]
    fn small_values_share_blocks() {
        let mut block = ValueArena::default();
        let copies: Vec<Bytes> = (0..1000).map(|_| block.copy(&[7; 100])).collect();
        let is_adjacent = |pair: &[Bytes]| pair[0].as_ptr().wrapping_add(100) == pair[1].as_ptr();
        let adjacent = copies.windows(2).filter(|pair| is_adjacent(pair)).count();
        assert!((850..=920).contains(&adjacent), "{adjacent} of a thousand, ten to a block");
    }
}
