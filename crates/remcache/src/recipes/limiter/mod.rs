//! Rate limiters shared by the whole fleet.

mod rule;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

pub use rule::{FixedWindow, Gcra, Rule};

use crate::client::Client;
use crate::error::{Error, ErrorKind};
use crate::observe;
use crate::observe::OperationName;
use crate::ops::builder::kind::Store;
use crate::proto::Request;
use crate::recipes::builder::within;
use crate::recipes::on_unavailable::OnUnavailable;
use crate::recipes::update::{TRIES, wait_before_attempt};
use crate::result::Item;
use rule::{Rate, nanoseconds};

/// A rate limiter whose state is in the cache, shared by the whole fleet.
///
/// It is a handle: cloning it is cheap. The clocks of all callers must agree to a fraction of the window or
/// period. Its rule is a [`FixedWindow`] or [`Gcra`].
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let server = remcache_server::Server::start().await?;
/// # let client = remcache::Client::new([server.address()])?;
/// use std::time::Duration;
/// use remcache::recipes::{Gcra, Limiter};
///
/// let logins = Limiter::new(&client, "logins", Gcra::new(5, Duration::from_secs(60)).burst(2))?;
/// assert!(logins.acquire("ada").await?.is_allowed);
/// assert!(logins.acquire("ada").await?.is_allowed);
/// let third = logins.acquire("ada").await?;
/// assert!(!third.is_allowed && third.retry_after <= Duration::from_secs(12));
/// assert_eq!((third.limit, third.remaining), (2, 0));
/// assert!(logins.acquire("bob").await?.is_allowed);
/// # Ok(()) }
/// ```
#[derive(Clone)]
#[must_use = "a limiter limits nothing unless actions are acquired"]
pub struct Limiter {
    client: Client,
    prefix: Arc<[u8]>,
    rule: Rule,
    on_unavailable: OnUnavailable,
    timeout: Option<Duration>,
}

/// The decision of a limiter.
///
/// `limit`, `remaining` and `reset_after` are the values of HTTP's `RateLimit` header fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[must_use = "the action may not be allowed"]
pub struct Decision {
    /// Whether the action is allowed now.
    pub is_allowed: bool,
    /// Maximum number of actions at once: the limit of the window, or the burst.
    pub limit: u64,
    /// Number of further actions allowed now.
    pub remaining: u64,
    /// Time until the action would be allowed if no other caller acquires; zero if it is allowed now.
    pub retry_after: Duration,
    /// Time until `limit` actions are allowed again if no caller acquires.
    pub reset_after: Duration,
    /// Whether the action was counted; `false` if the cache was unavailable and the limiter
    /// [fails open](OnUnavailable::FailOpen).
    pub is_counted: bool,
}

impl Limiter {
    /// Creates a limiter that counts under this name.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArguments`] if the rule's limit or burst is zero, or its window or period is below a
    /// millisecond.
    pub fn new(client: &Client, name: impl AsRef<[u8]>, rule: impl Into<Rule>) -> Result<Self, Error> {
        let (rule, prefix) = (rule.into(), [name.as_ref(), b":"].concat().into());
        rule.check()?;
        Ok(Self { client: client.clone(), prefix, rule, on_unavailable: OnUnavailable::FailOpen, timeout: None })
    }

    /// Sets what to do when the cache is unavailable (default: [`FailOpen`](OnUnavailable::FailOpen)).
    pub fn on_unavailable(self, on_unavailable: OnUnavailable) -> Self {
        Self { on_unavailable, ..self }
    }

    /// Sets how long a decision may take, all attempts included (default: each request has the client's
    /// [`timeout`](crate::config::Config::timeout)).
    ///
    /// The cache counts as unavailable after that.
    pub fn timeout(self, timeout: Duration) -> Self {
        Self { timeout: Some(timeout), client: self.client.with_timeout(timeout), ..self }
    }

    /// Returns the limit: the number of actions in each window or period.
    pub fn limit(&self) -> u64 {
        self.rule.limit()
    }

    /// Returns the length of the window or period.
    pub fn period(&self) -> Duration {
        self.rule.period()
    }

    /// Acquires one action.
    ///
    /// # Errors
    /// For [`Gcra`], [`ErrorKind::Conflict`] after 64 conflicting attempts, and [`ErrorKind::Unsupported`] if the
    /// server has no CAS values (`memcached -C`); the client's error if the cache is unavailable and the
    /// limiter [fails closed](OnUnavailable::FailClosed). See [`ErrorKind`].
    ///
    /// # Cancel safety
    /// The action may have been counted.
    pub async fn acquire(&self, key: impl AsRef<[u8]>) -> Result<Decision, Error> {
        self.acquire_many(key, 1).await
    }

    /// Acquires `count` actions, all or none.
    ///
    /// A fixed window counts rejected actions too.
    ///
    /// # Errors
    /// Same as [`Limiter::acquire`], and [`ErrorKind::InvalidArguments`] if `count` is zero or more than the limiter
    /// ever allows at once.
    ///
    /// # Cancel safety
    /// The action may have been counted.
    pub async fn acquire_many(&self, key: impl AsRef<[u8]>, count: u64) -> Result<Decision, Error> {
        let now = now();
        let key = self.item_key(key.as_ref(), now);
        let operation = self.client.observe(OperationName::Acquire, &key);
        let decision = self.decide_with_timeout(operation.client(), &key, count, now).await;
        match operation.into_guard().end_with(observe::done, decision) {
            Err(error) if error.is_unavailable() && self.on_unavailable == OnUnavailable::FailOpen => {
                Ok(Decision::not_counted(self.rule.at_once()))
            }
            decision => decision,
        }
    }

    /// Returns the key of the item that counts the actions of a key at an instant.
    fn item_key(&self, key: &[u8], now: u64) -> Vec<u8> {
        let key = [&self.prefix, key].concat();
        match self.rule {
            Rule::FixedWindow(rule) => [&key[..], format!(":{}", now / nanoseconds(rule.window)).as_bytes()].concat(),
            Rule::Gcra(_) => key,
        }
    }

    async fn decide_with_timeout(&self, client: &Client, key: &[u8], count: u64, now: u64) -> Result<Decision, Error> {
        self.rule.check_count(count)?;
        let decision = self.decide(client, key, count, now);
        match self.timeout {
            Some(timeout) => within(timeout, decision, |error| error).await,
            None => decision.await,
        }
    }

    async fn decide(&self, client: &Client, key: &[u8], count: u64, now: u64) -> Result<Decision, Error> {
        match self.rule {
            Rule::FixedWindow(rule) => Self::count(client, key, rule, count, now).await,
            Rule::Gcra(rule) => Self::apply_gcra(client, key, rule.rate(), count).await,
        }
    }

    async fn count(client: &Client, key: &[u8], rule: FixedWindow, count: u64, now: u64) -> Result<Decision, Error> {
        let (window, limit) = (nanoseconds(rule.window), rule.limit);
        // A clock that runs slightly behind counts in the same window.
        let ttl = Duration::from_nanos(window).saturating_add(Duration::from_secs(2));
        let used = client.increment_or_create(key, count, count, ttl).await?.value;
        let (remaining, until_next_window) = (limit.saturating_sub(used), Duration::from_nanos(window - now % window));
        Ok(match used <= limit {
            true => Decision::allowed(limit, remaining, until_next_window),
            false => Decision::denied(limit, remaining, until_next_window, until_next_window),
        })
    }

    async fn apply_gcra(client: &Client, key: &[u8], rate: Rate, count: u64) -> Result<Decision, Error> {
        for attempt in 0..TRIES {
            wait_before_attempt(attempt).await;
            let (item, server) = client.get(key).located().await;
            let (item, pinned) = (item?, client.pinned(key, server.as_ref()));
            let cas = match &item {
                Some(item) => Some(pinned.checked_cas(item.cas)?),
                None => {
                    // An add needs no CAS value, but the next call would: fail consistently.
                    pinned.require_cas().await?;
                    None
                }
            };
            let now = now();
            let used_up = item.as_ref().and_then(instant).unwrap_or(0).max(now);
            let (used_up, decision) = match rate.take(used_up, now, count) {
                Ok(acquired) => acquired,
                Err(decision) => return Ok(decision),
            };
            // Once the stored instant has passed, the item is equivalent to none.
            let ttl = Duration::from_nanos(used_up - now).saturating_add(Duration::from_secs(2));
            let value = used_up.to_string();
            let change = match cas {
                Some(cas) => pinned.ask::<Store>(Request::set(key, value).cas(cas).ttl(ttl)).await?,
                // All callers add on the same server, whichever replica they prefer to read.
                None => client.add(key, value).ttl(ttl).await?,
            };
            if change.is_applied() {
                return Ok(decision);
            }
        }
        let text = format!("conflicting updates in all of {TRIES} attempts: use a fixed window, or split the key");
        Err(Error::new(ErrorKind::Conflict, text))
    }
}

impl Decision {
    fn allowed(limit: u64, remaining: u64, reset_after: Duration) -> Self {
        Self { is_allowed: true, limit, remaining, retry_after: Duration::ZERO, reset_after, is_counted: true }
    }

    fn denied(limit: u64, remaining: u64, retry_after: Duration, reset_after: Duration) -> Self {
        Self { is_allowed: false, limit, remaining, retry_after, reset_after, is_counted: true }
    }

    /// Returns the decision of a limiter that fails open.
    fn not_counted(limit: u64) -> Self {
        Self { is_counted: false, ..Self::allowed(limit, 0, Duration::ZERO) }
    }
}

/// Parses the instant stored in an item; an invalid item counts as long past.
fn instant(item: &Item) -> Option<u64> {
    std::str::from_utf8(&item.value).ok()?.trim_end().parse().ok()
}

/// Nanoseconds since the Unix epoch; 64 bits suffice until 2554.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, nanoseconds)
}

impl fmt::Debug for Limiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let prefix = self.prefix.escape_ascii().to_string();
        f.debug_struct("Limiter").field("prefix", &prefix).field("rule", &self.rule).finish_non_exhaustive()
    }
}
