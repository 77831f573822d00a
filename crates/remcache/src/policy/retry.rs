//! What may be sent again after a failure, and the budget for it.

use std::time::Duration;

use crate::proto::{Operation, Status};

/// What is sent again after a failure: see [`Config::retries`](crate::config::Config::retries).
///
/// A request is sent again only if it was not sent, or if doing it twice is the same as doing it
/// once: fetches (`get`), `version`, `noop`. Sets and deletes may be opted in. Counters, `append`,
/// `prepend`, `add`, `replace`, touching fetches, and whatever has a CAS value are never repeated
/// once a byte of them may have left.
///
/// A fetch that is repeated is as fresh as any. Where sets or deletes are opted in, the second one may
/// undo what another writer did between the two: then an older value is read, until it is changed.
///
/// All within the request's one deadline, and within a budget for the whole client: a bucket of
/// tokens, of which a second attempt takes 5, or 10 after a timeout, and each success gives 1 back.
/// When servers fail altogether the bucket is empty soon, and nothing makes their trouble worse.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retries {
    pub(crate) attempts: u32,
    pub(crate) attempt_timeout: Option<Duration>,
    pub(crate) sets: bool,
    pub(crate) deletes: bool,
    pub(crate) budget: u32,
}

impl Retries {
    /// Nothing is asked of the same server again (the default).
    ///
    /// The budget holds all the same for what [`Failover`](super::Failover) and copies send to
    /// another server.
    pub fn none() -> Self {
        Self::up_to(0)
    }

    /// A request is asked of the same server again so often: on another of its connections, or on the
    /// same one if the next attempt to connect succeeds.
    pub fn up_to(attempts: u32) -> Self {
        Self { attempts, attempt_timeout: None, sets: false, deletes: false, budget: BUDGET }
    }

    /// How long one attempt may take before the next is made (default: as long as the whole
    /// request, so that nothing follows a timeout).
    #[must_use]
    pub fn attempt_timeout(self, timeout: Duration) -> Self {
        Self { attempt_timeout: Some(timeout), ..self }
    }

    /// Sets may be repeated: one that is done twice may undo another writer's change that came
    /// between.
    #[must_use]
    pub fn sets(self) -> Self {
        Self { sets: true, ..self }
    }

    /// Deletes may be repeated: one that is done twice may remove what another writer stored between,
    /// and says `NotFound` although the first removed it.
    #[must_use]
    pub fn deletes(self) -> Self {
        Self { deletes: true, ..self }
    }

    /// How many tokens the bucket holds (default: 500, which is 100 retries).
    #[must_use]
    pub fn budget(self, tokens: u32) -> Self {
        Self { budget: tokens, ..self }
    }

    /// Whether these settings opt an operation in.
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

/// What went wrong with an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FailureKind {
    /// It was not sent: sending it elsewhere is free.
    NotSent,
    /// The connection was lost, and the request may have been executed.
    Lost,
    /// It was not answered in time.
    TimedOut,
}

impl FailureKind {
    /// The kind of failure of a status; `None` if the server answered, or if the failure is local.
    pub(crate) fn of(status: Status) -> Option<Self> {
        match status {
            Status::Disconnected(_) if status.may_have_executed() => Some(Self::Lost),
            Status::Disconnected(_) => Some(Self::NotSent),
            Status::TimedOut(_) => Some(Self::TimedOut),
            _ => None,
        }
    }
}

/// The bucket that second attempts take their tokens from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Budget {
    tokens: u32,
    capacity: u32,
}

impl Budget {
    /// A full bucket.
    pub(crate) fn new(capacity: u32) -> Self {
        Self { tokens: capacity, capacity }
    }

    /// Takes the tokens of a second attempt, if there are enough.
    pub(crate) fn take(&mut self, after: FailureKind) -> bool {
        let cost = match after {
            FailureKind::NotSent => 0,
            FailureKind::Lost => COST,
            FailureKind::TimedOut => COST_AFTER_TIMEOUT,
        };
        let left = self.tokens.checked_sub(cost);
        self.tokens = left.unwrap_or(self.tokens);
        left.is_some()
    }

    /// Gives a token back for a success.
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
    fn a_full_bucket_pays_for_a_hundred_retries_or_fifty_after_timeouts() {
        for (trouble, most) in [(FailureKind::Lost, 100), (FailureKind::TimedOut, 50)] {
            let mut budget = Budget::new(BUDGET);
            assert_eq!((0..10_000).filter(|_| budget.take(trouble)).count(), most, "{trouble:?}");
        }
    }

    #[test]
    fn unsent_requests_cost_no_retry() {
        let mut budget = Budget::new(0);
        assert!(budget.take(FailureKind::NotSent));
        assert!(!budget.take(FailureKind::Lost));
    }

    #[test]
    fn successes_fill_the_bucket_no_further_than_it_goes() {
        let mut budget = Budget::new(10);
        assert!(budget.take(FailureKind::TimedOut) && !budget.take(FailureKind::Lost));
        (0..4).for_each(|_| budget.refill());
        assert!(!budget.take(FailureKind::Lost));
        budget.refill();
        assert!(budget.take(FailureKind::Lost));
        (0..1_000).for_each(|_| budget.refill());
        assert!(budget.take(FailureKind::TimedOut) && !budget.take(FailureKind::Lost));
    }

    /// However successes and failures alternate, retries are at most a fifth of the successes and what
    /// the bucket held at first.
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
        for (status, trouble) in [
            (Status::Disconnected(NotSent), Some(FailureKind::NotSent)),
            (Status::Disconnected(MaybeSent), Some(FailureKind::Lost)),
            (Status::TimedOut(NotSent), Some(FailureKind::TimedOut)),
            (Status::TimedOut(MaybeSent), Some(FailureKind::TimedOut)),
            (Status::Overloaded, None),
            (Status::NoError, None),
            (Status::KeyNotFound, None),
            (Status::Busy, None),
        ] {
            assert_eq!(FailureKind::of(status), trouble, "{status}");
        }
    }
}
