//! Locks: a key that one caller holds for a time, with a fencing token that orders its holders.

use std::fmt;
use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::client::Client;
use crate::error::{Error, ErrorKind};
use crate::observe;
use crate::observe::{Counts, OperationName, Outcome};
use crate::recipes::builder::within;
use crate::recipes::on_unavailable::OnUnavailable;
use crate::recipes::ownership::OwnedItem;
use crate::time::after;

impl Client {
    /// Locks a key for `ttl`, unless another client holds it.
    ///
    /// A cache lock avoids duplicate work; it cannot guarantee mutual exclusion. It expires with its TTL
    /// even if its holder is still working, and is lost if the server restarts or evicts it. Protect
    /// operations that must not happen twice with the [fencing token](Lock::fencing_token). Servers count
    /// whole seconds, and may expire a lock up to one second early.
    ///
    /// With [failover](crate::config::Config::failover), a lock that is acquired while the key's server is down expires
    /// after `max_ttl` at the latest, whatever its TTL: renew it in time, and check the fencing token.
    ///
    /// The lock is an item under this key: use keys that have no other purpose.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let server = remcache_server::Server::start().await?;
    /// # let client = remcache::Client::new([server.address()])?;
    /// use std::time::Duration;
    /// use remcache::recipes::LockOutcome;
    ///
    /// if let LockOutcome::Acquired(lock) = client.lock("lock:report", Duration::from_secs(30)).await? {
    ///     assert!(!client.lock("lock:report", Duration::from_secs(30)).await?.is_acquired());
    ///     // … the work …
    ///     assert!(lock.unlock().await?);
    /// }
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// See [`ErrorKind`]; [`ErrorKind::Unsupported`] if the server has no CAS values.
    ///
    /// # Cancel safety
    /// A lock that was acquired is released.
    pub fn lock(&self, key: impl AsRef<[u8]>, ttl: Duration) -> LockBuilder<'_> {
        let key = key.as_ref().to_vec();
        LockBuilder {
            client: self,
            key,
            ttl,
            wait: Duration::ZERO,
            on_unavailable: OnUnavailable::FailClosed,
            timeout: None,
        }
    }
}

/// Acquires a lock: set its options, then await it.
#[derive(Clone, Debug)]
#[must_use = "a lock is not acquired unless it is awaited"]
pub struct LockBuilder<'a> {
    client: &'a Client,
    key: Vec<u8>,
    ttl: Duration,
    wait: Duration,
    on_unavailable: OnUnavailable,
    timeout: Option<Duration>,
}

impl LockBuilder<'_> {
    /// Sets how long to wait while another client holds the lock (default: not at all).
    ///
    /// The lock is retried with a jittered backoff of up to 200 ms; waiters are not queued.
    pub fn wait_up_to(self, wait: Duration) -> Self {
        Self { wait, ..self }
    }

    /// Sets what to do when the cache is unavailable (default: [`FailClosed`](OnUnavailable::FailClosed), which returns
    /// the error).
    ///
    /// [`FailOpen`](OnUnavailable::FailOpen) returns a lock that holds nothing and has no fencing token.
    pub fn on_unavailable(self, on_unavailable: OnUnavailable) -> Self {
        Self { on_unavailable, ..self }
    }

    /// Sets how long acquiring the lock may take in addition to [waiting](LockBuilder::wait_up_to) for another holder
    /// (default: each request has the client's [`timeout`](crate::config::Config::timeout)).
    ///
    /// The cache counts as unavailable after that.
    pub fn timeout(self, timeout: Duration) -> Self {
        Self { timeout: Some(timeout), ..self }
    }

    async fn take(self) -> Result<LockOutcome, Error> {
        let operation = self.client.observe(OperationName::Lock, &self.key);
        let acquired = self.acquire_with_timeout(operation.client()).await;
        match operation.into_guard().end_with(observe::done, acquired) {
            Err(error) if error.is_unavailable() && self.on_unavailable == OnUnavailable::FailOpen => {
                Ok(LockOutcome::Acquired(Lock::assumed(self.key, self.ttl)))
            }
            acquired => acquired,
        }
    }

    async fn acquire_with_timeout(&self, client: &Client) -> Result<LockOutcome, Error> {
        let Some(timeout) = self.timeout else { return self.take_from(client).await };
        let client = client.with_timeout(timeout);
        within(self.wait.saturating_add(timeout), self.take_from(&client), |error| error).await
    }

    async fn take_from(&self, client: &Client) -> Result<LockOutcome, Error> {
        let deadline = after(Instant::now(), self.wait);
        let mut pause = FIRST_PAUSE;
        loop {
            if let Some(owned) = OwnedItem::take(client, &self.key, FLAGS, self.ttl).await? {
                return Ok(LockOutcome::Acquired(Lock::held(owned, self.ttl)));
            }
            let remaining = deadline.saturating_duration_since(Instant::now());
            if remaining.is_zero() {
                return Ok(LockOutcome::Held);
            }
            sleep(pause.mul_f64(0.5 + fastrand::f64() / 2.0).min(remaining)).await;
            pause = (pause * 2).min(MAX_PAUSE);
        }
    }
}

impl<'a> IntoFuture for LockBuilder<'a> {
    type Output = Result<LockOutcome, Error>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send + 'a>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.take())
    }
}

/// Whether a lock was acquired.
#[derive(Debug)]
#[expect(clippy::exhaustive_enums, reason = "a lock is held by the caller or by another client")]
#[must_use = "the lock may be held by another client; one that was acquired is released when it is dropped"]
pub enum LockOutcome {
    /// The caller holds the lock.
    Acquired(Lock),
    /// Another client holds the lock.
    Held,
}

impl LockOutcome {
    /// Returns whether the caller holds the lock.
    pub fn is_acquired(&self) -> bool {
        matches!(self, Self::Acquired(_))
    }

    /// Converts into the lock; `None` if another client holds it.
    pub fn acquired(self) -> Option<Lock> {
        match self {
            Self::Acquired(lock) => Some(lock),
            Self::Held => None,
        }
    }
}

/// A held lock. Dropping it unlocks it without waiting; if the server cannot be reached, it stays locked
/// until its TTL expires.
#[must_use = "dropping a lock releases it"]
pub struct Lock {
    key: Vec<u8>,
    owned: Option<OwnedItem>,
    fencing_token: Option<u64>,
    ttl: Duration,
}

impl Lock {
    fn held(owned: OwnedItem, ttl: Duration) -> Self {
        let (key, fencing_token) = (owned.key.clone(), Some(owned.cas));
        Self { key, owned: Some(owned), fencing_token, ttl }
    }

    fn assumed(key: Vec<u8>, ttl: Duration) -> Self {
        Self { key, owned: None, fencing_token: None, ttl }
    }

    /// A number that increases with each holder; `None` if the cache was unavailable and the lock is
    /// [assumed](OnUnavailable::FailOpen).
    ///
    /// Pass it to the resource that the lock protects, and have that reject tokens lower than the highest it
    /// has seen: then a holder that was paused while its lock expired does no harm. The token is the CAS
    /// value of the lock, from the server's counter, which restarts when the server restarts or another
    /// server takes over the key: the resource must then forget the highest token.
    pub fn fencing_token(&self) -> Option<u64> {
        self.fencing_token
    }

    /// Extends the lock by its TTL from now; the fencing token stays the same.
    ///
    /// # Errors
    /// [`ErrorKind::Conflict`] if the lock is no longer held: it expired, and another client may hold it.
    /// After any other error it may or may not have been renewed, and is held at least until its
    /// previous TTL expires.
    ///
    /// # Cancel safety
    /// The lock may have been renewed.
    pub async fn renew(&mut self) -> Result<(), Error> {
        let Some(owned) = &mut self.owned else { return Ok(()) };
        // The handle that acquired the lock belongs to an operation that has already ended.
        let client = owned.client.within(None);
        let operation = client.observe(OperationName::Renew, &self.key);
        let renewed = match owned.renew(operation.client(), FLAGS, self.ttl).await {
            Ok(true) => Ok(()),
            Ok(false) => {
                Err(Error::new(ErrorKind::Conflict, "the lock expired, and another client may hold it by now"))
            }
            Err(error) => Err(error),
        };
        operation.into_guard().end_with(observe::done, renewed)
    }

    /// Releases the lock, and returns whether it was still held.
    ///
    /// # Errors
    /// See [`ErrorKind`]. The lock then expires with its TTL.
    ///
    /// # Cancel safety
    /// The lock is still released.
    pub async fn unlock(mut self) -> Result<bool, Error> {
        let Some(owned) = self.owned.take() else { return Ok(false) };
        let client = owned.client.within(None);
        let operation = client.observe(OperationName::Unlock, &self.key);
        let unlocked = owned.release(operation.client()).await;
        operation.into_guard().end_with(observe::done, unlocked)
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Dropping the owned item releases it.
        if let Some(owned) = self.owned.take().filter(|owned| !owned.is_disarmed()) {
            let client = owned.client.within(None);
            client.observe(OperationName::Unlock, &self.key).into_guard().end(Outcome::Ok, Counts::default());
        }
    }
}

impl fmt::Debug for Lock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = self.key.escape_ascii().to_string();
        f.debug_struct("Lock").field("key", &key).field("fencing_token", &self.fencing_token).finish_non_exhaustive()
    }
}

/// Flags of a lock item: a plain value, so that a `get` shows its holder.
const FLAGS: u32 = 0;

/// Initial delay before the lock is tried again, with jitter; it doubles each time.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const MAX_PAUSE: Duration = Duration::from_millis(200);
