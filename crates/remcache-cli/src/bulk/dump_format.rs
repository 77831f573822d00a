//! The format of dumps: one JSON document per item.

use std::io::{self, BufRead, Read as _, Write as _};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use remcache::Key;
use serde::Deserialize;

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

/// Whether a text has no characters that JSON allows but a terminal must not get. Most texts are ASCII, for which
/// this is a fast check.
fn is_plain(text: &str) -> bool {
    (text.is_ascii() && !text.as_bytes().contains(&0x7f)) || !text.contains(is_unsafe)
}

/// An item of a dump.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct DumpItem {
    pub(crate) key: Bytes,
    pub(crate) value: Bytes,
    pub(crate) flags: u32,
    /// In seconds of Unix time; `None` for never.
    pub(crate) expires: Option<u64>,
}

/// An item as its JSON document. Unknown fields are errors: an item without the time to live that a field `ttl` was
/// meant to give would be stored for ever.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct JsonItem {
    key: Option<String>,
    key_b64: Option<String>,
    value: Option<String>,
    value_b64: Option<String>,
    #[serde(default)]
    flags: u32,
    expires: Option<u64>,
}

/// Reads the items of a dump. Each JSON document is on a line of its own, or formatted over several lines.
#[derive(Debug)]
pub(crate) struct DumpReader<R> {
    input: R,
    /// The number of the last line that was read.
    pub(crate) number: u64,
    text: Vec<u8>,
}

impl<R: BufRead> DumpReader<R> {
    pub(crate) fn new(input: R) -> Self {
        Self { input, number: 0, text: Vec::new() }
    }

    /// Skips lines.
    pub(crate) fn skip(&mut self, lines: u64) -> Result<(), String> {
        while self.number < lines && self.read_line()? {
            self.text.clear();
        }
        Ok(())
    }

    /// Reads the next item; `None` at the end. Errors begin with the number of the line.
    pub(crate) fn next(&mut self) -> Result<Option<DumpItem>, String> {
        self.text.clear();
        while self.text.iter().all(u8::is_ascii_whitespace) {
            self.text.clear();
            self.check_first_byte()?;
            if !self.read_line()? {
                return Ok(None);
            }
        }
        let first = self.number;
        loop {
            let written = match serde_json::from_slice::<JsonItem>(&self.text) {
                Ok(written) => written,
                // The document continues on the next line.
                Err(error) if error.is_eof() && self.read_line()? => continue,
                Err(error) if error.is_eof() => return Err(format!("line {first}: the input ends within this item")),
                Err(error) => return Err(json_error(&error, first)),
            };
            return written.entry().map(Some).map_err(|error| format!("line {first}: {error}"));
        }
    }

    /// Rejects a file that is not a dump before its first line, which may be endless, is in memory.
    fn check_first_byte(&mut self) -> Result<(), String> {
        let number = self.number + 1;
        let next = self.input.fill_buf().map_err(|error| format!("line {number}: {error}"))?;
        match next.first() {
            Some(byte) if *byte != b'{' && !byte.is_ascii_whitespace() => {
                Err(format!("line {number}: not an item of a dump, which begins with {{\"key\":…,\"value\":…}}"))
            }
            _ => Ok(()),
        }
    }

    /// Appends a line to the text; returns false at the end.
    fn read_line(&mut self) -> Result<bool, String> {
        let number = self.number + 1;
        let read = self.input.by_ref().take(MAX_LINE).read_until(b'\n', &mut self.text);
        match read {
            Ok(0) => Ok(false),
            Ok(_) if self.text.len() as u64 >= MAX_LINE => Err(format!("line {number}: too long for an item")),
            Ok(_) => {
                self.number = number;
                Ok(true)
            }
            Err(error) => Err(format!("line {number}: {error}")),
        }
    }
}

impl JsonItem {
    fn entry(self) -> Result<DumpItem, String> {
        let key = bytes("key", self.key, self.key_b64)?;
        Key::new(&key).map_err(|invalid| invalid.to_string())?;
        let value = bytes("value", self.value, self.value_b64)?;
        // Protocols have 32 bits for a time, which end in 2106.
        if self.expires.is_some_and(|at| at >= u64::from(u32::MAX)) {
            return Err("expires is not a time in seconds of Unix time before 2106".into());
        }
        Ok(DumpItem { key, value, flags: self.flags, expires: self.expires })
    }
}

fn bytes(name: &str, text: Option<String>, base64: Option<String>) -> Result<Bytes, String> {
    match (text, base64) {
        (Some(text), None) => Ok(text.into()),
        (None, Some(base64)) => {
            STANDARD.decode(base64).map(Bytes::from).map_err(|error| format!("{name}_b64 is not base64: {error}"))
        }
        (None, None) => Err(format!("an item needs {name} or {name}_b64")),
        (Some(_), Some(_)) => Err(format!("an item has {name} or {name}_b64, not both")),
    }
}

/// The message of an error with its line; the document begins on line `first`.
fn json_error(error: &serde_json::Error, first: u64) -> String {
    let text = error.to_string();
    let mut message = text.rsplit_once(" at line ").map_or(&*text, |(message, _)| message).to_owned();
    if message.starts_with("unknown field `ttl`") {
        message.push_str("; expires is a time in seconds of Unix time");
    }
    // serde_json reports the end of a line as column 0 of the next line.
    let line = first + error.line() as u64 - 1;
    match error.column() {
        0 => format!("line {}: {message} at its end", line.saturating_sub(1).max(first)),
        column => format!("line {line}: {message} at column {column}"),
    }
}

/// Enough for the largest value, escaped as JSON.
const MAX_LINE: u64 = 2 << 30;

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &[u8]) -> Result<Vec<DumpItem>, String> {
        let mut lines = DumpReader::new(text);
        std::iter::from_fn(|| lines.next().transpose()).collect()
    }

    /// Key, value, flags and when it expires.
    type Item = (&'static [u8], &'static [u8], u32, Option<u64>);

    #[test]
    fn any_bytes_are_read_back() {
        let items: [Item; 4] = [
            (b"plain", b"text", 0, None),
            ("é \"\\".as_bytes(), b"two\nlines\t\x00", u32::MAX, Some(1_798_761_600)),
            (b"\xff \n", b"\x80", 7, Some(1)),
            (b"empty", b"", 1, None),
        ];
        let mut text = Vec::new();
        for (key, value, flags, expires) in items {
            write(key, value, flags, expires, &mut text);
        }
        assert_eq!(text.iter().filter(|&&byte| byte == b'\n').count(), items.len());
        let read = read(&text).unwrap();
        for (entry, (key, value, flags, expires)) in read.iter().zip(items) {
            assert_eq!((&*entry.key, &*entry.value, entry.flags, entry.expires), (key, value, flags, expires));
        }
        assert_eq!(read.len(), items.len());
    }

    #[test]
    fn documents_may_span_lines() {
        let text = b"\n{\n  \"key\": \"a\",\n  \"value\": \"1\",\n  \"flags\": 0\n}\r\n\n{\"key\":\"b\",\"value\":\"2\",\"expires\":null}";
        let keys: Vec<_> = read(text).unwrap().into_iter().map(|entry| entry.key).collect();
        assert_eq!(keys, ["a", "b"]);
    }

    #[test]
    fn errors_name_their_line() {
        for (text, what) in [
            (&b"{\"key\":\"a\",\"value\":\"1\"}\n{\"key\":\"b\",\"val"[..], "line 2: the input ends within this item"),
            (b"{\"key\":\"a\",\"val\n{\"key\":\"b\",\"value\":\"1\"}\n", "line 1: control character"),
            (b"hello\n", "line 1: not an item of a dump"),
            (b"\x00\x00", "line 1: not an item of a dump"),
            (b"\n\n{\"key\":\"a\"}\n", "line 3: an item needs value or value_b64"),
            (b"{\"value\":\"a\"}\n", "line 1: an item needs key or key_b64"),
            (b"{\"key\":\"a\",\"key_b64\":\"YQ==\",\"value\":\"\"}", "not both"),
            (b"{\"key\":\"a\",\"value_b64\":\"*\"}", "value_b64 is not base64"),
            (b"{\"key\":\"\",\"value\":\"\"}", "line 1: the key"),
            (b"{\"key\":\"a\",\"value\":\"\",\"flags\":-1}", "line 1: invalid value"),
            (b"{\"key\":\"a\",\"value\":\"\",\"expires\":99999999999}", "line 1: expires"),
            (b"{\"key\":\"a\",\"value\":\"\",\"ttl\":60}", "line 1: unknown field `ttl`, expected one of `key`"),
            (b"{\"key\":\"a\",\"value\":\"\",\"ttl\":60}", "; expires is a time in seconds of Unix time at column"),
            (b"{\"key\":\"a\",\"value\":\"\",\"size\":60}", "line 1: unknown field `size`"),
            (b"{\"key\":\"\xff\",\"value\":\"\"}", "line 1: invalid unicode"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(what), "{error:?} for {:?}", text.escape_ascii().to_string());
        }
    }

    #[test]
    fn lines_can_be_skipped() {
        let text = b"nonsense\n{\"key\":\"b\",\"value\":\"\"}\n";
        let mut lines = DumpReader::new(&text[..]);
        lines.skip(1).unwrap();
        assert_eq!(lines.next().unwrap().unwrap().key, "b");
        assert_eq!(lines.number, 2);
    }
}
