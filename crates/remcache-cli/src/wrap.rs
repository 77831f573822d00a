//! Wraps text at spaces to fit a width.

use std::io;

use unicode_width::UnicodeWidthStr as _;

/// The width below which wrapped text is harder to read than text that the terminal breaks.
pub(crate) const MIN_WIDTH: usize = 16;

/// Splits a text at blanks into lines of at most this width; a longer word has a line of its own.
pub(crate) fn wrap(text: &str, width: usize) -> Vec<String> {
    if text.width() <= width || width < MIN_WIDTH {
        return vec![text.to_owned()];
    }
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.width() + 1 + word.width() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

/// Breaks each line of a text that is wider than this many columns; what follows is indented.
pub(crate) fn fold(text: &str, columns: Option<usize>) -> String {
    let Some(columns) = columns else { return text.to_owned() };
    let fold_line = |line: &str| {
        let mut parts = wrap(line, columns).into_iter();
        let first = parts.next().unwrap_or_default();
        let rest = line.get(first.len()..).unwrap_or_default().trim_start_matches(' ');
        let indented = wrap(rest, columns.saturating_sub(INDENT.len()));
        let indented = indented.iter().filter(|part| !part.is_empty()).map(|part| format!("\n{INDENT}{part}"));
        std::iter::once(first).chain(indented).collect::<String>()
    };
    text.split('\n').map(fold_line).collect::<Vec<_>>().join("\n")
}

/// Returns the columns of the terminal that shows standard output, if it is one and knows its size.
pub(crate) fn stdout_columns() -> Option<usize> {
    columns(io::stdout())
}

/// Returns the columns of the terminal that shows stderr, if it is one and knows its size.
pub(crate) fn stderr_columns() -> Option<usize> {
    columns(io::stderr())
}

#[cfg(unix)]
fn columns(stream: impl std::os::fd::AsFd) -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(stream).ok()?;
    Some(size.ws_col.into()).filter(|&columns| columns > 0)
}

#[cfg(not(unix))]
fn columns(stream: impl io::IsTerminal) -> Option<usize> {
    use terminal_size::{Width, terminal_size};

    let (Width(columns), _) = stream.is_terminal().then(terminal_size)??;
    Some(columns.into()).filter(|&columns| columns > 0)
}

const INDENT: &str = "  ";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lines_are_folded_at_blanks() {
        let text = "one two three four five six\nshort";
        assert_eq!(fold(text, Some(16)), "one two three\n  four five six\nshort");
        assert_eq!(fold(text, None), text);
        assert_eq!(fold("a-word-that-is-longer-than-the-line", Some(16)), "a-word-that-is-longer-than-the-line");
        let lines = fold("error: cache1:11211: the server is out of memory storing the object", Some(30));
        assert!(lines.lines().all(|line| line.width() <= 30), "{lines}");
    }
}
