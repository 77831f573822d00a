//! Error lines of the text wires: what they mean, and whether the connection is in step after them.

use bytes::Bytes;

use super::{Expected, Operation, ProtocolError, Reply, Status, line, text};

/// How error lines begin, the longer before the shorter, with the status they mean.
///
/// Texts are no contract, so unknown ones have the status of their first word (docs/protocol.md 4.2,
/// 4.9).
const REFUSALS: &[(&str, Status)] = &[
    ("CLIENT_ERROR cannot increment or decrement non-numeric value", Status::NonNumericValue),
    ("CLIENT_ERROR unauthenticated", Status::AuthError),
    ("CLIENT_ERROR authentication failure", Status::AuthError),
    ("CLIENT_ERROR bad authentication token format", Status::AuthError),
    ("CLIENT_ERROR auth token too long", Status::AuthError),
    // The binary wire's word for the same refusal.
    ("CLIENT_ERROR flush_all not allowed", Status::AuthError),
    ("CLIENT_ERROR watch commands not allowed", Status::Unsupported),
    ("CLIENT_ERROR stats cachedump not allowed", Status::Unsupported),
    ("CLIENT_ERROR", Status::InvalidArguments),
    ("SERVER_ERROR object too large for cache", Status::ValueTooLarge),
    ("SERVER_ERROR out of memory", Status::OutOfMemory),
    ("SERVER_ERROR Out of memory", Status::OutOfMemory),
    ("SERVER_ERROR backend failure", Status::TemporaryFailure),
    ("SERVER_ERROR active request limit reached", Status::Busy),
    ("SERVER_ERROR: shutdown not enabled", Status::Unsupported),
    ("SERVER_ERROR", Status::InternalError),
    ("ERROR: shutdown not enabled", Status::Unsupported),
    ("ERROR metadump not allowed", Status::Unsupported),
    ("ERROR mgdump not allowed", Status::Unsupported),
    ("ERROR cannot pipeline", Status::InvalidArguments),
    ("ERROR failed to start", Status::InternalError),
    ("ERROR", Status::UnknownCommand),
    ("Error", Status::Unsupported),
    ("BUSY", Status::Busy),
    ("BADCLASS", Status::InvalidArguments),
    ("MEMLIMIT_TOO_SMALL", Status::InvalidArguments),
    ("MEMLIMIT_ADJUST_FAILED", Status::InvalidArguments),
    ("NOSPARE", Status::OutOfMemory),
    ("NOTFULL", Status::InvalidArguments),
    ("UNSAFE", Status::InvalidArguments),
    ("SAME", Status::InvalidArguments),
];

/// How a server begins to say that it takes no more connections.
const TOO_MANY_CONNECTIONS: &[u8] = b"ERROR Too many";

/// An error line's meaning for the request it answers.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) reply: Reply,
    /// Why nothing that follows on the connection can be trusted, if so.
    pub(super) fatal: Option<ProtocolError>,
}

/// Whether a line may be an error line.
#[inline]
pub(super) fn is_refusal(line: &[u8]) -> bool {
    status(line).is_some()
}

fn status(line: &[u8]) -> Option<Status> {
    REFUSALS.iter().find(|(text, _)| begins_with(line, text.as_bytes())).map(|&(_, status)| status)
}

fn begins_with(line: &[u8], text: &[u8]) -> bool {
    // A word must not go on: a key of a dump may begin as an error does.
    let rest = line.strip_prefix(text);
    rest.is_some_and(|rest| rest.first().is_none_or(|next| !next.is_ascii_alphanumeric() && *next != b'_'))
}

/// What an error line means; `None` if the line is none.
///
/// # Errors
/// [`ProtocolError::TooManyConnections`] if the server refuses the connection.
pub(super) fn read(line: &[u8], expected: Expected) -> Result<Option<Refusal>, ProtocolError> {
    if line.starts_with(TOO_MANY_CONNECTIONS) {
        return Err(ProtocolError::TooManyConnections);
    }
    let Some(status) = status(line) else { return Ok(None) };
    let reply = match (status, expected.operation) {
        // As the binary wire says it of a group that does not exist.
        (Status::UnknownCommand, Operation::Stat) => {
            Reply::with_text(Status::KeyNotFound, text::said_of(Status::KeyNotFound))
        }
        _ => Reply::with_text(status, said(line)),
    };
    let fatal = (!keeps_step(line, expected.operation)).then(|| ProtocolError::OutOfStep(line::excerpt(line)));
    Ok(Some(Refusal { reply, fatal }))
}

/// Whether a server that says this goes on with the next request.
///
/// A refused store may leave its value to be read as commands; a refused fetch may be followed by an
/// empty line; before authentication several replies may be merged into one (docs/protocol.md 3.2,
/// 4.4, 4.8).
fn keeps_step(line: &[u8], operation: Operation) -> bool {
    if begins_with(line, b"CLIENT_ERROR unauthenticated") || begins_with(line, b"CLIENT_ERROR auth token") {
        return false;
    }
    match operation {
        Operation::Authenticate => line.starts_with(b"CLIENT_ERROR auth") || line.starts_with(b"CLIENT_ERROR bad auth"),
        _ if line.starts_with(b"SERVER_ERROR") => true,
        _ => !operation.has_value() && !operation.is_fetch(),
    }
}

/// The text behind the word that says who is to blame.
fn said(line: &[u8]) -> Bytes {
    let text = [&b"CLIENT_ERROR "[..], b"SERVER_ERROR "].into_iter().find_map(|word| line.strip_prefix(word));
    Bytes::copy_from_slice(text.unwrap_or(line))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_entry_hides_behind_a_shorter_one() {
        for (index, (text, _)) in REFUSALS.iter().enumerate() {
            let found = REFUSALS.iter().position(|(known, _)| begins_with(text.as_bytes(), known.as_bytes()));
            assert_eq!(found, Some(index), "{text}");
        }
    }

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
            assert_eq!(status(line.as_bytes()), expected, "{line}");
            assert_eq!(is_refusal(line.as_bytes()), expected.is_some(), "{line}");
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
            let refusal = read(line.as_bytes(), Expected::new(operation)).unwrap().unwrap();
            assert_eq!(refusal.fatal.is_none(), in_step, "{line} to {operation:?}");
        }
    }

    #[test]
    fn a_refused_connection_is_refused() {
        let outcome = read(b"ERROR Too many open connections", Expected::NOOP);
        assert_eq!(outcome.unwrap_err(), ProtocolError::TooManyConnections);
    }
}
