//! The status of a reply: that of the server, or one that only the client can know.

use std::fmt;

use crate::types::status_table as words;

/// The outcome of a request.
///
/// The first group are the protocol's codes (docs/protocol.md 1.5); the others are set by the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Status {
    /// The request succeeded (0x00).
    NoError,
    /// The key does not exist (0x01).
    KeyNotFound,
    /// The key exists, or its CAS value differs (0x02).
    KeyExists,
    /// The value is larger than the server's item limit (0x03).
    ///
    /// A refused `set` deletes the item: the server removes the old value first.
    ValueTooLarge,
    /// The request is malformed (0x04), or was refused before it was sent.
    InvalidArguments,
    /// The key is invalid, or this protocol cannot express it: the request was refused before it was sent.
    InvalidKey,
    /// Append and prepend: the key does not exist, or the result would be too large (0x05).
    ItemNotStored,
    /// The value is not a number (0x06).
    NonNumericValue,
    /// The key belongs to another virtual bucket (0x07).
    WrongBucket,
    /// Authentication failed or is missing (0x08, 0x20).
    AuthError,
    /// Authentication needs another step (0x09, 0x21).
    AuthContinue,
    /// The server does not know the command (0x81).
    UnknownCommand,
    /// The server has no memory for the item (0x82).
    OutOfMemory,
    /// The server does not support the command (0x83), or this protocol cannot express it.
    Unsupported,
    /// The server reports an internal error (0x84).
    InternalError,
    /// The server is busy (0x85).
    Busy,
    /// The server reports a temporary failure (0x86).
    TemporaryFailure,
    /// A code that the protocol does not define.
    Unknown(u16),
    /// The connection was lost, or the server is known to be down.
    Disconnected(Delivery),
    /// The deadline passed without an answer.
    TimedOut(Delivery),
    /// The connection's limits were reached: the request was never queued.
    Overloaded,
    /// There is no connection because the TLS handshake failed: the request was not executed.
    TlsError,
    /// There is no connection because of the client's settings or its runtime: nothing was sent.
    Misconfigured,
}

/// Whether a request without an answer may have taken effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "a byte reached the socket or none did")]
pub enum Delivery {
    /// No byte of the request reached the socket: it has not taken effect.
    NotSent,
    /// Some byte of the request may have reached the server: it may have taken effect.
    MaybeSent,
}

/// The remcached gem's code for a lost connection; no server sends it.
const DISCONNECTED: u16 = 0xffff;

impl Status {
    /// Returns the status of a protocol code.
    #[inline]
    pub fn from_code(code: u16) -> Self {
        words::of_code(code)
    }

    /// Returns the protocol code of a status; those set by the client have the code 0xffff, and an invalid key that of
    /// invalid arguments.
    pub fn code(self) -> u16 {
        match self {
            Self::Unknown(code) => code,
            Self::InvalidKey => Self::InvalidArguments.code(),
            _ => words::StatusRow::of(self).and_then(words::StatusRow::code).unwrap_or(DISCONNECTED),
        }
    }

    /// Returns whether the server answered, including with an error.
    pub fn is_from_server(self) -> bool {
        use Status::{Disconnected, InvalidKey, Misconfigured, Overloaded, TimedOut, TlsError};
        !matches!(self, InvalidKey | Disconnected(_) | TimedOut(_) | Overloaded | TlsError | Misconfigured)
    }

    /// Returns whether the request may have taken effect although it was not answered.
    pub fn may_have_executed(self) -> bool {
        matches!(self, Self::Disconnected(Delivery::MaybeSent) | Self::TimedOut(Delivery::MaybeSent))
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Self::NoError => "success",
            Self::KeyNotFound => "key not found",
            Self::KeyExists => "key exists or was changed in the meantime",
            Self::ValueTooLarge => "value too large",
            Self::InvalidArguments => "invalid arguments",
            Self::InvalidKey => "invalid key",
            Self::ItemNotStored => "not stored",
            Self::NonNumericValue => "value is not a number",
            Self::WrongBucket => "wrong virtual bucket",
            Self::AuthError => "authentication failed",
            Self::AuthContinue => "authentication needs another step",
            Self::UnknownCommand => "unknown command",
            Self::OutOfMemory => "server out of memory",
            Self::Unsupported => "not supported",
            Self::InternalError => "internal server error",
            Self::Busy => "server busy",
            Self::TemporaryFailure => "temporary failure",
            Self::Unknown(code) => return write!(f, "unknown status {code:#06x}"),
            Self::Disconnected(_) => "disconnected",
            Self::TimedOut(_) => "timed out",
            Self::Overloaded => "overloaded",
            Self::TlsError => "TLS failed",
            Self::Misconfigured => "misconfigured",
        };
        f.write_str(text)
    }
}

impl fmt::Display for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotSent => "not sent",
            Self::MaybeSent => "maybe sent",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_and_statuses_agree_in_both_directions() {
        for code in 0..=u16::MAX {
            let status = Status::from_code(code);
            assert_eq!(Status::from_code(status.code()), status, "{code:#06x}");
        }
        assert_eq!(Status::AuthError.code(), 0x20, "the code that servers send");
    }

    #[test]
    fn client_side_statuses_have_the_codes_of_the_gem() {
        let away = [Status::Disconnected(Delivery::NotSent), Status::TimedOut(Delivery::MaybeSent)];
        for status in away.into_iter().chain([Status::Overloaded, Status::TlsError, Status::Misconfigured]) {
            assert_eq!(status.code(), 0xffff);
            assert!(!status.is_from_server());
        }
    }
}
