//! Bytes as text, without letting them command the terminal.

use std::borrow::Cow;
use std::fmt::Write as _;

/// A key on a line of its own: as it is if it is harmless text, else escaped.
pub(crate) fn inline(bytes: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.chars().any(char::is_control) => Cow::Borrowed(text),
        _ => Cow::Owned(bytes.escape_ascii().to_string()),
    }
}

/// A value as text, if it is: UTF-8, with no control characters but line ends and tabs.
pub(crate) fn as_text(bytes: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(bytes).ok()?;
    let is_harmless = |c: char| !c.is_control() || matches!(c, '\n' | '\r' | '\t');
    text.chars().all(is_harmless).then_some(text)
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
    fn what_could_command_a_terminal_is_escaped() {
        assert_eq!(inline("user:é".as_bytes()), "user:é");
        assert_eq!(inline(b"a\x1b[2J"), "a\\x1b[2J");
        assert_eq!(inline(b"\xff\n"), "\\xff\\n");
        assert_eq!(as_text(b"two\nlines\t"), Some("two\nlines\t"));
        assert_eq!(as_text(b"\x1b[2J"), None);
        assert_eq!(as_text(b"\xff"), None);
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
