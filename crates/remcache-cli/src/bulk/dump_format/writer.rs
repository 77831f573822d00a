//! Writes the items of a dump.

use std::io::{self, Write as _};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::escape::{escape_json, is_unsafe};

/// Appends an item as a line of JSON.
pub(crate) fn write(key: &[u8], value: &[u8], flags: u32, expires: Option<u64>, line: &mut Vec<u8>) {
    line.push(b'{');
    write_bytes("key", key, line);
    line.push(b',');
    write_bytes("value", value, line);
    line.extend_from_slice(format!(",\"flags\":{flags}").as_bytes());
    if let Some(expires) = expires {
        line.extend_from_slice(format!(",\"expires\":{expires}").as_bytes());
    }
    line.extend_from_slice(b"}\n");
}

fn write_bytes(name: &str, bytes: &[u8], line: &mut Vec<u8>) {
    line.push(b'"');
    line.extend_from_slice(name.as_bytes());
    match std::str::from_utf8(bytes) {
        Ok(text) => {
            line.extend_from_slice(b"\":");
            // Writing to memory does not fail.
            let _ = match is_plain(text) {
                true => serde_json::to_writer(line, text).map_err(io::Error::from),
                false => line.write_all(escape_json(&serde_json::to_string(text).unwrap_or_default()).as_bytes()),
            };
        }
        Err(_) => {
            line.extend_from_slice(b"_b64\":\"");
            line.extend_from_slice(STANDARD.encode(bytes).as_bytes());
            line.push(b'"');
        }
    }
}

/// Returns whether a text has no characters that JSON allows but a terminal must not get. Most texts are ASCII, for
/// which this is a fast check.
fn is_plain(text: &str) -> bool {
    (text.is_ascii() && !text.as_bytes().contains(&0x7f)) || !text.contains(is_unsafe)
}
