//! Reads the items of a dump.

use std::fmt;
use std::io::{BufRead, Read as _};

use super::item::{DumpItem, JsonItem};

/// Why an item of the input cannot be read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum InputError {
    /// It is invalid; the items after it can be read.
    Invalid(InvalidItem),
    /// Reading failed: the line and the error.
    Unreadable(u64, String),
}

/// An item of the input that is invalid.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct InvalidItem {
    pub(crate) line: u64,
    /// The byte of the line, from 1, if the document is not JSON.
    pub(crate) column: Option<u64>,
    pub(crate) problem: String,
}

impl InputError {
    fn invalid(line: u64, problem: impl Into<String>) -> Self {
        Self::Invalid(InvalidItem { line, column: None, problem: problem.into() })
    }
}

impl fmt::Display for InputError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Invalid(InvalidItem { line, column: Some(column), problem }) => {
                write!(f, "line {line}, column {column}: {problem}")
            }
            Self::Invalid(InvalidItem { line, column: None, problem }) | Self::Unreadable(line, problem) => {
                write!(f, "line {line}: {problem}")
            }
        }
    }
}

/// Reads the items of a dump. Each JSON document is on a line of its own, or formatted over several lines.
#[derive(Debug)]
pub(crate) struct DumpReader<R> {
    input: R,
    /// The number of the last line that was read.
    pub(crate) number: u64,
    text: Vec<u8>,
    /// Whether the text is a line after an invalid item, and not yet an item.
    is_pending: bool,
    /// Whether the next line is no item, and is to be skipped. It may be endless, so it is left until it must be read.
    skips_line: bool,
}

impl<R: BufRead> DumpReader<R> {
    pub(crate) fn new(input: R) -> Self {
        Self { input, number: 0, text: Vec::new(), is_pending: false, skips_line: false }
    }

    /// Skips lines.
    pub(crate) fn skip(&mut self, lines: u64) -> Result<(), InputError> {
        while self.number < lines && self.read_line()? {
            self.text.clear();
        }
        Ok(())
    }

    /// Reads the next item; `None` at the end. After an invalid item, reading continues at the next line.
    pub(crate) fn next(&mut self) -> Result<Option<DumpItem>, InputError> {
        if std::mem::take(&mut self.skips_line) {
            self.skip_line()?;
        }
        if !std::mem::take(&mut self.is_pending) {
            self.text.clear();
        }
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
                Err(error) if error.is_eof() => {
                    return Err(InputError::invalid(first, "the input ends within this item"));
                }
                Err(error) => {
                    let error = json_error(&error, &self.text, first);
                    self.keep_next_item(first);
                    return Err(error);
                }
            };
            return written.item().map(Some).map_err(|problem| InputError::invalid(first, problem));
        }
    }

    /// Keeps the last line of an invalid item that began on line `first`, if it looks like an item of its own.
    fn keep_next_item(&mut self, first: u64) {
        let lines = self.text.strip_suffix(b"\n").unwrap_or(&self.text);
        let start = lines.iter().rposition(|&byte| byte == b'\n').map_or(0, |end| end + 1);
        if self.number > first && self.text[start..].starts_with(b"{") {
            self.text.drain(..start);
            self.is_pending = true;
        }
    }

    /// Rejects a line that is not an item before it, which may be endless, is in memory.
    fn check_first_byte(&mut self) -> Result<(), InputError> {
        let line = self.number + 1;
        let next = self.input.fill_buf().map_err(|error| InputError::Unreadable(line, error.to_string()))?;
        let problem = match next.first() {
            None | Some(b'{') => return Ok(()),
            Some(byte) if byte.is_ascii_whitespace() => return Ok(()),
            Some(b'[') => "a JSON array; write each item on a line of its own: jq -c '.[]'",
            Some(_) => "not an item of a dump, which begins with {\"key\":…,\"value\":…}",
        };
        self.skips_line = true;
        Err(InputError::invalid(line, problem))
    }

    /// Skips a line without keeping it in memory.
    fn skip_line(&mut self) -> Result<(), InputError> {
        self.number += 1;
        let skipped = self.input.skip_until(b'\n');
        skipped.map(|_| ()).map_err(|error| InputError::Unreadable(self.number, error.to_string()))
    }

    /// Appends a line to the text; returns false at the end.
    fn read_line(&mut self) -> Result<bool, InputError> {
        let number = self.number + 1;
        let read = self.input.by_ref().take(MAX_LINE).read_until(b'\n', &mut self.text);
        match read {
            Ok(0) => Ok(false),
            Ok(_) if self.text.len() as u64 >= MAX_LINE => {
                Err(InputError::Unreadable(number, "too long for an item".into()))
            }
            Ok(_) => {
                self.number = number;
                Ok(true)
            }
            Err(error) => Err(InputError::Unreadable(number, error.to_string())),
        }
    }
}

/// Returns the error of a document whose first line is `first`.
fn json_error(error: &serde_json::Error, document: &[u8], first: u64) -> InputError {
    let text = error.to_string();
    let mut problem = text.rsplit_once(" at line ").map_or(&*text, |(problem, _)| problem).to_owned();
    if EXPIRY_NAMES.iter().any(|name| problem.starts_with(&format!("unknown field `{name}`"))) {
        problem.push_str("; expires is a time in seconds of Unix time");
    }
    let (line, column) = match (error.line(), error.column()) {
        // serde_json reports the end of a line as column 0 of the next line.
        (next, 0) if next > 1 => {
            let line = document.split(|&byte| byte == b'\n').nth(next - 2).unwrap_or_default();
            (next - 1, line.len() + 1)
        }
        position => position,
    };
    let (line, column) = (first + line as u64 - 1, Some(column as u64));
    InputError::Invalid(InvalidItem { line, column, problem })
}

/// Names that other programs have for the time when an item expires.
const EXPIRY_NAMES: &[&str] =
    &["ttl", "exp", "expire", "expiry", "expires_at", "expiration", "exptime", "expiry_time", "time_to_live"];

/// Enough for the largest value, escaped as JSON.
const MAX_LINE: u64 = 2 << 30;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bulk::write_item;

    fn read(text: &[u8]) -> Result<Vec<DumpItem>, String> {
        let mut lines = DumpReader::new(text);
        let items = std::iter::from_fn(|| lines.next().transpose());
        items.map(|item| item.map_err(|error| error.to_string())).collect()
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
            write_item(key, value, flags, expires, &mut text);
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
            (b"{\"key\":\"a\",\"val\n{\"key\":\"b\",\"value\":\"1\"}\n", "line 1, column 16: control character"),
            (b"hello\n", "line 1: not an item of a dump"),
            (b"\x00\x00", "line 1: not an item of a dump"),
            (b"\n\n{\"key\":\"a\"}\n", "line 3: an item needs value or value_b64"),
            (b"{\"value\":\"a\"}\n", "line 1: an item needs key or key_b64"),
            (b"{\"key\":\"a\",\"key_b64\":\"YQ==\",\"value\":\"\"}", "not both"),
            (b"{\"key\":\"a\",\"value_b64\":\"*\"}", "value_b64 is not base64"),
            (b"{\"key\":\"\",\"value\":\"\"}", "line 1: the key"),
            (b"{\"key\":\"a\",\"value\":\"\",\"flags\":-1}", "line 1: flags is -1, expected a number from 0"),
            (b"{\"key\":\"a\",\"value\":\"\",\"expires\":99999999999}", "line 1: expires is 99999999999, expected"),
            (b"{\"key\":\"a\",\"value\":\"\",\"expires\":1798761600.5}", "expected a whole number of seconds"),
            (b"{\"key\":\"a\",\"value\":{\"b\":1}}", "line 1: value is an object, expected a string"),
            (b"{\"key\":7,\"value\":\"\"}", "line 1: key is 7, expected a string"),
            (b"{\"key\":\"a\",\"value_b64\":\"*\"}", "invalid character '*' after 0 others"),
            (b"{\"key\":\"a\",\"value\":\"\",\"expiry\":60}", "; expires is a time in seconds of Unix time"),
            (b"[\n{\"key\":\"a\",\"value\":\"\"}\n]", "line 1: a JSON array; write each item on a line"),
            (
                b"{\"key\":\"a\",\n\"value\":\"\",\"ttl\":60}",
                "line 2, column 16: unknown field `ttl`, expected one of `key`",
            ),
            (b"{\"key\":\"a\",\"value\":\"\",\"size\":60}", "line 1, column 28: unknown field `size`"),
            (b"{\"key\":\"\xff\",\"value\":\"\"}", "line 1, column 9: invalid unicode"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(what), "{error:?} for {:?}", text.escape_ascii().to_string());
        }
    }

    #[test]
    fn reading_continues_after_an_invalid_item() {
        let text = b"hello\n{\"key\":\"a\",\"value\":\"\"}\n{\"key\":\"b\",\n{\"key\":\"c\",\"value\":\"\"}\n{\"key\":1}\n{\"key\":\"d\",\"value\":\"\"}";
        let mut lines = DumpReader::new(&text[..]);
        let (mut keys, mut invalid) = (Vec::new(), Vec::new());
        loop {
            match lines.next() {
                Ok(Some(item)) => keys.push(item.key),
                Ok(None) => break,
                Err(InputError::Invalid(item)) => invalid.push(item.line),
                Err(error) => panic!("{error}"),
            }
        }
        assert_eq!(keys, ["a", "c", "d"]);
        assert_eq!(invalid, [1, 4, 5]);
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
