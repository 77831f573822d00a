//! Replies to administrative commands.

use crate::watch::WatchStream;

/// The reply to an administrative command.
pub(super) enum AdminReply {
    Line(&'static str),
    /// A line that `noreply` suppresses.
    NoreplyLine(&'static str),
    /// Complete lines.
    Lines(Vec<u8>),
    /// Complete lines of a dump. memcached does not look at further input until more arrives.
    Dump(Vec<u8>),
    /// The connection carries log lines from now on.
    Watch(WatchStream),
    Close,
}
