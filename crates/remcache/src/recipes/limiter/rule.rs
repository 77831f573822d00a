//! Rules of limiters, and their arithmetic.

use std::time::Duration;

use super::Decision;
use crate::error::{Error, ErrorKind};

/// What a [`Limiter`](super::Limiter) allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Rule {
    /// A number of actions in each window.
    FixedWindow(FixedWindow),
    /// A steady rate with bursts.
    Gcra(Gcra),
}

/// A limit on the actions in each window of the clock, which allows up to twice as many across the boundary of two
/// windows.
///
/// It costs one command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "pass it to `Limiter::new`"]
pub struct FixedWindow {
    pub(super) limit: u64,
    pub(super) window: Duration,
}

/// A steady rate with bursts: the generic cell rate algorithm.
///
/// The server stores the theoretical arrival time of the next action. It costs a get and a store by CAS value,
/// which is retried on conflict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "pass it to `Limiter::new`"]
pub struct Gcra {
    limit: u64,
    period: Duration,
    burst: u64,
}

impl FixedWindow {
    /// Allows `limit` actions in each window, which is at least a millisecond long.
    pub fn new(limit: u64, window: Duration) -> Self {
        Self { limit, window }
    }
}

impl Gcra {
    /// Allows `limit` actions per period, which is at least a millisecond long, and the whole limit at once.
    pub fn new(limit: u64, period: Duration) -> Self {
        Self { limit, period, burst: limit }
    }

    /// Sets the number of actions that are allowed at once (default: the limit).
    pub fn burst(self, burst: u64) -> Self {
        Self { burst, ..self }
    }

    pub(super) fn rate(self) -> Rate {
        Rate { interval: (nanoseconds(self.period) / self.limit.max(1)).max(1), burst: self.burst }
    }
}

impl From<FixedWindow> for Rule {
    fn from(rule: FixedWindow) -> Self {
        Self::FixedWindow(rule)
    }
}

impl From<Gcra> for Rule {
    fn from(rule: Gcra) -> Self {
        Self::Gcra(rule)
    }
}

impl Rule {
    /// Returns the maximum number of actions at once.
    pub(super) fn at_once(self) -> u64 {
        match self {
            Self::FixedWindow(FixedWindow { limit, .. }) => limit,
            Self::Gcra(Gcra { burst, .. }) => burst,
        }
    }

    pub(super) fn limit(self) -> u64 {
        match self {
            Self::FixedWindow(FixedWindow { limit, .. }) | Self::Gcra(Gcra { limit, .. }) => limit,
        }
    }

    pub(super) fn period(self) -> Duration {
        match self {
            Self::FixedWindow(FixedWindow { window, .. }) => window,
            Self::Gcra(Gcra { period, .. }) => period,
        }
    }

    /// Rejects a rule that allows nothing or cannot be measured.
    pub(super) fn check(self) -> Result<(), Error> {
        let (limit, burst, period, name) = match self {
            Self::FixedWindow(FixedWindow { limit, window }) => (limit, limit, window, "window"),
            Self::Gcra(Gcra { limit, period, burst }) => (limit, burst, period, "period"),
        };
        let problem = match (limit, burst) {
            (0, _) => "the limit is 0 and would allow nothing".to_owned(),
            (_, 0) => "the burst is 0 and would allow nothing".to_owned(),
            _ if period < MIN_PERIOD => format!("the {name} is {period:?}: it is at least {MIN_PERIOD:?}"),
            _ => return Ok(()),
        };
        Err(Error::new(ErrorKind::InvalidArguments, format!("limiter: {problem}")))
    }

    /// Rejects a number of actions that can never be allowed.
    pub(super) fn check_count(self, count: u64) -> Result<(), Error> {
        let problem = match count {
            0 => "acquiring 0 actions decides nothing".to_owned(),
            _ if count > self.at_once() => {
                format!("{count} actions at once can never be allowed: the limiter allows at most {}", self.at_once())
            }
            _ => return Ok(()),
        };
        Err(Error::new(ErrorKind::InvalidArguments, format!("limiter: {problem}")))
    }
}

/// GCRA parameters, in nanoseconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rate {
    /// Emission interval: the time that one action takes.
    interval: u64,
    burst: u64,
}

impl Rate {
    /// Acquires `count` actions at `now`, given the stored arrival time; returns the new arrival time or the refusal.
    pub(super) fn take(self, used_up: u64, now: u64, count: u64) -> Result<(u64, Decision), Decision> {
        let most = self.interval.saturating_mul(self.burst);
        let after = used_up.saturating_add(self.interval.saturating_mul(count));
        let ahead = after - now;
        if ahead > most {
            let remaining = most.saturating_sub(used_up - now) / self.interval;
            let retry_after = Duration::from_nanos(ahead - most);
            let reset_after = Duration::from_nanos(used_up - now);
            return Err(Decision::denied(self.burst, remaining, retry_after, reset_after));
        }
        let remaining = (most - ahead) / self.interval;
        Ok((after, Decision::allowed(self.burst, remaining, Duration::from_nanos(ahead))))
    }
}

pub(super) fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Minimum window or period.
const MIN_PERIOD: Duration = Duration::from_millis(1);

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    /// Acquires one at a time at ten per second with a burst of three; returns the number allowed and the refusal.
    fn take_all(used_up: &mut u64, now: u64) -> (u64, Decision) {
        let rate = Rate { interval: SECOND / 10, burst: 3 };
        for allowed in 0.. {
            match rate.take((*used_up).max(now), now, 1) {
                Ok((after, decision)) => {
                    assert_eq!((decision.limit, decision.remaining), (3, 2 - allowed.min(2)));
                    assert_eq!(decision.reset_after, Duration::from_nanos(after - now));
                    *used_up = after;
                }
                Err(decision) => return (allowed, decision),
            }
        }
        unreachable!("the limiter refuses eventually")
    }

    #[test]
    fn a_burst_is_allowed_at_once_and_then_the_rate() {
        let (mut used_up, start) = (0, 1_800_000_000 * SECOND);
        let (allowed, refusal) = take_all(&mut used_up, start);
        assert_eq!((allowed, refusal.remaining, refusal.limit), (3, 0, 3));
        assert_eq!(refusal.retry_after, Duration::from_millis(100));
        assert_eq!(refusal.reset_after, Duration::from_millis(300), "until the whole burst is allowed again");
        let rate = Rate { interval: SECOND / 10, burst: 3 };
        let soon = start + SECOND / 20;
        let refusal = rate.take(used_up.max(soon), soon, 1).unwrap_err();
        assert_eq!(refusal.retry_after, Duration::from_millis(50), "half of it has passed");
        let in_time = soon + SECOND / 20;
        assert!(rate.take(used_up.max(in_time), in_time, 1).is_ok());
    }

    #[test]
    fn unused_permits_do_not_exceed_the_burst() {
        let (mut used_up, start) = (0, 1_800_000_000 * SECOND);
        assert_eq!(take_all(&mut used_up, start).0, 3);
        assert_eq!(take_all(&mut used_up, start + 3600 * SECOND).0, 3);
    }

    #[test]
    fn more_than_a_burst_is_never_allowed_and_nothing_of_it_is_taken() {
        let rate = Rate { interval: SECOND / 10, burst: 3 };
        let now = 1_800_000_000 * SECOND;
        let refusal = rate.take(now, now, 4).unwrap_err();
        assert_eq!((refusal.is_allowed, refusal.remaining), (false, 3));
        assert!(rate.take(now, now, u64::MAX).is_err());
        assert!(rate.take(now, now, 3).is_ok());
    }

    #[test]
    fn rules_that_allow_nothing_are_rejected_with_their_reason() {
        const HOUR: Duration = Duration::from_secs(3600);
        for (rule, reason) in [
            (Rule::from(FixedWindow::new(0, HOUR)), "the limit is 0"),
            (FixedWindow::new(1, Duration::from_micros(999)).into(), "the window is 999µs"),
            (Gcra::new(0, HOUR).into(), "the limit is 0"),
            (Gcra::new(0, HOUR).burst(1).into(), "the limit is 0"),
            (Gcra::new(1, HOUR).burst(0).into(), "the burst is 0"),
            (Gcra::new(1, Duration::ZERO).into(), "the period is 0ns"),
        ] {
            let error = rule.check().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidArguments, "{rule:?}");
            assert!(error.to_string().contains(reason), "{rule:?}: {error}");
        }
    }

    #[test]
    fn counts_that_can_never_be_allowed_are_rejected() {
        let rule = Rule::from(Gcra::new(50, Duration::from_secs(60)).burst(20));
        assert!(rule.check_count(20).is_ok());
        for (count, reason) in [(21, "at most 20"), (0, "0 actions")] {
            let error = rule.check_count(count).unwrap_err();
            assert!(error.to_string().contains(reason), "{error}");
        }
    }
}
