//! URI escaping of keys, in dumps and log lines.

use std::fmt::Write;

/// Escapes a key: bytes that are not unreserved in URIs become `%XX`.
pub(crate) fn uri_escape(key: &[u8]) -> String {
    let mut text = String::with_capacity(key.len());
    for byte in key {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => text.push(char::from(*byte)),
            // Writing to a string does not fail.
            _ => drop(write!(text, "%{byte:02X}")),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reserved_bytes_are_escaped() {
        assert_eq!(uri_escape(b"a-Z_9.~ %\xff"), "a-Z_9.~%20%25%FF");
    }
}
