//! Public types of a connection: tags, request IDs, events, deadlines, limits.

use std::time::{Duration, Instant};

use crate::types::reply::Reply;

/// A number that the caller assigns to a request; each event of the request has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_structs, reason = "a number of the caller's choice")]
pub struct Tag(pub u64);

/// A request in flight, for [`Connection::abandon`](super::Connection::abandon).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RequestId(pub(crate) u32);

/// A reply to a request.
#[derive(Debug)]
#[non_exhaustive]
pub struct Event {
    /// The tag of the request.
    pub tag: Tag,
    /// The reply, or one of several.
    pub reply: Reply,
    /// Whether this is the last event of the request.
    pub last: bool,
}

/// The deadline of a request.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::exhaustive_structs, reason = "an instant and its extension")]
pub struct Deadline {
    /// When the request times out.
    pub at: Instant,
    /// How far each reply on the connection extends the deadline: for batches that take longer than a single request
    /// may. Zero keeps the deadline fixed.
    pub extend_by: Duration,
}

/// The limits of a connection.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Limits {
    /// Maximum number of unanswered requests.
    pub max_in_flight: usize,
    /// Maximum number of unwritten bytes.
    pub max_output: usize,
    /// Maximum length of a value, in bytes, in either direction.
    pub max_value_size: usize,
    /// Maximum number of abandoned requests that are unanswered, and for how long more are tolerated.
    pub max_abandoned: (usize, Duration),
    /// How long the oldest request may be overdue before the connection is closed.
    pub max_overdue: Duration,
    /// Idle time after which a no-op checks that the server responds.
    pub keepalive_interval: Duration,
    /// How long a server may send nothing while requests are outstanding before the connection is closed.
    pub keepalive_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_in_flight: 16_384,
            max_output: 8 << 20,
            max_value_size: 1 << 20,
            max_abandoned: (1024, Duration::from_secs(1)),
            max_overdue: Duration::from_secs(1),
            keepalive_interval: Duration::from_secs(5),
            keepalive_timeout: Duration::from_secs(15),
        }
    }
}
