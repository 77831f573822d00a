//! Rate limiters shared by the whole fleet.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::client::Client;
use crate::error::{Error, ErrorKind};
use crate::recipes::on_unavailable::OnUnavailable;
use crate::result::Item;

/// A rate limiter whose state is in the cache, shared by the whole fleet.
///
/// It is a handle: cloning it is cheap. The clocks of all callers must agree to a fraction of the window or
/// period.
///
/// | rule | allows | costs |
/// |---|---|---|
/// | [`fixed_window`](Limiter::fixed_window) | the limit in each window of the clock, so up to twice that across the border of two | one command |
/// | [`gcra`](Limiter::gcra) | a steady rate, and a burst at once | a get and a store by CAS value, retried on conflict |
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let server = remcache_server::Server::start().await?;
/// # let client = remcache::Client::new([server.address()])?;
/// use std::time::Duration;
/// use remcache::recipes::Limiter;
///
/// let logins = Limiter::gcra(&client, "logins", 5, Duration::from_secs(60)).burst(2);
/// assert!(logins.acquire("ada").await?.is_allowed);
/// assert!(logins.acquire("ada").await?.is_allowed);
/// let third = logins.acquire("ada").await?;
/// assert!(!third.is_allowed && third.retry_after <= Duration::from_secs(12));
/// assert!(logins.acquire("bob").await?.is_allowed);
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Limiter {
    client: Client,
    prefix: Arc<[u8]>,
    rule: Rule,
    when_away: OnUnavailable,
}

#[derive(Clone, Copy, Debug)]
enum Rule {
    Window { limit: u64, window: Duration },
    Gcra { limit: u64, period: Duration, burst: u64 },
}

/// Decision of a limiter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Decision {
    /// Whether the action is allowed now.
    pub is_allowed: bool,
    /// Number of further actions allowed now.
    pub remaining: u64,
    /// Time until the action would be allowed if no other caller acquires; zero if it is allowed now.
    pub retry_after: Duration,
    /// Time until the whole limit is available again if no caller acquires; zero if the action was not counted.
    pub reset_after: Duration,
    /// Whether the action was counted; `false` if the cache was unavailable and the limiter [fails open](OnUnavailable::FailOpen).
    pub is_counted: bool,
}

impl Limiter {
    /// Allows `limit` actions in each window of the clock, counted under this name.
    pub fn fixed_window(client: &Client, name: impl AsRef<[u8]>, limit: u64, window: Duration) -> Self {
        Self::new(client, name.as_ref(), Rule::Window { limit, window })
    }

    /// Allows `limit` actions per period at a steady rate, counted under this name, with an initial burst of the whole limit.
    ///
    /// This is the generic cell rate algorithm: the server stores the theoretical arrival time of the next
    /// action.
    pub fn gcra(client: &Client, name: impl AsRef<[u8]>, limit: u64, period: Duration) -> Self {
        Self::new(client, name.as_ref(), Rule::Gcra { limit, period, burst: limit })
    }

    fn new(client: &Client, name: &[u8], rule: Rule) -> Self {
        let prefix = [name, b":"].concat().into();
        Self { client: client.clone(), prefix, rule, when_away: OnUnavailable::FailOpen }
    }

    /// Maximum burst (default: the limit); [`gcra`](Limiter::gcra) only.
    #[must_use]
    pub fn burst(mut self, at_once: u64) -> Self {
        if let Rule::Gcra { burst, .. } = &mut self.rule {
            *burst = at_once;
        }
        self
    }

    /// What to do when the cache is unavailable (default: [`FailOpen`](OnUnavailable::FailOpen)).
    #[must_use]
    pub fn when_away(self, when_away: OnUnavailable) -> Self {
        Self { when_away, ..self }
    }

    /// Returns the limit: the number of actions in each window or period.
    pub fn limit(&self) -> u64 {
        match self.rule {
            Rule::Window { limit, .. } | Rule::Gcra { limit, .. } => limit,
        }
    }

    /// Returns the length of the window or period.
    pub fn period(&self) -> Duration {
        match self.rule {
            Rule::Window { window, .. } => window,
            Rule::Gcra { period, .. } => period,
        }
    }

    /// Acquires one action.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArguments`] if the limit, burst, window or period is zero;
    /// for GCRA, [`ErrorKind::Conflict`] after 64 conflicting attempts, and [`ErrorKind::Unsupported`] if the
    /// server has no CAS values (`memcached -C`); the client's error if the cache is unavailable and the
    /// limiter [fails closed](OnUnavailable::FailClosed). See [`ErrorKind`].
    ///
    /// # Cancellation
    /// The action may have been counted.
    pub async fn acquire(&self, key: impl AsRef<[u8]>) -> Result<Decision, Error> {
        self.acquire_many(key, 1).await
    }

    /// Acquires `count` actions, all or none.
    ///
    /// A fixed window counts rejected actions too.
    ///
    /// # Errors
    /// As [`Limiter::acquire`].
    ///
    /// # Cancellation
    /// The action may have been counted.
    pub async fn acquire_many(&self, key: impl AsRef<[u8]>, count: u64) -> Result<Decision, Error> {
        let key = [&self.prefix, key.as_ref()].concat();
        let decision = match self.rule {
            Rule::Window { limit, window } if limit > 0 && window >= SHORTEST => {
                self.count(key, limit, window, count).await
            }
            Rule::Gcra { limit, period, burst } if limit > 0 && burst > 0 && period >= SHORTEST => {
                let rate = Rate { interval: (nanoseconds(period) / limit).max(1), burst };
                self.pace(&key, rate, count).await
            }
            rule => {
                let text = format!("{rule:?}: limit and burst are above zero, window and period a millisecond or more");
                return Err(Error::new(ErrorKind::InvalidArguments, text));
            }
        };
        match decision {
            Err(error) if error.is_unavailable() && self.when_away == OnUnavailable::FailOpen => {
                Ok(Decision::UNCOUNTED)
            }
            decision => decision,
        }
    }

    async fn count(&self, mut key: Vec<u8>, limit: u64, window: Duration, count: u64) -> Result<Decision, Error> {
        let (now, window) = (now(), nanoseconds(window));
        let place = now / window;
        key.extend_from_slice(format!(":{place}").as_bytes());
        // A clock that runs slightly behind counts in the same window.
        let ttl = Duration::from_nanos(window).saturating_add(Duration::from_secs(2));
        let used = self.client.increment_or_create(&key, count, count, ttl).await?.value;
        let is_allowed = used <= limit;
        let left = Duration::from_nanos(window - now % window);
        let retry_after = if is_allowed { Duration::ZERO } else { left };
        let remaining = limit.saturating_sub(used);
        Ok(Decision { is_allowed, remaining, retry_after, reset_after: left, is_counted: true })
    }

    async fn pace(&self, key: &[u8], rate: Rate, count: u64) -> Result<Decision, Error> {
        for attempt in 0..TRIES {
            if attempt > 0 {
                let bound = Duration::from_micros(500).saturating_mul(attempt).min(LONGEST_WAIT);
                tokio::time::sleep(bound.mul_f64(fastrand::f64())).await;
            }
            let item = self.client.get(key).await?;
            let cas = match &item {
                Some(item) => Some(self.client.home(key).checked_cas(item.cas)?),
                None => {
                    // An add needs no CAS value, but the next call would: fail consistently.
                    self.client.home(key).require_cas().await?;
                    None
                }
            };
            let now = now();
            let used_up = item.as_ref().and_then(instant).unwrap_or(0).max(now);
            let (used_up, decision) = match rate.take(used_up, now, count) {
                Ok(taken) => taken,
                Err(decision) => return Ok(decision),
            };
            // Once the stored instant has passed, the item is equivalent to none.
            let ttl = Duration::from_nanos(used_up - now).saturating_add(Duration::from_secs(2));
            let value = used_up.to_string();
            let change = match cas {
                Some(cas) => self.client.compare_and_swap(key, value, cas).ttl(ttl).await?,
                None => self.client.add(key, value).ttl(ttl).await?,
            };
            if change.is_applied() {
                return Ok(decision);
            }
        }
        let text = format!("conflicting updates in all of {TRIES} attempts: use a fixed window, or split the key");
        Err(Error::new(ErrorKind::Conflict, text))
    }
}

/// GCRA parameters, in nanoseconds.
#[derive(Clone, Copy, Debug)]
struct Rate {
    /// Emission interval: the time that one action takes.
    interval: u64,
    burst: u64,
}

impl Rate {
    /// Acquires `count` actions at `now`, given the stored arrival time; returns the new arrival time or the refusal.
    fn take(self, used_up: u64, now: u64, count: u64) -> Result<(u64, Decision), Decision> {
        let most = self.interval.saturating_mul(self.burst);
        let after = used_up.saturating_add(self.interval.saturating_mul(count));
        let ahead = after - now;
        if ahead > most {
            let remaining = most.saturating_sub(used_up - now) / self.interval;
            let retry_after = Duration::from_nanos(ahead - most);
            let reset_after = Duration::from_nanos(used_up - now);
            return Err(Decision { is_allowed: false, remaining, retry_after, reset_after, is_counted: true });
        }
        let remaining = (most - ahead) / self.interval;
        let (retry_after, reset_after) = (Duration::ZERO, Duration::from_nanos(ahead));
        Ok((after, Decision { is_allowed: true, remaining, retry_after, reset_after, is_counted: true }))
    }
}

impl Decision {
    /// Decision of a limiter that fails open.
    const UNCOUNTED: Self = Self {
        is_allowed: true,
        remaining: 0,
        retry_after: Duration::ZERO,
        reset_after: Duration::ZERO,
        is_counted: false,
    };
}

/// Parses the instant stored in an item; an invalid item counts as long past.
fn instant(item: &Item) -> Option<u64> {
    std::str::from_utf8(&item.value).ok()?.trim_end().parse().ok()
}

/// Nanoseconds since the Unix epoch; 64 bits suffice until 2554.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, nanoseconds)
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

impl fmt::Debug for Limiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let prefix = self.prefix.escape_ascii().to_string();
        f.debug_struct("Limiter").field("prefix", &prefix).field("rule", &self.rule).finish_non_exhaustive()
    }
}

/// Maximum attempts before the operation fails with a conflict.
const TRIES: u32 = 64;
/// Maximum delay before a retry, with full jitter, so that other clients can make progress.
const LONGEST_WAIT: Duration = Duration::from_millis(20);
/// Minimum window or period.
const SHORTEST: Duration = Duration::from_millis(1);

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    /// Acquires one at a time at ten per second with a burst of three; returns the number allowed and the refusal.
    fn take_all(used_up: &mut u64, now: u64) -> (u64, Decision) {
        let rate = Rate { interval: SECOND / 10, burst: 3 };
        for taken in 0.. {
            match rate.take((*used_up).max(now), now, 1) {
                Ok((after, decision)) => {
                    assert_eq!(decision.remaining, 2 - taken.min(2));
                    *used_up = after;
                }
                Err(decision) => return (taken, decision),
            }
        }
        unreachable!("the limiter refuses eventually")
    }

    #[test]
    fn a_burst_is_allowed_at_once_and_then_the_rate() {
        let (mut used_up, start) = (0, 1_800_000_000 * SECOND);
        let (taken, refusal) = take_all(&mut used_up, start);
        assert_eq!((taken, refusal.remaining), (3, 0));
        assert_eq!(refusal.retry_after, Duration::from_millis(100));
        assert_eq!(refusal.reset_after, Duration::from_millis(300));
        let rate = Rate { interval: SECOND / 10, burst: 3 };
        let soon = start + SECOND / 20;
        let refusal = rate.take(used_up.max(soon), soon, 1).unwrap_err();
        assert_eq!(refusal.retry_after, Duration::from_millis(50), "half of it has passed");
        let in_time = soon + SECOND / 20;
        assert!(rate.take(used_up.max(in_time), in_time, 1).is_ok());
    }

    #[test]
    fn what_was_not_used_does_not_add_up_past_the_burst() {
        let (mut used_up, start) = (0, 1_800_000_000 * SECOND);
        take_all(&mut used_up, start);
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
}
