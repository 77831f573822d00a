//! Fetch policy: how old a returned value may be.

use std::time::Duration;

use crate::error::{Error, ErrorKind};

/// A policy for fetches: how fresh a value has to be, and what may be returned during a reload.
///
/// ```text
///  loaded                 due               ttl                stale_for      time
///    ├──── fresh ──────────┼─ refresh_ahead ─┼──── stale ────────┤── gone ──>
///    │  returned           │ returned, and reloaded by one       │ loaded, and waited for
/// ```
///
/// The protocol counts whole seconds: fractions are rounded up.
///
/// ```
/// use std::time::Duration;
/// use remcache::recipes::FetchPolicy;
///
/// let policy = FetchPolicy::new(Duration::from_secs(300))
///     .refresh_ahead(Duration::from_secs(30))
///     .stale_for(Duration::from_secs(600))
///     .negative_ttl(Duration::from_secs(10));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "it is given to `fetch`"]
pub struct FetchPolicy {
    pub(crate) ttl: Duration,
    pub(crate) refresh_ahead: Duration,
    pub(crate) stale_for: Duration,
    pub(crate) negative: Option<Duration>,
    pub(crate) lease: Duration,
    pub(crate) wait: Duration,
    pub(crate) timeout: Option<Duration>,
    /// Whether a cached negative result counts as a miss, because the caller's loader always returns a value.
    pub(crate) requires_value: bool,
}

impl FetchPolicy {
    /// Creates a policy for values that are fresh for `ttl`.
    pub fn new(ttl: Duration) -> Self {
        Self {
            ttl,
            refresh_ahead: Duration::ZERO,
            stale_for: Duration::ZERO,
            negative: None,
            lease: Duration::from_secs(5),
            wait: Duration::from_secs(1),
            timeout: None,
            requires_value: false,
        }
    }

    /// Reloads a value this long before it stops being fresh (default: not before).
    ///
    /// One caller's loader runs in a separate task while all callers get the current value: after the first
    /// load no caller waits, provided that the key is fetched at least once in this time.
    pub fn refresh_ahead(self, ahead: Duration) -> Self {
        Self { refresh_ahead: ahead, ..self }
    }

    /// Keeps a value for this long after it stopped being fresh, and returns it while one caller's loader
    /// reloads it (default: it expires).
    ///
    /// This is how long stale values are served if the source fails.
    pub fn stale_for(self, stale: Duration) -> Self {
        Self { stale_for: stale, ..self }
    }

    /// Caches negative results of loaders for this long (default: not at all).
    pub fn negative_ttl(self, ttl: Duration) -> Self {
        Self { negative: Some(ttl), ..self }
    }

    /// Sets how long a loader may take before the next may start (default: 5 s).
    ///
    /// A loader that finishes, fails, panics or is dropped releases the others immediately; this limit is for processes
    /// that die. Servers count whole seconds, so a lease may last up to one second longer.
    pub fn lease(self, lease: Duration) -> Self {
        Self { lease, ..self }
    }

    /// Sets how long a caller waits for another caller's loader before it loads by itself (default: 1 s).
    ///
    /// This bounds how long a caller is held up by a process that died while it was loading. Set it above the time
    /// that the loader usually takes: callers that have waited for longer load in parallel.
    pub fn wait_up_to(self, wait: Duration) -> Self {
        Self { wait, ..self }
    }

    /// Sets how long each command of a fetch may take: the lookup, the lease and the fill (default: the client's
    /// [`timeout`](crate::config::Config::timeout)).
    ///
    /// It limits the time that an unavailable cache adds to a load.
    pub fn timeout(self, timeout: Duration) -> Self {
        Self { timeout: Some(timeout), ..self }
    }

    pub(crate) fn requiring_value(self) -> Self {
        Self { requires_value: true, ..self }
    }

    pub(crate) fn check(&self) -> Result<(), Error> {
        let Self { ttl, refresh_ahead, negative, lease, .. } = *self;
        let wrong = |text| Err(Error::new(ErrorKind::InvalidArguments, text));
        if ttl.is_zero() || lease.is_zero() || negative.is_some_and(|ttl| ttl.is_zero()) {
            return wrong("a policy has a ttl, a lease and a negative ttl above zero");
        }
        if refresh_ahead >= ttl {
            return wrong("a policy has a refresh_ahead below its ttl: a value would be due as soon as it is loaded");
        }
        Ok(())
    }

    /// Returns the TTL of the value on the server.
    pub(crate) fn stored_ttl(&self) -> Duration {
        self.ttl.saturating_add(self.stale_for)
    }

    /// Returns the remaining TTL below which a value is due, in whole seconds; zero if it never is.
    pub(crate) fn due_below(&self) -> Duration {
        let threshold = self.stale_for.saturating_add(self.refresh_ahead);
        Duration::from_secs(threshold.as_secs().saturating_add(u64::from(threshold.subsec_nanos() > 0)))
    }

    /// Returns the time from the load until the value is due.
    pub(crate) fn due_after(&self) -> Duration {
        self.ttl.saturating_sub(self.refresh_ahead)
    }
}

impl From<Duration> for FetchPolicy {
    fn from(ttl: Duration) -> Self {
        Self::new(ttl)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_value_is_due_by_its_remaining_ttl() {
        let policy = FetchPolicy::new(seconds(100)).refresh_ahead(seconds(10)).stale_for(seconds(50));
        assert_eq!((policy.stored_ttl(), policy.due_below()), (seconds(150), seconds(60)));
        assert_eq!(policy.due_after(), seconds(90));
        assert_eq!(FetchPolicy::new(seconds(100)).due_below(), Duration::ZERO);
        assert_eq!(FetchPolicy::new(seconds(3)).refresh_ahead(Duration::from_millis(500)).due_below(), seconds(1));
        assert_eq!(FetchPolicy::new(Duration::MAX).stale_for(Duration::MAX).stored_ttl(), Duration::MAX);
    }

    #[test]
    fn invalid_settings_are_refused() {
        let good = FetchPolicy::new(seconds(10));
        assert!(good.refresh_ahead(seconds(9)).negative_ttl(seconds(1)).check().is_ok());
        for bad in [
            FetchPolicy::new(Duration::ZERO),
            good.refresh_ahead(seconds(10)),
            good.negative_ttl(Duration::ZERO),
            good.lease(Duration::ZERO),
        ] {
            assert_eq!(bad.check().unwrap_err().kind(), ErrorKind::InvalidArguments, "{bad:?}");
        }
    }
}
