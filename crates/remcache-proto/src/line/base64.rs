//! Base64 for keys of the meta protocol: the standard alphabet, padded (docs/protocol.md 4.1).

/// The most bytes whose base64 is no longer than the longest key: 186 become 248.
pub(crate) const MAX_BYTES: usize = 186;
/// The length of the longest encoded key.
const MAX_LEN: usize = 248;

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const PADDING: u8 = b'=';

/// A base64-encoded key, on the stack.
pub(crate) struct EncodedKey {
    bytes: [u8; MAX_LEN],
    length: usize,
}

impl EncodedKey {
    /// Encodes a key; `None` if it is too long.
    pub(crate) fn of(key: &[u8]) -> Option<Self> {
        if key.len() > MAX_BYTES {
            return None;
        }
        let mut encoded = Self { bytes: [PADDING; MAX_LEN], length: key.len().div_ceil(3).saturating_mul(4) };
        for (group, four) in key.chunks(3).zip(encoded.bytes.chunks_mut(4)) {
            let digits = digits(group);
            let used = group.len().saturating_add(1);
            for (target, digit) in four.iter_mut().zip(digits).take(used) {
                *target = ALPHABET.get(usize::from(digit)).copied().unwrap_or(PADDING);
            }
        }
        Some(encoded)
    }

    pub(crate) fn as_slice(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }
}

/// Splits up to three bytes into four digits of six bits.
fn digits(group: &[u8]) -> [u8; 4] {
    let at = |index: usize| group.get(index).copied().unwrap_or(0);
    let (a, b, c) = (at(0), at(1), at(2));
    [a >> 2, (a & 0x03) << 4 | b >> 4, (b & 0x0f) << 2 | c >> 6, c & 0x3f]
}

/// Decodes padded base64; `None` if it is invalid.
pub(crate) fn decode(text: &[u8]) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(4) {
        return None;
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut groups = text.chunks_exact(4).peekable();
    while let Some(group) = groups.next() {
        let is_last = groups.peek().is_none();
        let padding = group.iter().rev().take_while(|byte| **byte == PADDING).count();
        if padding > 2 || (padding > 0 && !is_last) {
            return None;
        }
        let used = 4_usize.saturating_sub(padding);
        let mut word = 0_u32;
        for (index, byte) in group.iter().enumerate() {
            word = word << 6 | if index < used { value(*byte)? } else { 0 };
        }
        let [_, three @ ..] = word.to_be_bytes();
        let (decoded, rest) = three.split_at_checked(used.saturating_sub(1))?;
        // Padding bits must be zero, so that each key has exactly one encoding.
        if rest.iter().any(|byte| *byte != 0) {
            return None;
        }
        bytes.extend_from_slice(decoded);
    }
    Some(bytes)
}

fn value(digit: u8) -> Option<u32> {
    let value = match digit {
        b'A'..=b'Z' => digit.wrapping_sub(b'A'),
        b'a'..=b'z' => digit.wrapping_sub(b'a').wrapping_add(26),
        b'0'..=b'9' => digit.wrapping_sub(b'0').wrapping_add(52),
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    };
    Some(u32::from(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(bytes: &[u8]) -> String {
        String::from_utf8(EncodedKey::of(bytes).unwrap().as_slice().to_vec()).unwrap()
    }

    #[test]
    fn as_the_standard_says() {
        for (bytes, expected) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(text(bytes.as_bytes()), expected);
            assert_eq!(decode(expected.as_bytes()), Some(bytes.as_bytes().to_vec()));
        }
    }

    #[test]
    fn every_byte_in_every_place_survives() {
        for byte in 0..=u8::MAX {
            for length in 1..=7 {
                for index in 0..length {
                    let mut key = vec![b'k'; length];
                    key[index] = byte;
                    assert_eq!(decode(text(&key).as_bytes()), Some(key));
                }
            }
        }
    }

    #[test]
    fn the_longest_key_fits() {
        assert_eq!(text(&[0xff; MAX_BYTES]).len(), MAX_LEN);
        assert!(EncodedKey::of(&[0xff; MAX_BYTES + 1]).is_none());
    }

    #[test]
    fn invalid_base64_is_refused() {
        for text in ["Z", "Zg", "Zg=", "Zm9", "====", "Z===", "Zg==Zg==", "Zh==", "a*cd", "Zm8=\n"] {
            assert_eq!(decode(text.as_bytes()), None, "{text}");
        }
    }
}
