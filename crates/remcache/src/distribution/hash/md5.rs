//! MD5 as rings read it: four little-endian words, or one large number.

use std::hint::black_box;

use md5::{Digest, Md5};

/// The digest of `input` as words: word `a` is made of the bytes 4a to 4a + 3, the least significant first.
#[inline]
pub(in crate::distribution) fn words(input: &[u8]) -> [u32; 4] {
    if input.len() <= LONGEST_OF_ONE_BLOCK {
        return of_one_block(input);
    }
    let digest: [u8; 16] = Md5::digest(input).into();
    let mut words = [0; 4];
    for (word, bytes) in words.iter_mut().zip(digest.as_chunks().0) {
        *word = u32::from_le_bytes(*bytes);
    }
    words
}

/// The digest as a number of 128 bits, its first byte the most significant.
pub(in crate::distribution) fn number(input: &[u8]) -> u128 {
    words(input).iter().fold(0, |number, word| number << 32 | u128::from(word.swap_bytes()))
}

/// RFC 1321 for an input that fits into one block with its padding.
///
/// Most keys do.
/// The crate buffers and dispatches for inputs of any length, which costs a third more than the rounds themselves.
/// Words are put together in registers: bytes that are stored one way and loaded another wait for the store.
#[inline]
fn of_one_block(input: &[u8]) -> [u32; 4] {
    let (whole, rest) = input.as_chunks::<4>();
    let mut block = [0; 16];
    let mut place = 0;
    for four in whole {
        // At most 13: the remainder says so to the compiler.
        block[place % 16] = u32::from_le_bytes(*four);
        place += 1;
    }
    block[place % 16] = rest.iter().rev().fold(0x80, |word, &byte| word << 8 | u32::from(byte));
    block[14] = input.len() as u32 * 8;
    compress(&block)
}

/// The four rounds of sixteen steps, written out four steps at a time so that no word moves.
///
/// Never inlined: it needs every register, and within a lookup it was a sixth slower.
#[inline(never)]
fn compress(block: &[u32; 16]) -> [u32; 4] {
    // As constants the sines would be added last of all, behind the mixed word for which every step waits: 64 cycles
    // more, a sixth of the whole. What is read from memory is added first.
    let sines: &[u32; 64] = black_box(&SINES);
    let [mut a, mut b, mut c, mut d] = START;
    macro_rules! round {
        ($mix:expr, $first:expr, $stride:expr, $offset:expr, $shifts:expr) => {
            let mix = $mix;
            let step = |a: u32, b: u32, c: u32, d: u32, i: usize| {
                let word = block[(i * $stride + $offset) % 16].wrapping_add(sines[$first + i]).wrapping_add(a);
                mix(word, b, c, d).rotate_left($shifts[i % 4]).wrapping_add(b)
            };
            round!(@four step, 0);
            round!(@four step, 4);
            round!(@four step, 8);
            round!(@four step, 12);
        };
        (@four $step:ident, $i:expr) => {
            a = $step(a, b, c, d, $i);
            d = $step(d, a, b, c, $i + 1);
            c = $step(c, d, a, b, $i + 2);
            b = $step(b, c, d, a, $i + 3);
        };
    }
    // The two halves of the first two functions share no bit, so they can be added one by one: what does not depend on
    // the last word is then ready before it is.
    round!(|sum: u32, b: u32, c: u32, d: u32| sum.wrapping_add(d ^ (b & (c ^ d))), 0, 1, 0, [7, 12, 17, 22]);
    round!(|sum: u32, b: u32, c: u32, d: u32| sum.wrapping_add(c & !d).wrapping_add(b & d), 16, 5, 1, [5, 9, 14, 20]);
    round!(|sum: u32, b: u32, c: u32, d: u32| sum.wrapping_add(b ^ (c ^ d)), 32, 3, 5, [4, 11, 16, 23]);
    round!(|sum: u32, b: u32, c: u32, d: u32| sum.wrapping_add(c ^ (b | !d)), 48, 7, 0, [6, 10, 15, 21]);
    [a.wrapping_add(START[0]), b.wrapping_add(START[1]), c.wrapping_add(START[2]), d.wrapping_add(START[3])]
}

/// A block has 64 bytes, of which the padding takes nine.
const LONGEST_OF_ONE_BLOCK: usize = 55;
const START: [u32; 4] = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476];

/// The integer part of 2^32 times the absolute sine of 1 to 64.
#[rustfmt::skip]
const SINES: [u32; 64] = [
    0xd76a_a478, 0xe8c7_b756, 0x2420_70db, 0xc1bd_ceee,
    0xf57c_0faf, 0x4787_c62a, 0xa830_4613, 0xfd46_9501,
    0x6980_98d8, 0x8b44_f7af, 0xffff_5bb1, 0x895c_d7be,
    0x6b90_1122, 0xfd98_7193, 0xa679_438e, 0x49b4_0821,
    0xf61e_2562, 0xc040_b340, 0x265e_5a51, 0xe9b6_c7aa,
    0xd62f_105d, 0x0244_1453, 0xd8a1_e681, 0xe7d3_fbc8,
    0x21e1_cde6, 0xc337_07d6, 0xf4d5_0d87, 0x455a_14ed,
    0xa9e3_e905, 0xfcef_a3f8, 0x676f_02d9, 0x8d2a_4c8a,
    0xfffa_3942, 0x8771_f681, 0x6d9d_6122, 0xfde5_380c,
    0xa4be_ea44, 0x4bde_cfa9, 0xf6bb_4b60, 0xbebf_bc70,
    0x289b_7ec6, 0xeaa1_27fa, 0xd4ef_3085, 0x0488_1d05,
    0xd9d4_d039, 0xe6db_99e5, 0x1fa2_7cf8, 0xc4ac_5665,
    0xf429_2244, 0x432a_ff97, 0xab94_23a7, 0xfc93_a039,
    0x655b_59c3, 0x8f0c_cc92, 0xffef_f47d, 0x8584_5dd1,
    0x6fa8_7e4f, 0xfe2c_e6e0, 0xa301_4314, 0x4e08_11a1,
    0xf753_7e82, 0xbd3a_f235, 0x2ad7_d2bb, 0xeb86_d391,
];

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

    #[test]
    fn the_table_is_the_sines() {
        for (i, &sine) in SINES.iter().enumerate() {
            assert_eq!(sine, ((i as f64 + 1.0).sin().abs() * 4_294_967_296.0) as u32);
        }
    }
}
