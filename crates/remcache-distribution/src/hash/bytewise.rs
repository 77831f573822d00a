//! Hashes that process a key one character at a time.

use super::Chars;

/// Computes Bob Jenkins's one-at-a-time hash.
pub(crate) fn one_at_a_time(key: &[u8], chars: Chars) -> u32 {
    let mixed = fold(key, chars, 0, |hash, char| {
        let hash = hash.wrapping_add(char);
        let hash = hash.wrapping_add(hash << 10);
        hash ^ hash >> 6
    });
    let hash = mixed.wrapping_add(mixed << 3);
    let hash = hash ^ hash >> 11;
    hash.wrapping_add(hash << 15)
}

/// Computes FNV-1, which multiplies first.
pub(crate) fn fnv1(key: &[u8], chars: Chars, fnv: Fnv) -> u32 {
    fold(key, chars, fnv.start, |hash, char| hash.wrapping_mul(fnv.prime) ^ char)
}

/// Computes FNV-1a, which multiplies last.
pub(crate) fn fnv1a(key: &[u8], chars: Chars, fnv: Fnv) -> u32 {
    fold(key, chars, fnv.start, |hash, char| (hash ^ char).wrapping_mul(fnv.prime))
}

/// Java's `String.hashCode`.
pub(crate) fn java(key: &[u8], chars: Chars) -> u32 {
    fold(key, chars, 0, |hash, char| hash.wrapping_mul(31).wrapping_add(char))
}

/// The parameters of an FNV hash of 32 or 64 bits.
#[derive(Clone, Copy)]
pub(crate) struct Fnv {
    start: u32,
    prime: u32,
}

pub(crate) const BITS_32: Fnv = Fnv { start: 0x811c_9dc5, prime: 0x0100_0193 };

/// The lower halves of the 64-bit parameters: clients use only the lower half of the hash, which depends on nothing
/// else.
///
/// libmemcached's `fnv1a_64` also computes with the lower halves only; the upper half, in which the results would
/// differ for signed characters, is not used.
pub(crate) const BITS_64: Fnv = Fnv { start: 0x8422_2325, prime: 0x0000_01b3 };

fn fold(key: &[u8], chars: Chars, start: u32, step: impl Fn(u32, u32) -> u32) -> u32 {
    match chars {
        Chars::Signed => key.iter().fold(start, |hash, &byte| step(hash, i32::from(byte as i8) as u32)),
        Chars::Unsigned => key.iter().fold(start, |hash, &byte| step(hash, u32::from(byte))),
        Chars::Utf16 => {
            let text = String::from_utf8_lossy(key);
            text.encode_utf16().fold(start, |hash, unit| step(hash, u32::from(unit)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_java_string_is_hashed_by_its_utf16_units() {
        // "été".hashCode() and "😀".hashCode() as the definition has it: s[0]*31^(n-1) + … + s[n-1].
        let by_hand = |units: &[u32]| units.iter().fold(0_u32, |hash, unit| hash.wrapping_mul(31).wrapping_add(*unit));
        assert_eq!(java("été".as_bytes(), Chars::Utf16), by_hand(&[0xe9, 0x74, 0xe9]));
        assert_eq!(java("😀".as_bytes(), Chars::Utf16), by_hand(&[0xd83d, 0xde00]));
        assert_eq!(java(b"Hello", Chars::Utf16), 69_609_650);
    }
}
