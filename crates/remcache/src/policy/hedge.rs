//! When a slow read is asked of a second server, and how often at most.

use std::time::Duration;

/// When a read that is not answered yet is asked of the next copy as well: see
/// [`Config::hedge`](crate::config::Config::hedge).
///
/// The first answer wins. A read may be stale as any read of a copy may, and at any time: the copy
/// that answers first may have missed a change that the slow one has. See
/// [`Config::replicas`](crate::config::Config::replicas).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hedge {
    pub(crate) delay: Duration,
    pub(crate) percent: u32,
}

impl Hedge {
    /// Hedges after this delay, for at most one read in twenty.
    ///
    /// A good delay is the time within which nearly all reads are answered, the 95th percentile say: a
    /// shorter one asks twice for nothing.
    pub fn after(delay: Duration) -> Self {
        Self { delay, percent: 5 }
    }

    /// How many reads in a hundred may be asked twice (default: 5).
    ///
    /// The budget keeps a slow fleet from being asked twice as much. Ten may follow each other at
    /// once.
    #[must_use]
    pub fn percent(self, percent: u32) -> Self {
        Self { percent: percent.min(100), ..self }
    }
}

/// How many reads may be asked twice now: each read earns a part of one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Allowance {
    percent: u32,
    hundredths: u32,
}

impl Allowance {
    pub(crate) fn new(percent: u32) -> Self {
        Self { percent, hundredths: MOST }
    }

    /// A read was asked.
    pub(crate) fn earn(&mut self) {
        self.hundredths = self.hundredths.saturating_add(self.percent).min(MOST);
    }

    /// Whether it may be asked a second time.
    pub(crate) fn spend(&mut self) -> bool {
        let left = self.hundredths.checked_sub(ONE).filter(|_| self.percent > 0);
        if let Some(left) = left {
            self.hundredths = left;
        }
        left.is_some()
    }
}

const ONE: u32 = 100;
const MOST: u32 = 10 * ONE;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_slow_reads_one_in_twenty_is_asked_twice() {
        let mut allowance = Allowance::new(5);
        let twice = (0..10_000).filter(|_| {
            allowance.earn();
            allowance.spend()
        });
        let twice = twice.count();
        assert!((500..=510).contains(&twice), "{twice}");
    }

    #[test]
    fn quick_reads_save_up_for_ten() {
        let mut allowance = Allowance::new(5);
        (0..10_000).for_each(|_| allowance.earn());
        assert_eq!((0..100).filter(|_| allowance.spend()).count(), 10);
    }

    #[test]
    fn nothing_earns_nothing() {
        let mut allowance = Allowance::new(0);
        allowance.earn();
        assert!(!allowance.spend());
        assert_eq!(Hedge::after(Duration::from_millis(1)).percent(400).percent, 100);
    }
}
