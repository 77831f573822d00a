//! Austin Appleby's Murmur hashes: MurmurHash2 of 32 and 64 bits, MurmurHash3 of 32 bits.

/// Computes MurmurHash2 with the seed that libmemcached derives from the length.
pub(crate) fn murmur2(key: &[u8]) -> u32 {
    const M: u32 = 0x5bd1_e995;
    let (words, tail) = key.as_chunks();
    let start = seed_of_length(key) ^ key.len() as u32;
    let mut hash = words.iter().fold(start, |hash, &word| {
        let word = u32::from_le_bytes(word).wrapping_mul(M);
        hash.wrapping_mul(M) ^ (word ^ word >> 24).wrapping_mul(M)
    });
    if !tail.is_empty() {
        hash = (hash ^ little_endian(tail) as u32).wrapping_mul(M);
    }
    hash = (hash ^ hash >> 13).wrapping_mul(M);
    hash ^ hash >> 15
}

/// Computes MurmurHash3 of 32 bits with the seed that libmemcached derives from the length.
pub(crate) fn murmur3_seeded(key: &[u8]) -> u32 {
    Murmur3::with_seed(seed_of_length(key)).and(key.iter().copied()).finish()
}

/// Computes MurmurHash3 of 32 bits with the seed 0.
pub(crate) fn murmur3(key: &[u8]) -> u32 {
    Murmur3::with_seed(0).and(key.iter().copied()).finish()
}

/// Computes MurmurHash2 of 64 bits.
pub(crate) fn murmur64a(key: &[u8], seed: u32) -> u64 {
    const M: u64 = 0xc6a4_a793_5bd1_e995;
    let (words, tail) = key.as_chunks();
    let start = u64::from(seed) ^ (key.len() as u64).wrapping_mul(M);
    let mut hash = words.iter().fold(start, |hash, &word| {
        let word = u64::from_le_bytes(word).wrapping_mul(M);
        (hash ^ (word ^ word >> 47).wrapping_mul(M)).wrapping_mul(M)
    });
    if !tail.is_empty() {
        hash = (hash ^ little_endian(tail)).wrapping_mul(M);
    }
    hash = (hash ^ hash >> 47).wrapping_mul(M);
    hash ^ hash >> 47
}

/// The state of an incremental MurmurHash3 of 32 bits, so that common prefixes are hashed once.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Murmur3 {
    hash: u32,
    /// The bytes of an incomplete word, the first the least significant.
    tail: u32,
    len: u32,
}

impl Murmur3 {
    pub(crate) fn with_seed(seed: u32) -> Self {
        Self { hash: seed, tail: 0, len: 0 }
    }

    /// Appends bytes.
    pub(crate) fn and(mut self, bytes: impl IntoIterator<Item = u8>) -> Self {
        for byte in bytes {
            self.tail |= u32::from(byte) << (8 * (self.len % 4));
            self.len = self.len.wrapping_add(1);
            if self.len.is_multiple_of(4) {
                self.hash = (self.hash ^ scramble(self.tail)).rotate_left(13).wrapping_mul(5).wrapping_add(0xe654_6b64);
                self.tail = 0;
            }
        }
        self
    }

    pub(crate) fn finish(self) -> u32 {
        // An empty tail is zero and scrambles to zero, so it has no effect.
        let hash = self.hash ^ scramble(self.tail) ^ self.len;
        let hash = (hash ^ hash >> 16).wrapping_mul(0x85eb_ca6b);
        let hash = (hash ^ hash >> 13).wrapping_mul(0xc2b2_ae35);
        hash ^ hash >> 16
    }
}

fn scramble(word: u32) -> u32 {
    word.wrapping_mul(0xcc9e_2d51).rotate_left(15).wrapping_mul(0x1b87_3593)
}

fn seed_of_length(key: &[u8]) -> u32 {
    0xdead_beef_u32.wrapping_mul(key.len() as u32)
}

fn little_endian(tail: &[u8]) -> u64 {
    tail.iter().rev().fold(0, |number, &byte| number << 8 | u64::from(byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn murmur3_of_a_known_sentence() {
        // Published test values of MurmurHash3_x86_32.
        assert_eq!(murmur3(b""), 0);
        assert_eq!(murmur3(b"The quick brown fox jumps over the lazy dog"), 0x2e4f_f723);
    }

    #[test]
    fn splitting_the_input_does_not_change_the_hash() {
        let text: Vec<u8> = (0..=200).collect();
        for cut in 0..text.len() {
            let (front, back) = text.split_at(cut);
            let in_two = Murmur3::with_seed(0).and(front.iter().copied()).and(back.iter().copied());
            assert_eq!(in_two.finish(), murmur3(&text), "cut at {cut}");
        }
    }
}
