//! Polling schedule: a jittered interval, and exponential backoff after failures.

use std::time::Duration;

/// Counts failures and computes delays.
#[derive(Debug)]
pub(crate) struct Pace {
    failures: u32,
    random: fastrand::Rng,
}

impl Pace {
    pub(crate) fn new(seed: Option<u64>) -> Self {
        Self { failures: 0, random: seed.map_or_else(fastrand::Rng::new, fastrand::Rng::with_seed) }
    }

    /// Returns the delay after a success: the interval with 10 % jitter.
    pub(crate) fn after_success(&mut self, interval: Duration) -> Duration {
        self.failures = 0;
        interval.mul_f64(0.9 + 0.2 * self.random.f64())
    }

    /// Returns the delay after a failure: exponential up to the interval, and at least a third of it.
    ///
    /// It is never zero, so that a source that keeps failing immediately does not cause a busy loop.
    pub(crate) fn after_failure(&mut self, interval: Duration) -> Duration {
        let bound = FIRST.saturating_mul(1 << self.failures.min(20)).min(interval.max(MIN_CAP));
        self.failures = self.failures.saturating_add(1);
        bound.mul_f64((1.0 + 2.0 * self.random.f64()) / 3.0)
    }
}

const FIRST: Duration = Duration::from_millis(100);
/// Maximum delay for sources that push updates and have no interval.
const MIN_CAP: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_double_the_wait_and_success_resets_it() {
        let mut pace = Pace::new(Some(7));
        for bound_ms in [100, 200, 400, 800, 1600, 3000, 3000, 3000] {
            let (wait, bound) = (pace.after_failure(Duration::from_secs(3)), Duration::from_millis(bound_ms));
            assert!(wait >= bound / 3 && wait <= bound, "{wait:?} of {bound:?}");
        }
        let wait = pace.after_success(Duration::from_secs(3));
        assert!(wait >= Duration::from_millis(2700) && wait <= Duration::from_millis(3300), "{wait:?}");
        assert!(pace.after_failure(Duration::from_secs(3)) <= Duration::from_millis(100));
    }

    #[test]
    fn push_sources_are_polled_at_once_but_not_after_failures() {
        let mut pace = Pace::new(Some(7));
        assert_eq!(pace.after_success(Duration::ZERO), Duration::ZERO);
        let waits: Vec<_> = (0..100).map(|_| pace.after_failure(Duration::ZERO)).collect();
        assert!(waits.iter().all(|wait| *wait >= FIRST / 3 && *wait <= MIN_CAP), "{waits:?}");
        assert!(waits[10..].iter().all(|wait| *wait >= MIN_CAP / 3), "{waits:?}");
    }
}
