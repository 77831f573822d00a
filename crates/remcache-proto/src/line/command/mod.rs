//! Parsing of command lines for servers, shared by classic and meta commands.

pub mod number;
mod words;

pub(crate) use words::MAX_WORDS;
pub use words::{Words, split_line};

/// Why a line is not executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "a server replies or closes the connection")]
pub enum CommandError {
    /// The server answers with an error line.
    Reply {
        /// The line, without its line end.
        text: &'static str,
        /// Whether the command is quiet, so that the line is not sent.
        quiet: bool,
        /// Number of bytes after the command to discard: a value and its line end.
        discard: usize,
    },
    /// The server closes the connection without a reply, because the line is HTTP.
    Close,
}

impl CommandError {
    /// Creates an error line that is always sent, without a value to discard.
    pub(crate) const fn reply(text: &'static str) -> Self {
        Self::Reply { text, quiet: false, discard: 0 }
    }

    /// Creates an error line for a command with a value of this length, which is discarded.
    pub(crate) fn with_value(text: &'static str, quiet: bool, length: u32) -> Self {
        let discard = usize::try_from(length).map_or(0, |length| match length {
            0 => 0,
            length => length.saturating_add(LINE_END.len()),
        });
        Self::Reply { text, quiet, discard }
    }

    pub(crate) const fn reply_unless_quiet(text: &'static str, quiet: bool) -> Self {
        Self::Reply { text, quiet, discard: 0 }
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

/// The longest value that a command can announce.
pub(crate) const MAX_LENGTH: i32 = i32::MAX - 2;
