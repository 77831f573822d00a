//! Memory that the small values of one call share.

use bytes::{Bytes, BytesMut};

/// Where small values are copied one behind the other, so that few of them need memory of their own.
///
/// A value keeps its block alive: [`ValueArena::LENGTH`] bytes at most, whatever becomes of the values
/// next to it.
#[derive(Debug, Default)]
pub(crate) struct ValueArena(BytesMut);

impl ValueArena {
    /// How much memory a value of few bytes may keep alive.
    pub(crate) const LENGTH: usize = 1024;
    /// Longer values have memory of their own.
    const LONGEST: usize = Self::LENGTH / 4;

    /// A copy of a value.
    #[inline]
    pub(crate) fn copy(&mut self, value: &[u8]) -> Bytes {
        if value.is_empty() || value.len() > Self::LONGEST {
            return Bytes::copy_from_slice(value);
        }
        if self.0.capacity() < value.len() {
            self.0 = BytesMut::with_capacity(Self::LENGTH);
        }
        self.0.extend_from_slice(value);
        self.0.split().freeze()
    }

    /// Lets go of the block that has room.
    pub(crate) fn release(&mut self) {
        self.0 = BytesMut::new();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_kept_whatever_follows() {
        let mut block = ValueArena::default();
        let values: Vec<Vec<u8>> = (0..2000_usize).map(|n| vec![n as u8; n % 300]).collect();
        let copies: Vec<Bytes> = values.iter().map(|value| block.copy(value)).collect();
        block.release();
        assert!(copies.iter().zip(&values).all(|(copy, value)| copy == value));
    }

    #[test]
    fn small_values_lie_side_by_side_in_blocks() {
        let mut block = ValueArena::default();
        let copies: Vec<Bytes> = (0..1000).map(|_| block.copy(&[7; 100])).collect();
        let is_adjacent = |pair: &[Bytes]| pair[0].as_ptr().wrapping_add(100) == pair[1].as_ptr();
        let adjacent = copies.windows(2).filter(|pair| is_adjacent(pair)).count();
        assert!((850..=920).contains(&adjacent), "{adjacent} of a thousand, ten to a block");
    }
}
