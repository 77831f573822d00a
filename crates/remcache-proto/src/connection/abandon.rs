//! Abandoned requests: their replies are read and discarded.

use std::time::Instant;

use super::Connection;
use super::pending::Owner;
use super::types::{RequestId, Tag};

impl Connection {
    /// Abandons a request; its reply will be read and discarded.
    pub fn abandon(&mut self, request_id: RequestId, now: Instant) {
        if let Some(entry) = self.in_flight.get_mut(self.without_gets.current(request_id.0))
            && matches!(entry.owner, Owner::Caller(_))
        {
            entry.owner = Owner::Abandoned;
            self.count_abandoned(1, now);
        }
    }

    /// Abandons every request whose tag matches.
    pub fn abandon_where(&mut self, matches: impl Fn(Tag) -> bool, now: Instant) {
        let mut count = 0_usize;
        for (_, entry) in self.in_flight.iter_mut() {
            if matches!(entry.owner, Owner::Caller(tag) if matches(tag)) {
                entry.owner = Owner::Abandoned;
                count = count.saturating_add(1);
            }
        }
        self.count_abandoned(count, now);
    }

    /// Counts abandoned requests, and notes since when there are too many.
    pub(super) fn count_abandoned(&mut self, count: usize, now: Instant) {
        self.abandoned = self.abandoned.saturating_add(count);
        if self.abandoned > self.limits.max_abandoned.0 {
            self.abandoned_since.get_or_insert(now);
        }
    }

    /// Counts a request that left the queue, if it was abandoned.
    #[inline]
    pub(super) fn forget_abandoned(&mut self, owner: Owner) {
        if owner == Owner::Abandoned {
            self.abandoned = self.abandoned.saturating_sub(1);
            if self.abandoned <= self.limits.max_abandoned.0 {
                self.abandoned_since = None;
            }
        }
    }

    /// Returns the number of unanswered requests that were abandoned.
    pub fn abandoned(&self) -> usize {
        self.abandoned
    }
}
