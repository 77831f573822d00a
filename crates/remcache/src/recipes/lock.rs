//! Locks: a key that one caller holds for a time, with a number that tells later holders from earlier ones.

use std::fmt;
use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::client::{Client, after};
use crate::error::{Error, ErrorKind};
use crate::recipes::on_unavailable::OnUnavailable;
use crate::recipes::ownership::Claim;

impl Client {
    /// Locks a key for so long; `None` if others hold it.
    ///
    /// A lock of a cache is for work that should not be done twice, not for work that must not: it ends
    /// with its time to live whatever its holder does, and with a server that is restarted, or evicts it.
    /// What must not happen twice is protected by the [fencing token](Lock::fencing_token). Servers count
    /// whole seconds, and may end a lock up to one second early.
    ///
    /// The lock is an item under this key, whose value is the holder's: use keys that hold nothing else.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let server = remcache_server::Server::start().await?;
    /// # let client = remcache::Client::new([server.address()])?;
    /// use std::time::Duration;
    ///
    /// if let Some(lock) = client.lock("lock:report", Duration::from_secs(30)).await? {
    ///     assert!(client.lock("lock:report", Duration::from_secs(30)).await?.is_none());
    ///     // … the work …
    ///     assert!(lock.unlock().await?);
    /// }
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// See [`ErrorKind`]; [`ErrorKind::Unsupported`] if the server has no CAS values.
    ///
    /// # Cancellation
    /// What was locked is unlocked.
    pub fn lock(&self, key: impl AsRef<[u8]>, ttl: Duration) -> LockBuilder<'_> {
        let key = key.as_ref().to_vec();
        LockBuilder { client: self, key, ttl, wait: Duration::ZERO, when_away: OnUnavailable::FailClosed }
    }
}

/// A lock that is asked for: set its options, then await it.
#[derive(Clone, Debug)]
#[must_use = "a lock is not taken unless it is awaited"]
pub struct LockBuilder<'a> {
    client: &'a Client,
    key: Vec<u8>,
    ttl: Duration,
    wait: Duration,
    when_away: OnUnavailable,
}

impl LockBuilder<'_> {
    /// How long to wait while others hold the lock (default: not at all).
    ///
    /// It is tried at random times that grow to a fifth of a second; there is no queue.
    pub fn within(self, wait: Duration) -> Self {
        Self { wait, ..self }
    }

    /// What to do when the cache cannot be asked (default: [`Closed`](OnUnavailable::FailClosed), which is the error).
    ///
    /// [`Open`](OnUnavailable::FailOpen) gives a lock that holds nothing, and has no fencing token.
    pub fn when_away(self, when_away: OnUnavailable) -> Self {
        Self { when_away, ..self }
    }

    async fn take(self) -> Result<Option<Lock>, Error> {
        let deadline = after(Instant::now(), self.wait);
        let mut pause = FIRST_PAUSE;
        loop {
            match Claim::take(self.client, &self.key, FLAGS, self.ttl).await {
                Ok(Some(claim)) => return Ok(Some(Lock::held(claim, self.ttl))),
                Ok(None) => {}
                Err(error) if error.is_unavailable() && self.when_away == OnUnavailable::FailOpen => {
                    return Ok(Some(Lock::assumed(self.key, self.ttl)));
                }
                Err(error) => return Err(error),
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            sleep(pause.mul_f64(0.5 + fastrand::f64() / 2.0).min(left)).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
}

impl<'a> IntoFuture for LockBuilder<'a> {
    type Output = Result<Option<Lock>, Error>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send + 'a>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.take())
    }
}

/// A lock that is held. Dropping it unlocks it, without waiting; until that is done, or the time to live
/// is over if the server cannot be reached, others find it locked.
pub struct Lock {
    key: Vec<u8>,
    claim: Option<Claim>,
    fencing_token: Option<u64>,
    ttl: Duration,
}

impl Lock {
    fn held(claim: Claim, ttl: Duration) -> Self {
        let (key, fencing_token) = (claim.key.clone(), Some(claim.cas));
        Self { key, claim: Some(claim), fencing_token, ttl }
    }

    fn assumed(key: Vec<u8>, ttl: Duration) -> Self {
        Self { key, claim: None, fencing_token: None, ttl }
    }

    /// A number that is higher for each later holder; `None` if the cache was away and the lock is
    /// [assumed](OnUnavailable::FailOpen).
    ///
    /// Give it to whatever is written under the lock, and have that refuse a number below one that it
    /// has seen: so a holder that was asleep while its lock ended does no harm. It is the CAS value of
    /// the lock, from the server's one counter, which begins anew when the server is restarted or
    /// another one takes the key: after that, what was written has to forget its highest number.
    pub fn fencing_token(&self) -> Option<u64> {
        self.fencing_token
    }

    /// Holds the lock for its time to live from now on; the fencing token stays.
    ///
    /// # Errors
    /// [`ErrorKind::Conflict`] if the lock is not held any more: it ended, and whatever it protects may
    /// be another one's. After another error it may have been renewed or not, and is held at least until
    /// its time to live from before.
    ///
    /// # Cancellation
    /// It may have been renewed.
    pub async fn renew(&mut self) -> Result<(), Error> {
        let Some(claim) = &mut self.claim else { return Ok(()) };
        match claim.renew(FLAGS, self.ttl).await? {
            true => Ok(()),
            false => Err(Error::new(ErrorKind::Conflict, "the lock has ended, and may be another one's by now")),
        }
    }

    /// Unlocks, and tells whether the lock was held until now.
    ///
    /// # Errors
    /// See [`ErrorKind`]. The lock ends with its time to live then.
    ///
    /// # Cancellation
    /// It is unlocked all the same.
    pub async fn unlock(self) -> Result<bool, Error> {
        match self.claim {
            Some(claim) => claim.give_back().await,
            None => Ok(false),
        }
    }
}

impl fmt::Debug for Lock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = self.key.escape_ascii().to_string();
        f.debug_struct("Lock").field("key", &key).field("fencing_token", &self.fencing_token).finish_non_exhaustive()
    }
}

/// A lock is no mark: whoever looks sees who holds it.
const FLAGS: u32 = 0;

/// How long to wait before another try, at random from half of it; twice as long each time.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_millis(200);
