//! Error lines of the text protocols: their statuses, and whether the connection is still synchronized after them.

use bytes::Bytes;

use crate::line;
use crate::types::error::ProtocolError;
use crate::types::operation::Operation;
use crate::types::reply::Reply;
use crate::types::reply_shape::ReplyShape;
use crate::types::status::Status;
use crate::types::status_table;
use crate::types::status_table::{Word, begins_with};

/// The reply of a server on which flushes are disabled (`-F`).
const FLUSH_NOT_ALLOWED: &[u8] = b"CLIENT_ERROR flush_all not allowed";

/// The start of a server's error for too many connections.
const TOO_MANY_CONNECTIONS: &[u8] = b"ERROR Too many";

/// An error line's meaning for the request it answers.
#[derive(Debug)]
pub(crate) struct ErrorLine {
    pub(crate) reply: Reply,
    /// Why the connection can no longer be used, if so.
    pub(crate) fatal: Option<ProtocolError>,
}

/// Returns whether a line may be an error line.
#[inline]
pub(crate) fn is_error(line: &[u8]) -> bool {
    status_table::of_error_line(line).is_some()
}

/// Parses an error line; `None` if the line is not an error.
///
/// # Errors
/// [`ProtocolError::TooManyConnections`] if the server refuses the connection.
pub(crate) fn read(line: &[u8], expected: ReplyShape) -> Result<Option<ErrorLine>, ProtocolError> {
    if line.starts_with(TOO_MANY_CONNECTIONS) {
        return Err(ProtocolError::TooManyConnections);
    }
    let Some(status) = status_table::of_error_line(line) else { return Ok(None) };
    let answer = Word::of(line).and_then(|word| word.answers(expected.operation));
    let reply = match answer {
        Some(status) => Reply::with_text(status, status_table::status_text(status)),
        None if begins_with(line, FLUSH_NOT_ALLOWED) => no_flush(),
        None => Reply::with_text(status, error_text(line)),
    };
    let fatal = (!keeps_sync(line, expected.operation)).then(|| ProtocolError::Desynchronized(line::excerpt(line)));
    Ok(Some(ErrorLine { reply, fatal }))
}

/// Returns the reply to a flush that the server has disabled, the same on each protocol.
pub(crate) fn no_flush() -> Reply {
    Reply::with_text(Status::Unsupported, "flushes are disabled on this server: it runs with -F")
}

/// Returns whether the connection is still synchronized after this error line.
///
/// After a refused store the server may read the value as commands; a refused fetch may be followed by an empty line;
/// before authentication several replies may be merged into one (docs/protocol.md 3.2, 4.4, 4.8).
fn keeps_sync(line: &[u8], operation: Operation) -> bool {
    if begins_with(line, b"CLIENT_ERROR unauthenticated") || begins_with(line, b"CLIENT_ERROR auth token") {
        return false;
    }
    match operation {
        Operation::Authenticate => line.starts_with(b"CLIENT_ERROR auth") || line.starts_with(b"CLIENT_ERROR bad auth"),
        _ if line.starts_with(b"SERVER_ERROR") => true,
        _ => !operation.has_value() && !operation.is_fetch(),
    }
}

/// Returns the text after `CLIENT_ERROR` or `SERVER_ERROR`.
fn error_text(line: &[u8]) -> Bytes {
    let text = [&b"CLIENT_ERROR "[..], b"SERVER_ERROR "].into_iter().find_map(|word| line.strip_prefix(word));
    Bytes::copy_from_slice(text.unwrap_or(line))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_an_error_by_its_words() {
        for (line, expected) in [
            ("ERROR", Some(Status::UnknownCommand)),
            ("ERROR more words", Some(Status::UnknownCommand)),
            ("ERRORS", None),
            ("CLIENT_ERROR anything", Some(Status::InvalidArguments)),
            ("SERVER_ERROR object too large for cache", Some(Status::ValueTooLarge)),
            ("SERVER_ERROR anything", Some(Status::InternalError)),
            ("BUSY currently processing crawler request", Some(Status::Busy)),
            ("HD", None),
        ] {
            assert_eq!(status_table::of_error_line(line.as_bytes()), expected, "{line}");
            assert_eq!(is_error(line.as_bytes()), expected.is_some(), "{line}");
        }
    }

    #[test]
    fn only_some_errors_leave_the_connection_in_step() {
        for (line, operation, in_step) in [
            ("CLIENT_ERROR bad data chunk", Operation::Set, false),
            ("ERROR", Operation::Set, false),
            ("SERVER_ERROR object too large for cache", Operation::Set, true),
            ("SERVER_ERROR out of memory storing object", Operation::Append, true),
            ("CLIENT_ERROR bad command line format", Operation::Get, false),
            ("CLIENT_ERROR cannot increment or decrement non-numeric value", Operation::Increment, true),
            ("CLIENT_ERROR invalid flag", Operation::Delete, true),
            ("CLIENT_ERROR unauthenticated", Operation::Delete, false),
            ("CLIENT_ERROR authentication failure", Operation::Authenticate, true),
            ("CLIENT_ERROR bad command line termination", Operation::Authenticate, false),
        ] {
            let refusal = read(line.as_bytes(), ReplyShape::new(operation)).unwrap().unwrap();
            assert_eq!(refusal.fatal.is_none(), in_step, "{line} to {operation:?}");
        }
    }

    #[test]
    fn a_refused_connection_is_refused() {
        let outcome = read(b"ERROR Too many open connections", ReplyShape::NOOP);
        assert_eq!(outcome.unwrap_err(), ProtocolError::TooManyConnections);
    }
}
