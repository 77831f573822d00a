//! The events that observers receive.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::Instant;

use super::{OperationName, ServerId};
use crate::error::ErrorKind;
use crate::health::state::ConnectionState;
use crate::proto::{Protocol, Status};

/// The start of an operation.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct OperationStarted<'a> {
    /// The operation's name.
    pub operation: OperationName,
    /// The server of the key; `None` for several keys, or if there is no server.
    pub server: Option<&'a ServerId>,
    /// The number of keys.
    pub keys: usize,
    /// The key of an operation on one key, without the namespace. It may be personal data: do not export it by default.
    pub key: Option<&'a [u8]>,
    /// The namespace of the client.
    pub namespace: &'a [u8],
}

/// The end of an operation.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct OperationFinished<'a> {
    /// The operation's name.
    pub operation: OperationName,
    /// The outcome.
    pub outcome: Outcome,
    /// The server that returned the result or failed to; `None` for several servers or none.
    pub server: Option<&'a ServerId>,
    /// The number of keys.
    pub keys: usize,
    /// The number of keys that were found; 0 for operations that do not read.
    pub hits: usize,
    /// The number of keys that were not found; 0 for operations that do not read.
    pub misses: usize,
    /// The number of keys without a result. In an operation that reads, each key is a hit, a miss or failed.
    pub failed: usize,
    /// The total length of the values received, in bytes.
    pub bytes_in: u64,
    /// The total length of the keys and values sent, in bytes.
    pub bytes_out: u64,
    /// The time from the first poll to the result.
    pub duration: Duration,
    /// The time spent waiting for capacity, because the limits of a connection were reached.
    pub queued: Duration,
    /// The time spent waiting for a connection to be opened.
    pub connecting: Duration,
    /// The number of requests to servers: 1 for most operations, 0 if nothing was sent.
    pub attempts: u32,
    /// The number of requests repeated at the same server after a failure.
    pub retries: u32,
    /// The number of reads sent to a second server because the first was slow.
    pub hedges: u32,
    /// The number of requests repeated at another server after a failure.
    pub failovers: u32,
    /// The protocol of the connection; `None` if nothing was sent.
    pub protocol: Option<Protocol>,
    /// The address that the server's name resolved to; `None` for Unix sockets, and if nothing was sent.
    pub peer: Option<SocketAddr>,
    /// The status of the last reply, if the server sent one.
    pub status: Option<Status>,
}

/// The start of an exchange with one server.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct ExchangeStarted<'a> {
    /// The operation's name.
    pub operation: OperationName,
    /// The server.
    pub server: &'a ServerId,
    /// The number of keys.
    pub keys: usize,
}

/// The end of an exchange with one server.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct ExchangeFinished<'a> {
    /// The operation's name.
    pub operation: OperationName,
    /// The server.
    pub server: &'a ServerId,
    /// The number of keys.
    pub keys: usize,
    /// The outcome.
    pub outcome: Outcome,
    /// The total length of the values received, in bytes.
    pub bytes_in: u64,
    /// The total length of the keys and values sent, in bytes.
    pub bytes_out: u64,
    /// The duration.
    pub duration: Duration,
    /// The protocol of the connection.
    pub protocol: Option<Protocol>,
    /// The address that the server's name resolved to.
    pub peer: Option<SocketAddr>,
    /// The status of the last reply, if the server sent one.
    pub status: Option<Status>,
}

/// A change of a connection's state.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct ConnectionChanged<'a> {
    /// The server.
    pub server: &'a ServerId,
    /// The index of the connection among those of the server.
    pub connection: usize,
    /// The previous state.
    pub before: &'a ConnectionState,
    /// The new state.
    pub after: &'a ConnectionState,
    /// The time spent in the previous state.
    pub before_duration: Duration,
}

/// A change of a server's state.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct ServerChanged<'a> {
    /// The server.
    pub server: &'a ServerId,
    /// The previous state.
    pub before: &'a ConnectionState,
    /// The new state.
    pub after: &'a ConnectionState,
}

/// The outcome of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// The servers answered. This includes writes that they refused, such as an `add` of an existing key.
    Ok,
    /// A read of one key found an item.
    Hit,
    /// A read of one key found no item, which is not an error.
    Miss,
    /// `fetch` found a value that is due for a refresh.
    Stale,
    /// `fetch` called its loader.
    Loaded,
    /// `fetch` received the value that another caller or process loaded.
    Followed,
    /// The operation failed, for at least one of its keys.
    Failed(ErrorKind),
    /// The loader of a `fetch` failed.
    LoaderFailed,
    /// The future was dropped. Requests that were sent may have been executed.
    Cancelled,
}

impl Outcome {
    /// Returns a label: `ok`, `hit`, `miss`, `stale`, `loaded`, `followed`, or the
    /// [type of the error](Self::error_type).
    pub const fn label(self) -> &'static str {
        Self::LABELS[self.label_index()]
    }

    /// Returns the type of the error, if there was one: the name of the [`ErrorKind`], `timeout`, `LoaderFailed` or
    /// `cancelled`.
    pub const fn error_type(self) -> Option<&'static str> {
        match self {
            Self::Failed(_) | Self::LoaderFailed | Self::Cancelled => Some(self.label()),
            _ => None,
        }
    }

    /// All labels that [`label`](Self::label) returns.
    pub const LABELS: &'static [&'static str] = &[
        "ok",
        "hit",
        "miss",
        "stale",
        "loaded",
        "followed",
        "cancelled",
        "LoaderFailed",
        "InvalidKey",
        "InvalidArguments",
        "ValueTooLarge",
        "NonNumericValue",
        "Conflict",
        "Encode",
        "Decode",
        "OutOfMemory",
        "Auth",
        "Tls",
        "Unsupported",
        "Server",
        "Disconnected",
        "timeout",
        "Overloaded",
        "Config",
        "Discovery",
    ];

    /// Returns the index of the label in [`LABELS`](Self::LABELS).
    pub const fn label_index(self) -> usize {
        match self {
            Self::Ok => 0,
            Self::Hit => 1,
            Self::Miss => 2,
            Self::Stale => 3,
            Self::Loaded => 4,
            Self::Followed => 5,
            Self::Cancelled => 6,
            Self::LoaderFailed => 7,
            Self::Failed(kind) => FIRST_ERROR + error_index(kind),
        }
    }
}

/// The index of the first error kind in [`Outcome::LABELS`].
const FIRST_ERROR: usize = 8;

const fn error_index(kind: ErrorKind) -> usize {
    match kind {
        ErrorKind::InvalidKey => 0,
        ErrorKind::InvalidArguments => 1,
        ErrorKind::ValueTooLarge => 2,
        ErrorKind::NonNumericValue => 3,
        ErrorKind::Conflict => 4,
        ErrorKind::Encode => 5,
        ErrorKind::Decode => 6,
        ErrorKind::OutOfMemory => 7,
        ErrorKind::Auth => 8,
        ErrorKind::Tls => 9,
        ErrorKind::Unsupported => 10,
        ErrorKind::Server => 11,
        ErrorKind::Disconnected(_) => 12,
        ErrorKind::TimedOut(_) => 13,
        ErrorKind::Overloaded => 14,
        ErrorKind::Config => 15,
        ErrorKind::Discovery => 16,
    }
}

/// The properties of an open connection.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Established {
    /// When it was opened; `None` before the first one.
    pub(crate) since: Option<Instant>,
    pub(crate) peer: Option<SocketAddr>,
    pub(crate) protocol: Option<Protocol>,
}

impl Established {
    /// Returns how long a request waited for the connection to be opened, after it had waited for capacity since
    /// `started`.
    pub(crate) fn wait_of(&self, started: Instant, queued: Duration) -> Duration {
        match self.since {
            // Most requests find an open connection: a comparison costs a fraction of the sums.
            Some(since) if since > started => since.saturating_duration_since(started + queued),
            _ => Duration::ZERO,
        }
    }
}

/// The results of an operation's keys.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) hits: usize,
    pub(crate) misses: usize,
    pub(crate) failed: usize,
}

impl Counts {
    /// Returns the result of a read of one key.
    pub(crate) fn found(is_hit: bool) -> Self {
        Self { hits: usize::from(is_hit), misses: usize::from(!is_hit), failed: 0 }
    }

    /// Returns the results of keys that all failed.
    pub(crate) fn failed(keys: usize) -> Self {
        Self { failed: keys, ..Self::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::Delivery;

    #[test]
    fn labels_are_distinct_and_errors_have_a_type() {
        for (index, label) in Outcome::LABELS.iter().enumerate() {
            assert!(!Outcome::LABELS[..index].contains(label), "{label}");
        }
        let timeout = Outcome::Failed(ErrorKind::TimedOut(Delivery::MaybeSent));
        assert_eq!((timeout.label(), timeout.error_type()), ("timeout", Some("timeout")));
        let kind = Outcome::Failed(ErrorKind::Discovery);
        assert_eq!((kind.label(), kind.label_index() + 1), ("Discovery", Outcome::LABELS.len()));
        assert_eq!(Outcome::Miss.error_type(), None);
        for (outcome, label) in [
            (Outcome::Ok, "ok"),
            (Outcome::Hit, "hit"),
            (Outcome::Stale, "stale"),
            (Outcome::Loaded, "loaded"),
            (Outcome::Followed, "followed"),
            (Outcome::Cancelled, "cancelled"),
            (Outcome::LoaderFailed, "LoaderFailed"),
            (Outcome::Failed(ErrorKind::InvalidKey), "InvalidKey"),
        ] {
            assert_eq!(outcome.label(), label);
        }
    }
}
