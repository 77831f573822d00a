//! Metrics of servers and their connections.

use std::time::Duration;

use tokio::time::Instant;

use crate::health::state::ServerStatus;
use crate::policy::RoundTrip;
use crate::proto::{Status, Tag};

/// A snapshot of a server's metrics: see
/// [`ServerHandle::metrics`](crate::server::handle::ServerHandle::metrics).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ServerMetrics {
    /// The server's state, since when it has it, and why.
    pub status: ServerStatus,
    /// The number of configured connections.
    pub connections: usize,
    /// The number of open connections that accept requests.
    pub open: usize,
    /// Unanswered requests, including abandoned ones.
    pub in_flight: usize,
    /// Callers that wait for a reply.
    pub waiting: usize,
    /// The smoothed round-trip time, from queueing a request to its reply; `None` before the first reply. With several
    /// connections, that of the slowest.
    pub round_trip: Option<Duration>,
    /// Reconnects: connections opened after the first one.
    pub reconnects: u64,
    /// Errors since the client was created.
    pub errors: ErrorCounts,
}

/// Numbers of errors by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ErrorCounts {
    /// Requests that timed out.
    pub timeouts: u64,
    /// Requests in flight when their connection was lost.
    pub disconnects: u64,
    /// Requests that failed immediately because the server was known to be down.
    pub refused: u64,
    /// Requests that found no capacity: [`Overloaded`](Status::Overloaded).
    pub overloaded: u64,
    /// Connections closed because of protocol violations.
    pub protocol: u64,
    /// Requests that the server answered with an error: out of memory, too large, unknown, busy, ….
    pub server: u64,
}

/// The counters of one connection, guarded by its lock.
#[derive(Debug, Default)]
pub(crate) struct ConnCounters {
    pub(crate) errors: ErrorCounts,
    pub(crate) connects: u64,
    round_trip: RoundTrip,
    /// The request whose round trip is measured: one at a time, so that the others need no timestamp.
    sampled: Option<(Tag, Instant)>,
}

impl ConnCounters {
    /// Records that a request was queued.
    #[inline]
    pub(crate) fn submitted(&mut self, tag: Tag, now: Instant) {
        if self.sampled.is_none() {
            self.sampled = Some((tag, now));
        }
    }

    /// Records the result of a request, read at this instant.
    #[inline]
    pub(crate) fn settled(&mut self, tag: Tag, status: Status, now: Instant) {
        if self.sampled.is_some_and(|(sampled, _)| sampled == tag) {
            self.sample(status, now);
        }
        if !matches!(status, Status::NoError | Status::KeyNotFound) {
            self.count(status);
        }
    }

    fn sample(&mut self, status: Status, now: Instant) {
        if let Some((_, since)) = self.sampled.take()
            && status.is_from_server()
        {
            self.round_trip.sample(now.saturating_duration_since(since));
        }
    }

    #[cold]
    fn count(&mut self, status: Status) {
        let counter = match status {
            Status::TimedOut(_) => &mut self.errors.timeouts,
            Status::Disconnected(_) => &mut self.errors.disconnects,
            Status::KeyExists | Status::ItemNotStored | Status::NonNumericValue => return,
            _ => &mut self.errors.server,
        };
        *counter += 1;
    }

    /// Ignores the replies to requests whose tags match.
    pub(crate) fn abandoned(&mut self, fits: impl Fn(Tag) -> bool) {
        self.sampled = self.sampled.filter(|(tag, _)| !fits(*tag));
    }

    pub(crate) fn round_trip(&self) -> Option<Duration> {
        self.round_trip.estimate()
    }
}

impl ErrorCounts {
    pub(crate) fn plus(self, other: Self) -> Self {
        Self {
            timeouts: self.timeouts + other.timeouts,
            disconnects: self.disconnects + other.disconnects,
            refused: self.refused + other.refused,
            overloaded: self.overloaded + other.overloaded,
            protocol: self.protocol + other.protocol,
            server: self.server + other.server,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_request_at_a_time_is_measured() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let mut counters = ConnCounters::default();
        counters.submitted(Tag(1), at(0));
        counters.submitted(Tag(2), at(1));
        counters.settled(Tag(2), Status::NoError, at(5));
        assert_eq!(counters.round_trip(), None);
        counters.settled(Tag(1), Status::KeyNotFound, at(8));
        assert_eq!(counters.round_trip(), Some(Duration::from_millis(8)));
        counters.submitted(Tag(1), at(10));
        counters.abandoned(|tag| tag == Tag(1));
        counters.submitted(Tag(1), at(90));
        counters.settled(Tag(1), Status::NoError, at(98));
        assert_eq!(counters.round_trip(), Some(Duration::from_millis(8)), "a reused tag belongs to another request");
        counters.submitted(Tag(3), at(100));
        counters.settled(Tag(3), Status::TimedOut(crate::proto::Delivery::MaybeSent), at(1_100));
        assert_eq!(
            counters.round_trip(),
            Some(Duration::from_millis(8)),
            "an unanswered request has no round trip time"
        );
        assert_eq!(counters.errors.timeouts, 1);
    }
}
