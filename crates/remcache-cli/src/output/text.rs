//! Bytes as text for people, without control over the terminal.

use std::borrow::Cow;
use std::fmt::Write as _;

use crate::escape::{escape_line, is_unsafe};

/// Returns a key, or other bytes without spaces, on one line: as they are if they are safe to display, else quoted.
///
/// The quoted form is `$'a\nb'`, which shells accept in place of the key. So a key with a line end is never
/// displayed like a key with a backslash and an `n`.
pub(crate) fn inline(bytes: &[u8]) -> Cow<'_, str> {
    match as_line(bytes) {
        Some(text) if !text.starts_with("$'") => Cow::Borrowed(text),
        _ => Cow::Owned(quoted(bytes)),
    }
}

fn quoted(bytes: &[u8]) -> String {
    let mut quoted = String::from("$'");
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '"' => quoted.push(c),
                c if c.is_ascii() => quoted.extend(std::ascii::escape_default(c as u8).map(char::from)),
                c if is_unsafe(c) => push_hex(c.encode_utf8(&mut [0; 4]).as_bytes(), &mut quoted),
                c => quoted.push(c),
            }
        }
        push_hex(chunk.invalid(), &mut quoted);
    }
    quoted.push('\'');
    quoted
}

fn push_hex(bytes: &[u8], text: &mut String) {
    for byte in bytes {
        // Writing to a String does not fail.
        let _ = write!(text, "\\x{byte:02x}");
    }
}

/// Returns the bytes as text, if they are UTF-8 and a line can hold them as they are.
pub(crate) fn as_line(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok().filter(|text| !text.contains(is_unsafe))
}

/// Returns a line of a server with unsafe characters and invalid UTF-8 escaped.
pub(crate) fn escaped(bytes: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(bytes) {
        Ok(text) => escape_line(text),
        Err(_) => Cow::Owned(bytes.escape_ascii().to_string()),
    }
}

/// Returns a value as text, if it is UTF-8 without unsafe characters other than line ends and tabs.
pub(crate) fn as_text(bytes: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(bytes).ok()?;
    let is_safe = |c: char| !is_unsafe(c) || matches!(c, '\n' | '\r' | '\t');
    text.chars().all(is_safe).then_some(text)
}

/// Bytes as hexadecimal numbers and characters, 16 on a line.
pub(crate) fn hexdump(bytes: &[u8]) -> String {
    let mut dump = String::new();
    for (index, line) in bytes.chunks(16).enumerate() {
        let _ = write!(dump, "{:08x} ", index * 16);
        for byte in line {
            let _ = write!(dump, " {byte:02x}");
        }
        let characters: String =
            line.iter().map(|&byte| if matches!(byte, b' '..=b'~') { char::from(byte) } else { '.' }).collect();
        let _ = writeln!(dump, "{:blanks$}  {characters}", "", blanks = 3 * (16 - line.len()));
    }
    dump
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_that_could_control_a_terminal_is_escaped() {
        assert_eq!(inline("user:é".as_bytes()), "user:é");
        assert_eq!(inline(b"a\x1b[2J"), "$'a\\x1b[2J'");
        assert_eq!(inline(b"\xff\n"), "$'\\xff\\n'");
        assert_eq!(inline("\u{202e}k".as_bytes()), "$'\\xe2\\x80\\xaek'");
        assert_eq!(escaped(b"GET a\x1b[2J\n"), "GET a\\x1b[2J\\n");
        assert_eq!(as_text(b"two\nlines\t"), Some("two\nlines\t"));
        assert_eq!(as_text(b"\x1b[2J"), None);
        assert_eq!(as_text("\u{202e}".as_bytes()), None);
        assert_eq!(as_text(b"\xff"), None);
    }

    #[test]
    fn different_keys_are_displayed_differently() {
        let keys: [&[u8]; 6] = [b"x\ny", b"x\\ny", b"$'x\\ny'", b"x'y", b"x\"\n", b"x\\\"\n"];
        let displayed: std::collections::HashSet<_> = keys.iter().map(|key| inline(key)).collect();
        assert_eq!(displayed.len(), keys.len(), "{displayed:?}");
        assert_eq!(inline(b"x\ny"), "$'x\\ny'");
        assert_eq!(inline(b"x\\ny"), "x\\ny");
    }

    #[test]
    fn hexadecimal_lines_align() {
        let dump = hexdump(b"0123456789abcdef\x00\xff");
        let expected = "\
00000000  30 31 32 33 34 35 36 37 38 39 61 62 63 64 65 66  0123456789abcdef
00000010  00 ff                                            ..
";
        assert_eq!(dump, expected);
    }
}
