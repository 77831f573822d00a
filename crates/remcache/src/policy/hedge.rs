//! Hedging: when a slow read is also sent to a second server, and the limit on such reads.

use std::time::Duration;

/// When an unanswered read is also sent to the next replica: see [`Config::hedge`](crate::config::Config::hedge).
///
/// The first answer wins. A read may be stale at any time, because the replica that answers first may have missed a
/// write that the slow one has. See [`Config::replicas`](crate::config::Config::replicas).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hedge {
    pub(crate) delay: Duration,
    pub(crate) percent: u32,
}

impl Hedge {
    /// Hedges after this delay, for at most one read in twenty.
    ///
    /// A good delay is the time within which nearly all reads are answered, such as the 95th percentile: a shorter
    /// delay sends reads twice for no benefit.
    pub fn after(delay: Duration) -> Self {
        Self { delay, percent: 5 }
    }

    /// Sets the percentage of reads that may be hedged (default: 5).
    ///
    /// The limit keeps the load on slow servers from doubling. Up to ten hedges may be sent in a burst.
    #[must_use]
    pub fn max_percent(self, percent: u32) -> Self {
        Self { percent: percent.min(100), ..self }
    }
}

/// The budget of hedges: each read earns a part of one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HedgeBudget {
    percent: u32,
    hundredths: u32,
}

impl HedgeBudget {
    pub(crate) fn new(percent: u32) -> Self {
        Self { percent, hundredths: MAX }
    }

    /// Earns a part of a hedge for a read.
    pub(crate) fn deposit(&mut self) {
        self.hundredths = self.hundredths.saturating_add(self.percent).min(MAX);
    }

    /// Withdraws a hedge; returns `false` if the budget is exhausted.
    pub(crate) fn withdraw(&mut self) -> bool {
        let remaining = self.hundredths.checked_sub(ONE).filter(|_| self.percent > 0);
        if let Some(remaining) = remaining {
            self.hundredths = remaining;
        }
        remaining.is_some()
    }
}

const ONE: u32 = 100;
const MAX: u32 = 10 * ONE;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_slow_read_in_twenty_is_hedged() {
        let mut budget = HedgeBudget::new(5);
        let twice = (0..10_000).filter(|_| {
            budget.deposit();
            budget.withdraw()
        });
        let twice = twice.count();
        assert!((500..=510).contains(&twice), "{twice}");
    }

    #[test]
    fn unused_hedges_accumulate_up_to_ten() {
        let mut budget = HedgeBudget::new(5);
        (0..10_000).for_each(|_| budget.deposit());
        assert_eq!((0..100).filter(|_| budget.withdraw()).count(), 10);
    }

    #[test]
    fn zero_percent_allows_no_hedge() {
        let mut budget = HedgeBudget::new(0);
        budget.deposit();
        assert!(!budget.withdraw());
        assert_eq!(Hedge::after(Duration::from_millis(1)).max_percent(400).percent, 100);
    }
}
