//! Conversion of any text to a valid key.

use sha2::{Digest, Sha256};

/// Returns the text, or its hash if it is not a valid memcached key.
pub(crate) fn key(text: String) -> String {
    let is_valid = text.len() <= MAX_LENGTH && text.bytes().all(|byte| byte.is_ascii_graphic());
    if is_valid && !text.starts_with(HASH_PREFIX) && !text.is_empty() {
        return text;
    }
    format!("{HASH_PREFIX}{}", hex::encode(Sha256::digest(text.as_bytes())))
}

const HASH_PREFIX: &str = "sha256:";
/// A key has at most 250 bytes, with the name of the cache and the namespace of the client.
const MAX_LENGTH: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_that_is_not_a_key_is_hashed() {
        assert_eq!(key("user/42:ä".to_owned()).len(), 7 + 64);
        assert_eq!(key("user/42".to_owned()), "user/42");
        let long = "x".repeat(MAX_LENGTH);
        assert_eq!(key(long.clone()), long);
        let mut keys: Vec<String> =
            ["", "a b", "a\tb", &format!("{long}x"), &key("a b".to_owned())].map(|text| key(text.to_owned())).into();
        assert!(keys.iter().all(|key| key.len() == 7 + 64));
        keys.dedup();
        assert_eq!(keys.len(), 5, "a text that looks like a hash is another key");
    }
}
