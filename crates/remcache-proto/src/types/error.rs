//! Errors of the protocol layer: invalid requests, and protocol violations.

use std::fmt;

use bytes::Bytes;

use crate::types::key::InvalidKey;
use crate::types::ttl::InvalidTtl;

/// Why a request cannot be sent; no part of it was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum InvalidRequest {
    /// The key is invalid.
    Key(InvalidKey),
    /// The TTL is invalid.
    Ttl(InvalidTtl),
    /// The value is longer than the client's limit.
    ValueTooLarge {
        /// The value's length in bytes.
        length: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// This protocol cannot express the request, or the server would lose synchronization over it.
    Unsupported(&'static str),
}

impl fmt::Display for InvalidRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(invalid) => invalid.fmt(f),
            Self::Ttl(invalid) => invalid.fmt(f),
            Self::ValueTooLarge { length, limit } => write!(
                f,
                "the value has {length} bytes and the limit is {limit}: raise max_value_size if the server's item limit allows it"
            ),
            Self::Unsupported(what) => f.write_str(what),
        }
    }
}

impl std::error::Error for InvalidRequest {}

impl From<InvalidKey> for InvalidRequest {
    fn from(invalid: InvalidKey) -> Self {
        Self::Key(invalid)
    }
}

impl From<InvalidTtl> for InvalidRequest {
    fn from(invalid: InvalidTtl) -> Self {
        Self::Ttl(invalid)
    }
}

/// Why [`Connection::submit`](crate::connection::Connection::submit) did not accept a request.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Rejected {
    /// The request cannot be sent on any connection of this kind.
    Invalid(InvalidRequest),
    /// The connection's limits are reached: retry after another request was answered.
    Full,
}

impl fmt::Display for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Invalid(invalid) => invalid.fmt(f),
            Self::Full => f.write_str("too many requests or bytes wait on this connection"),
        }
    }
}

impl std::error::Error for Rejected {}

impl From<InvalidRequest> for Rejected {
    fn from(invalid: InvalidRequest) -> Self {
        Self::Invalid(invalid)
    }
}

/// Why a connection must be closed: its further replies could not be attributed reliably.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProtocolError {
    /// A reply does not begin with 0x81: the peer uses another protocol.
    WrongMagic(u8),
    /// The server refused the connection because it has too many.
    TooManyConnections,
    /// A reply's key and extras are longer than its body.
    WrongLength,
    /// A reply announces more bytes than the limit allows.
    TooLarge {
        /// The announced length in bytes.
        announced: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// A reply's opaque does not match any request in flight.
    UnknownOpaque(u32),
    /// A reply's opcode is not that of its request.
    WrongOpcode {
        /// The opcode of the request.
        expected: u8,
        /// The opcode of the reply.
        found: u8,
    },
    /// A reply skips an earlier request that must be answered first.
    SkippedReply,
    /// A reply is out of order: a later request was already answered.
    LateReply,
    /// A counter's reply is not an 8-byte number.
    WrongNumber,
    /// The server sent nothing for too long while requests were outstanding.
    Unresponsive,
    /// Too many abandoned requests are still unanswered.
    TooManyAbandoned(usize),
    /// A reply on a text protocol begins with a byte that does not start a line.
    NotText(u8),
    /// A reply's line is longer than this many bytes.
    LineTooLong(usize),
    /// A line is not a valid reply to the oldest request.
    UnexpectedLine(Bytes),
    /// A value is not followed by a line end.
    UnterminatedValue,
    /// A fetched item does not have the requested key.
    WrongKey,
    /// An error line may belong to any of several quiet requests.
    UnattributedError(Bytes),
    /// After this error the server may read the rest of the request as commands.
    Desynchronized(Bytes),
}

impl fmt::Display for ProtocolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WrongMagic(byte) => wrong_magic(*byte, f),
            Self::TooManyConnections => {
                f.write_str("refused: too many open connections; raise the server's -c or use fewer clients")
            }
            Self::WrongLength => f.write_str("a reply's key and extras are longer than its body"),
            Self::TooLarge { announced, limit } => write!(
                f,
                "a reply announces {announced} bytes and the limit is {limit}: raise max_value_size if the server's item limit is larger"
            ),
            Self::UnknownOpaque(opaque) => write!(f, "a reply belongs to no request in flight (opaque {opaque})"),
            Self::WrongOpcode { expected, found } => {
                write!(f, "a reply has opcode {found:#04x} where {expected:#04x} was asked")
            }
            Self::SkippedReply => f.write_str("a reply skipped an earlier request that must be answered first"),
            Self::LateReply => f.write_str("a reply is out of order: a later request was already answered"),
            Self::WrongNumber => f.write_str("a counter's reply is not an 8-byte number"),
            Self::Unresponsive => f.write_str("the server sent nothing for too long"),
            Self::TooManyAbandoned(count) => {
                write!(f, "{count} abandoned requests are still unanswered")
            }
            Self::NotText(byte) => not_text(*byte, f),
            Self::LineTooLong(limit) => write!(f, "a line of the reply is longer than {limit} bytes"),
            Self::UnexpectedLine(line) => {
                write!(f, "a line is not a reply to the request: {}", line.escape_ascii())
            }
            Self::UnterminatedValue => f.write_str("a value is not followed by the end of a line"),
            Self::WrongKey => f.write_str("an item does not have the requested key"),
            Self::UnattributedError(line) => {
                write!(
                    f,
                    "one of several quiet requests was refused, and the reply does not identify it: {}",
                    line.escape_ascii()
                )
            }
            Self::Desynchronized(line) => write!(
                f,
                "the server refused a request and may read the rest of it as commands: {}",
                line.escape_ascii()
            ),
        }
    }
}

/// Guesses the peer's protocol from its first byte.
fn wrong_magic(byte: u8, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let hint = match byte {
        b'H' => "it looks like an HTTP server",
        0x15 | 0x16 => "it looks like a TLS server",
        0x80 => "it looks like an echo of the request",
        b'A'..=b'Z' => "it looks like a server or proxy that supports text only",
        _ => "it is not memcached",
    };
    write!(f, "the reply does not begin as memcached's binary protocol does (byte {byte:#04x}): {hint}")
}

/// Guesses the protocol of a peer that does not answer in text, from its first byte.
fn not_text(byte: u8, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let hint = match byte {
        0x15 | 0x16 => "it looks like a TLS server",
        0x81 => "it looks like a server that supports binary only",
        _ => "it is not memcached",
    };
    write!(f, "the reply does not begin as a line of text does (byte {byte:#04x}): {hint}")
}

impl std::error::Error for ProtocolError {}
