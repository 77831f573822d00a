//! Keys made of hashes.

use sha2::{Digest, Sha256};

/// Returns a key: the prefix and a hash of the parts, in hexadecimal.
///
/// Each part is hashed with its length, so that different lists of parts have different keys.
pub(crate) fn key(prefix: &str, parts: &[&[u8]]) -> String {
    format!("{prefix}{}", hex::encode(hash(parts)))
}

/// Returns the SHA-256 hash of the parts.
pub(crate) fn hash(parts: &[&[u8]]) -> [u8; 32] {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update((part.len() as u64).to_be_bytes());
        hasher.update(part);
    }
    hasher.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGITS: &[u8; 16] = b"0123456789abcdef";

    #[test]
    fn parts_are_not_confused() {
        assert_ne!(hash(&[b"ab", b"c"]), hash(&[b"a", b"bc"]));
        assert_ne!(hash(&[b"a"]), hash(&[b"a", b""]));
    }

    #[test]
    fn a_key_is_the_prefix_and_hexadecimal_digits() {
        let key = key("limit:", &[b"with space \r\n"]);
        assert_eq!(key.len(), 6 + 64);
        assert!(key.starts_with("limit:") && key.bytes().skip(6).all(|byte| DIGITS.contains(&byte)), "{key}");
    }
}
