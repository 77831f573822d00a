//! MD5 in the forms that rings use: four little-endian words, or one large number.

use md5::block_api::compress;
use md5::{Digest, Md5};

/// Returns the digest of `input` as words: word `a` consists of the bytes 4a to 4a + 3, the least significant first.
#[inline]
pub(crate) fn words(input: &[u8]) -> [u32; 4] {
    if input.len() <= MAX_ONE_BLOCK {
        return of_one_block(input);
    }
    let digest: [u8; 16] = Md5::digest(input).into();
    let mut words = [0; 4];
    for (word, bytes) in words.iter_mut().zip(digest.as_chunks().0) {
        *word = u32::from_le_bytes(*bytes);
    }
    words
}

/// Returns the digest as a 128-bit number, its first byte the most significant.
pub(crate) fn number(input: &[u8]) -> u128 {
    words(input).iter().fold(0, |number, word| number << 32 | u128::from(word.swap_bytes()))
}

/// Computes the digest of an input that fits into one block with its padding, as most keys do.
///
/// `Digest` buffers and dispatches for inputs of any length, which would cost a third of a lookup.
fn of_one_block(input: &[u8]) -> [u32; 4] {
    let mut block = [0; 64];
    block[..input.len()].copy_from_slice(input);
    block[input.len()] = 0x80;
    block[56..].copy_from_slice(&(input.len() as u64 * 8).to_le_bytes());
    let mut state = START;
    compress(&mut state, &[block]);
    state
}

/// A block has 64 bytes, and the padding takes nine of them.
const MAX_ONE_BLOCK: usize = 55;
/// The initial state of RFC 1321.
const START: [u32; 4] = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476];

#[cfg(test)]
mod tests {
    use super::*;

    fn of_the_crate(input: &[u8]) -> [u32; 4] {
        let digest: [u8; 16] = Md5::digest(input).into();
        std::array::from_fn(|word| u32::from_le_bytes(digest.as_chunks().0[word]))
    }

    #[test]
    fn every_length_agrees_with_the_crate() {
        let mut random = fastrand::Rng::with_seed(7);
        for len in 0..=200 {
            for _ in 0..100 {
                let input: Vec<u8> = (0..len).map(|_| random.u8(..)).collect();
                assert_eq!(words(&input), of_the_crate(&input), "{input:?}");
            }
        }
    }

    #[test]
    fn words_are_little_endian_and_the_number_is_not() {
        // RFC 1321, appendix A.5: MD5("abc") = 900150983cd24fb0d6963f7d28e17f72.
        assert_eq!(words(b"abc"), [0x9850_0190, 0xb04f_d23c, 0x7d3f_96d6, 0x727f_e128]);
        assert_eq!(number(b"abc"), 0x9001_5098_3cd2_4fb0_d696_3f7d_28e1_7f72);
    }
}
