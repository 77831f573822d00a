//! What a text means, and the colour that says so.

use std::fmt;

use anstyle::{AnsiColor, Style};

/// What a text means to the reader.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum TextStyle {
    /// Nothing special.
    #[default]
    Plain,
    /// A heading.
    Title,
    /// All is well.
    Good,
    /// Worth a look.
    Warning,
    /// Something is wrong.
    Bad,
    /// Of less interest.
    Faint,
    /// A name.
    Name,
}

impl TextStyle {
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

/// Colours text, or leaves it as it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Paint {
    is_on: bool,
}

impl Paint {
    /// Whether to colour.
    pub(crate) fn new(is_on: bool) -> Self {
        Self { is_on }
    }

    /// Whether it colours.
    pub(crate) fn is_on(self) -> bool {
        self.is_on
    }

    /// The text with its colour.
    pub(crate) fn apply(self, style: TextStyle, text: impl fmt::Display) -> String {
        match (self.is_on, style) {
            (false, _) | (_, TextStyle::Plain) => text.to_string(),
            (true, _) => {
                let style = style.style();
                format!("{style}{text}{style:#}")
            }
        }
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
}
