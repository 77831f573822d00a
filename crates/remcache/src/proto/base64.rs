//! Base64 with padding, as meta's binary keys are written (RFC 4648, section 4).

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Appends the text of these bytes.
pub(crate) fn encode(bytes: &[u8], target: &mut Vec<u8>) {
    for group in bytes.chunks(3) {
        let byte = |at: usize| u32::from(group.get(at).copied().unwrap_or_default());
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for (place, shift) in [18, 12, 6, 0].into_iter().enumerate() {
            let index = (bits >> shift & 63) as usize;
            let letter = ALPHABET.get(index).copied().unwrap_or_default();
            target.push(if place <= group.len() { letter } else { b'=' });
        }
    }
}

/// The bytes of a text; `None` if it is empty, not padded, or no base64.
pub(crate) fn decode(text: &[u8]) -> Option<Vec<u8>> {
    let (groups, rest) = text.as_chunks::<4>();
    if groups.is_empty() || !rest.is_empty() {
        return None;
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut ended = false;
    for group in groups {
        let padding = group.iter().rev().take_while(|letter| **letter == b'=').count();
        if padding > 2 || ended {
            return None;
        }
        ended = padding > 0;
        let mut bits = 0_u32;
        for (place, letter) in group.iter().enumerate() {
            let is_padding = place.saturating_add(padding) >= 4;
            bits = bits << 6 | if is_padding { 0 } else { value(*letter)? };
        }
        let [_, decoded @ ..] = bits.to_be_bytes();
        bytes.extend(decoded.into_iter().take(3_usize.saturating_sub(padding)));
    }
    Some(bytes)
}

fn value(letter: u8) -> Option<u32> {
    ALPHABET.iter().zip(0..).find_map(|(known, value)| (*known == letter).then_some(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways() {
        // RFC 4648, section 10, and bytes that are no text.
        let cases: &[(&[u8], &str)] = &[
            (b"f", "Zg=="),
            (b"fo", "Zm8="),
            (b"foo", "Zm9v"),
            (b"foob", "Zm9vYg=="),
            (b"fooba", "Zm9vYmE="),
            (b"foobar", "Zm9vYmFy"),
            (b"\x00\x01\xc7 bin", "AAHHIGJpbg=="),
            (b"\xff\xff\xfe", "///+"),
        ];
        for (bytes, text) in cases {
            let mut encoded = Vec::new();
            encode(bytes, &mut encoded);
            assert_eq!(encoded, text.as_bytes());
            assert_eq!(decode(text.as_bytes()).as_deref(), Some(*bytes), "{text}");
        }
    }

    #[test]
    fn what_is_no_base64() {
        for text in ["", "Zg", "Zg=", "Z===", "====", "Zg==Zm9v", "Z=9v", "a*cd", "Zm9v\n", "Zm 9"] {
            assert_eq!(decode(text.as_bytes()), None, "{text:?}");
        }
    }
}
