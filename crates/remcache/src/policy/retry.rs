//! Retries: which requests are retried after a failure, and their budget.

use std::time::Duration;

use crate::proto::{Operation, Status};

/// Which requests are retried after a failure: see [`Config::retries`](crate::config::Config::retries).
///
/// A request is retried only if it was not sent, or if it is idempotent: `get`, `version`, `noop`. Sets and deletes may
/// be opted in. Counters, `append`, `prepend`, `add`, `replace`, `get_and_touch`, `touch`, and requests with a CAS
/// value are never retried once a byte of them may have been sent.
///
/// A retried read is as fresh as any other. With sets or deletes opted in, the second attempt may undo another writer's
/// change made between the two: an older value is then read until the next change.
///
/// Retries stay within the request's deadline, and within a budget for the whole client: a bucket of tokens from which
/// a retry takes 5, or 10 after a timeout, and to which each success returns 1. During an outage the bucket is soon
/// empty, so that retries do not add load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retries {
    pub(crate) attempts: u32,
    pub(crate) attempt_timeout: Option<Duration>,
    pub(crate) sets: bool,
    pub(crate) deletes: bool,
    pub(crate) budget: u32,
}

impl Retries {
    /// Disables retries on the same server (the default).
    ///
    /// The budget still applies to requests that [`Failover`](super::Failover) and replicas send to another server.
    pub fn none() -> Self {
        Self::up_to(0)
    }

    /// Retries a request on the same server up to `attempts` times: on another of its connections, or on the same one
    /// if the next attempt to connect succeeds.
    pub fn up_to(attempts: u32) -> Self {
        Self { attempts, attempt_timeout: None, sets: false, deletes: false, budget: BUDGET }
    }

    /// Sets the timeout of one attempt (default: that of the whole request, so that no retry follows a timeout).
    #[must_use]
    pub fn attempt_timeout(self, timeout: Duration) -> Self {
        Self { attempt_timeout: Some(timeout), ..self }
    }

    /// Also retries sets: the second attempt may undo another writer's change made between the two.
    #[must_use]
    pub fn retry_sets(self) -> Self {
        Self { sets: true, ..self }
    }

    /// Also retries deletes: the second attempt may remove an item that another writer stored between the two, and
    /// returns `NotFound` although the first removed the item.
    #[must_use]
    pub fn retry_deletes(self) -> Self {
        Self { deletes: true, ..self }
    }

    /// Sets the capacity of the bucket in tokens (default: 500, which is 100 retries).
    #[must_use]
    pub fn budget(self, tokens: u32) -> Self {
        Self { budget: tokens, ..self }
    }

    /// Returns whether these settings opt an operation in.
    pub(crate) fn opts_in(&self, operation: Operation) -> bool {
        match operation {
            Operation::Set => self.sets,
            Operation::Delete => self.deletes,
            _ => false,
        }
    }
}

impl Default for Retries {
    fn default() -> Self {
        Self::none()
    }
}

/// The kind of failure of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FailureKind {
    /// The request was not sent: repeating it costs nothing.
    NotSent,
    /// The connection was lost, and the request may have been executed.
    Lost,
    /// The request timed out.
    TimedOut,
}

impl FailureKind {
    /// Returns the kind of failure of a status; `None` if the server answered, or if the failure is local.
    pub(crate) fn of(status: Status) -> Option<Self> {
        match status {
            Status::Disconnected(_) if status.may_have_executed() => Some(Self::Lost),
            Status::Disconnected(_) => Some(Self::NotSent),
            Status::TimedOut(_) => Some(Self::TimedOut),
            _ => None,
        }
    }
}

/// The retry budget, as a token bucket.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Budget {
    tokens: u32,
    capacity: u32,
}

impl Budget {
    /// Creates a full bucket.
    pub(crate) fn new(capacity: u32) -> Self {
        Self { tokens: capacity, capacity }
    }

    /// Withdraws the tokens of a retry; returns `false` if there are not enough.
    pub(crate) fn take(&mut self, after: FailureKind) -> bool {
        let cost = match after {
            FailureKind::NotSent => 0,
            FailureKind::Lost => COST,
            FailureKind::TimedOut => COST_AFTER_TIMEOUT,
        };
        let remaining = self.tokens.checked_sub(cost);
        self.tokens = remaining.unwrap_or(self.tokens);
        remaining.is_some()
    }

    /// Returns a token after a success.
    pub(crate) fn refill(&mut self) {
        self.tokens = self.tokens.saturating_add(REFILL).min(self.capacity);
    }
}

const BUDGET: u32 = 500;
const COST: u32 = 5;
const COST_AFTER_TIMEOUT: u32 = 10;
const REFILL: u32 = 1;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::Delivery;

    #[test]
    fn each_setting_is_kept() {
        let timeout = Duration::from_millis(100);
        let retries = Retries::up_to(3).attempt_timeout(timeout).retry_sets().retry_deletes().budget(7);
        let expected = Retries { attempts: 3, attempt_timeout: Some(timeout), sets: true, deletes: true, budget: 7 };
        assert_eq!(retries, expected);
    }

    #[test]
    fn a_full_bucket_pays_for_a_hundred_retries_or_fifty_after_timeouts() {
        for (kind, expected) in [(FailureKind::Lost, 100), (FailureKind::TimedOut, 50)] {
            let mut budget = Budget::new(BUDGET);
            assert_eq!((0..10_000).filter(|_| budget.take(kind)).count(), expected, "{kind:?}");
        }
    }

    #[test]
    fn unsent_requests_cost_no_retry() {
        let mut budget = Budget::new(0);
        assert!(budget.take(FailureKind::NotSent));
        assert!(!budget.take(FailureKind::Lost));
    }

    #[test]
    fn successes_do_not_fill_the_bucket_beyond_its_capacity() {
        let mut budget = Budget::new(10);
        assert!(budget.take(FailureKind::TimedOut) && !budget.take(FailureKind::Lost));
        (0..4).for_each(|_| budget.refill());
        assert!(!budget.take(FailureKind::Lost));
        budget.refill();
        assert!(budget.take(FailureKind::Lost));
        (0..1_000).for_each(|_| budget.refill());
        assert!(budget.take(FailureKind::TimedOut) && !budget.take(FailureKind::Lost));
    }

    /// In any order of successes and failures, retries cost at most the initial tokens and one per success.
    #[test]
    fn retries_never_exceed_the_budget() {
        let mut rng = fastrand::Rng::with_seed(7);
        for _ in 0..1_000 {
            let mut budget = Budget::new(BUDGET);
            let (mut spent, mut successes) = (0, 0);
            for _ in 0..2_000 {
                match rng.u8(..3) {
                    0 => {
                        budget.refill();
                        successes += 1;
                    }
                    1 => spent += if budget.take(FailureKind::Lost) { 5 } else { 0 },
                    _ => spent += if budget.take(FailureKind::TimedOut) { 10 } else { 0 },
                }
                assert!(spent <= 500 + successes);
            }
        }
    }

    #[test]
    fn failures_are_classified_by_status() {
        use Delivery::{MaybeSent, NotSent};
        for (status, kind) in [
            (Status::Disconnected(NotSent), Some(FailureKind::NotSent)),
            (Status::Disconnected(MaybeSent), Some(FailureKind::Lost)),
            (Status::TimedOut(NotSent), Some(FailureKind::TimedOut)),
            (Status::TimedOut(MaybeSent), Some(FailureKind::TimedOut)),
            (Status::Overloaded, None),
            (Status::NoError, None),
            (Status::KeyNotFound, None),
            (Status::Busy, None),
        ] {
            assert_eq!(FailureKind::of(status), kind, "{status}");
        }
    }
}
