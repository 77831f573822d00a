//! The terms of a connection: what a request is known by, when it is given up, what is bounded.

use std::time::{Duration, Instant};

use crate::types::reply::Reply;

/// A caller's own mark on a request; it comes back with each event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_structs, reason = "a number of the caller's choice")]
pub struct Tag(pub u64);

/// A request in flight, for [`Connection::abandon`](super::Connection::abandon).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ticket(pub(crate) u32);

/// The outcome of a request.
#[derive(Debug)]
#[non_exhaustive]
pub struct Event {
    /// The mark of the request.
    pub tag: Tag,
    /// Its reply, or one of several.
    pub reply: Reply,
    /// Whether the request has its outcome with this.
    pub last: bool,
}

/// When a request is given up.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::exhaustive_structs, reason = "an instant and how it moves")]
pub struct Deadline {
    /// The instant.
    pub at: Instant,
    /// Extension of the deadline with each reply on the connection: for batches of requests
    /// that take longer than one may. Zero keeps the instant fixed.
    pub extend_by: Duration,
}

/// The limits of a connection.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::exhaustive_structs, reason = "plain settings, built with struct update syntax")]
pub struct Limits {
    /// How many requests may be unanswered.
    pub in_flight: usize,
    /// How many bytes may wait to be written.
    pub output: usize,
    /// How long a value may be, in bytes, in either direction.
    pub value: usize,
    /// How many given-up requests may stay unanswered, and for how long.
    pub abandoned: (usize, Duration),
    /// How long the oldest request may be overdue before the connection is closed.
    pub overdue: Duration,
    /// Idle time after which a no-op checks that the server responds.
    pub keepalive: Duration,
    /// How long a server may send nothing while requests are outstanding before the connection is closed.
    pub silence: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            in_flight: 16_384,
            output: 8 << 20,
            value: 1 << 20,
            abandoned: (1024, Duration::from_secs(1)),
            overdue: Duration::from_secs(1),
            keepalive: Duration::from_secs(5),
            silence: Duration::from_secs(15),
        }
    }
}
