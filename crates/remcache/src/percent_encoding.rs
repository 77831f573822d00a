//! Percent-decoding for URLs.

pub(crate) const BAD_PERCENT: &str = "a % must be followed by two hexadecimal digits; write % itself as %25";

/// Decodes percent-encoded text.
pub(crate) fn decoded_text(text: &str) -> Result<String, String> {
    let decoded = percent_decoded(text).ok_or(BAD_PERCENT)?;
    String::from_utf8(decoded).map_err(|_| "the percent-encoded bytes are not UTF-8".into())
}

/// Decodes percent-encoded bytes; `None` if a `%` is not followed by two hexadecimal digits.
pub(crate) fn percent_decoded(text: &str) -> Option<Vec<u8>> {
    // Allocated with its full length, because a growing vector leaves copies behind that are not zeroized.
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'%' => hexadecimal(bytes.next()?)? << 4 | hexadecimal(bytes.next()?)?,
            byte => byte,
        });
    }
    Some(decoded)
}

/// Encodes bytes as text without spaces and control characters.
pub(crate) fn percent_encoded(bytes: &[u8]) -> String {
    let mut encoded = String::with_capacity(bytes.len());
    for &byte in bytes {
        match byte {
            b'!'..=b'~' if byte != b'%' => encoded.push(char::from(byte)),
            _ => encoded.push_str(&format!("%{byte:02x}")),
        }
    }
    encoded
}

fn hexadecimal(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}
