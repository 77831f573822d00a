//! The meaning of a text, and the colour that shows it.

use std::borrow::Cow;
use std::fmt;

use anstyle::{AnsiColor, Style};

use crate::escape::{escape, is_unsafe};

/// The meaning of a text to the reader.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum TextStyle {
    /// Nothing special.
    #[default]
    Plain,
    /// A heading.
    Title,
    /// Healthy, or successful.
    Good,
    /// Worth a look.
    Warning,
    /// A failure.
    Bad,
    /// Of less interest.
    Faint,
    /// A name.
    Name,
}

impl TextStyle {
    const ALL: [Self; 7] = [Self::Plain, Self::Title, Self::Good, Self::Warning, Self::Bad, Self::Faint, Self::Name];

    fn style(self) -> Style {
        let color = |color: AnsiColor| color.on_default();
        match self {
            Self::Plain => Style::new(),
            Self::Title => Style::new().bold(),
            Self::Good => color(AnsiColor::Green),
            Self::Warning => color(AnsiColor::Yellow),
            Self::Bad => color(AnsiColor::Red),
            Self::Faint => Style::new().dimmed(),
            Self::Name => color(AnsiColor::Cyan),
        }
    }
}

/// Applies styles to text, or leaves it plain.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Paint {
    is_on: bool,
}

impl Paint {
    pub(crate) fn new(is_on: bool) -> Self {
        Self { is_on }
    }

    /// Returns whether text is coloured.
    pub(crate) fn is_on(self) -> bool {
        self.is_on
    }

    /// Returns the text with the colour of this style.
    pub(crate) fn apply(self, style: TextStyle, text: impl fmt::Display) -> String {
        match (self.is_on, style) {
            (false, _) | (_, TextStyle::Plain) => text.to_string(),
            (true, _) => {
                let style = style.style();
                format!("{style}{text}{style:#}")
            }
        }
    }

    /// Escapes what could control the terminal, except for the sequences that `apply` writes.
    pub(super) fn escape(self, text: &str) -> Cow<'_, str> {
        if !self.is_on || !text.contains(is_unsafe) {
            return escape(text);
        }
        let sequences =
            TextStyle::ALL.map(|style| style.style()).map(|style| [style.to_string(), format!("{style:#}")]);
        let sequences: Vec<&str> =
            sequences.iter().flatten().map(String::as_str).filter(|text| !text.is_empty()).collect();
        let mut escaped = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.find('\x1b') {
            escaped.push_str(&escape(&rest[..at]));
            let own = sequences.iter().find(|sequence| rest[at..].starts_with(**sequence));
            let length = own.map_or(1, |sequence| sequence.len());
            let sequence = &rest[at..at + length];
            escaped.push_str(&own.map_or_else(|| escape(sequence), |own| Cow::Borrowed(*own)));
            rest = &rest[at + length..];
        }
        escaped.push_str(&escape(rest));
        Cow::Owned(escaped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colour_surrounds_the_text_and_is_left_out_when_off() {
        assert_eq!(Paint::new(false).apply(TextStyle::Bad, "x"), "x");
        assert_eq!(Paint::new(true).apply(TextStyle::Plain, "x"), "x");
        assert_eq!(Paint::new(true).apply(TextStyle::Bad, "x"), "\u{1b}[31mx\u{1b}[0m");
    }

    #[test]
    fn own_colours_pass_and_other_sequences_are_escaped() {
        let line = format!("{}\u{1b}[2J\u{1b}[5m", Paint::new(true).apply(TextStyle::Bad, "x"));
        assert_eq!(Paint::new(true).escape(&line), "\u{1b}[31mx\u{1b}[0m\\x1b[2J\\x1b[5m");
        assert_eq!(Paint::new(false).escape("\u{1b}[31mx"), "\\x1b[31mx");
        for style in TextStyle::ALL {
            let line = Paint::new(true).apply(style, "x");
            assert_eq!(Paint::new(true).escape(&line), line);
        }
    }
}
