//! Command lines as a server reads them: what classic and meta commands have in common.

pub mod number;
mod word;

pub(crate) use word::MAX_WORDS;
pub use word::{Words, line};

/// Why a line is no command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "a server says something, or nothing ever again")]
pub enum Refusal {
    /// It is answered with this line.
    Answer {
        /// The line, without its end.
        text: &'static str,
        /// Whether it is not sent after all.
        quiet: bool,
        /// How many bytes behind the line are thrown away first: a value and its end.
        swallow: usize,
    },
    /// The connection is closed without a reply: the client speaks HTTP.
    Close,
}

impl Refusal {
    /// A line that is sent in any case, with nothing to throw away.
    pub(crate) const fn says(text: &'static str) -> Self {
        Self::Answer { text, quiet: false, swallow: 0 }
    }

    /// A line after a value of this length, which is thrown away if there is one.
    pub(crate) fn with_value(text: &'static str, quiet: bool, length: u32) -> Self {
        let swallow = usize::try_from(length).map_or(0, |length| match length {
            0 => 0,
            length => length.saturating_add(LINE_END.len()),
        });
        Self::Answer { text, quiet, swallow }
    }

    pub(crate) const fn quietly(text: &'static str, quiet: bool) -> Self {
        Self::Answer { text, quiet, swallow: 0 }
    }
}

/// The reply to an unknown command, or one with too few or too many tokens.
pub const UNKNOWN: &str = "ERROR";
/// The reply to a malformed command.
pub const BAD_FORMAT: &str = "CLIENT_ERROR bad command line format";
/// The reply to a data block without its terminator.
pub const BAD_DATA: &str = "CLIENT_ERROR bad data chunk";
/// The reply to a time that is not a number.
pub const BAD_TTL: &str = "CLIENT_ERROR invalid exptime argument";

/// The end of a line, and of a data block.
pub const LINE_END: &[u8] = b"\r\n";

/// The longest value that a line can announce.
pub(crate) const MAX_LENGTH: i32 = i32::MAX - 2;
