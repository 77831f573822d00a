//! Escapes text from servers, files and keys, so that it cannot control the terminal.

use std::borrow::Cow;

/// Returns whether a character could control a terminal, or change the order in which text is displayed.
///
/// Besides control characters these are the bidirectional controls and the line separators of Unicode,
/// and the characters without any width, tag characters among them, that make two different keys look alike.
pub(crate) fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}')
        || matches!(c, '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}')
        || matches!(c, '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}')
        || matches!(c, '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

/// Returns the text with unsafe characters as `\n`, `\x1b` or `\u{202e}`; line ends and tabs stay.
pub(crate) fn escape(text: &str) -> Cow<'_, str> {
    escape_if(text, |c| is_unsafe(c) && !matches!(c, '\n' | '\t'))
}

/// Returns the text on one line: unsafe characters as `\n`, `\x1b` or `\u{202e}`.
pub(crate) fn escape_line(text: &str) -> Cow<'_, str> {
    escape_if(text, is_unsafe)
}

/// Returns a JSON document with unsafe characters as `\u202e`. They can only be in strings, so it means the same.
pub(crate) fn escape_json(json: &str) -> Cow<'_, str> {
    // The document itself may be laid out over lines; within strings, line ends are escaped already.
    let is_escaped = |c: char| is_unsafe(c) && !matches!(c, '\n' | '\r' | '\t');
    replace(json, is_escaped, |c, escaped| {
        let units = c.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}")).collect::<String>();
        escaped.push_str(&units);
    })
}

/// Returns the text for Prometheus with unsafe characters as `\\x1b`. They can only be in labels, where a backslash is
/// doubled.
#[cfg(feature = "serve-metrics")]
pub(crate) fn escape_prometheus(text: &str) -> Cow<'_, str> {
    replace(
        text,
        |c| is_unsafe(c) && c != '\n',
        |c, escaped| {
            escaped.push('\\');
            push_escape(c, escaped);
        },
    )
}

fn escape_if(text: &str, is_escaped: impl Fn(char) -> bool) -> Cow<'_, str> {
    replace(text, is_escaped, push_escape)
}

/// Appends a character as `\n`, `\x1b` or `\u{202e}`.
fn push_escape(c: char, escaped: &mut String) {
    match c.is_ascii() {
        true => escaped.extend(std::ascii::escape_default(c as u8).map(char::from)),
        false => escaped.extend(c.escape_unicode()),
    }
}

/// Returns the text with the characters that `is_escaped` selects written by `push`.
fn replace(text: &str, is_escaped: impl Fn(char) -> bool, push: impl Fn(char, &mut String)) -> Cow<'_, str> {
    if !text.contains(&is_escaped) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if is_escaped(c) { push(c, &mut escaped) } else { escaped.push(c) }
    }
    Cow::Owned(escaped)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_and_bidirectional_characters_are_escaped() {
        assert_eq!(escape("user:é\tb\n"), "user:é\tb\n");
        assert_eq!(escape("a\x1b[2J\u{9b}\x7f"), "a\\x1b[2J\\u{9b}\\x7f");
        assert_eq!(escape_line("a\nb\u{202e}c\u{200b}"), "a\\nb\\u{202e}c\\u{200b}");
        for invisible in ['\u{ad}', '\u{3164}', '\u{feff}', '\u{e0041}', '\u{e0100}'] {
            assert!(is_unsafe(invisible), "{}", invisible.escape_unicode());
        }
        let json = escape_json("\"\u{202e}\u{e0041}\"").into_owned();
        assert_eq!(json, "\"\\u202e\\udb40\\udc41\"");
        assert_eq!(serde_json::from_str::<String>(&json).unwrap(), "\u{202e}\u{e0041}");
        assert!(matches!(escape("plain"), Cow::Borrowed("plain")));
    }

    #[cfg(feature = "serve-metrics")]
    #[test]
    fn a_backslash_that_escapes_is_doubled_for_prometheus() {
        let text = "up{server=\"a\\\\b\x1b\u{202e}\"} 1\n";
        assert_eq!(escape_prometheus(text), "up{server=\"a\\\\b\\\\x1b\\\\u{202e}\"} 1\n");
    }
}
