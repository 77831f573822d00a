//! MD5 as ketama reads it: four little-endian words.

use md5::{Digest, Md5};

/// The digest of `input` as words: word `a` is made of the bytes 4a to 4a + 3, the least significant first.
pub(super) fn words(input: &[u8]) -> [u32; 4] {
    let digest: [u8; 16] = Md5::digest(input).into();
    let mut words = [0; 4];
    for (word, bytes) in words.iter_mut().zip(digest.as_chunks().0) {
        *word = u32::from_le_bytes(*bytes);
    }
    words
}

/// The word that is the hash of a key.
pub(super) fn first_word(input: &[u8]) -> u32 {
    words(input)[0]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::distribution::vectors;

    #[test]
    fn golden_hashes() {
        let hashes = vectors()["hashes"].as_object().unwrap().clone();
        assert_eq!(hashes.len(), 9);
        for (input, expected) in hashes {
            assert_eq!(expected["md5"], first_word(input.as_bytes()), "{input}");
        }
    }

    #[test]
    fn words_are_little_endian() {
        // RFC 1321, appendix A.5: MD5("abc") = 900150983cd24fb0d6963f7d28e17f72.
        assert_eq!(words(b"abc"), [0x9850_0190, 0xb04f_d23c, 0x7d3f_96d6, 0x727f_e128]);
    }
}
