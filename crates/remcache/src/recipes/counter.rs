//! Counters that are created on first use, on every protocol.

use crate::client::Client;
use crate::error::{Error, ErrorKind};
use crate::observe;
use crate::observe::OperationName;
use crate::ops::builder::kind::Store;
use crate::proto::{Protocol, Request, Ttl};
use crate::recipes::builder::Recipe;
use crate::recipes::update::TRIES;
use crate::result::{Counter, WriteOutcome};

impl Client {
    /// Increments a counter, or creates it with this initial value and TTL.
    ///
    /// The TTL of an existing counter is kept, so this counts events in a time window. It is
    /// [`increment`](Client::increment) with `initial` and `ttl`, which the text protocol lacks; there a
    /// missing counter is added.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let server = remcache_server::Server::start().await?;
    /// # let client = remcache::Client::new([server.address()])?;
    /// use std::time::Duration;
    ///
    /// let minute = Duration::from_secs(60);
    /// assert_eq!(client.increment_or_create("logins", 1, 1, minute).await?.value, 1);
    /// assert_eq!(client.increment_or_create("logins", 1, 1, minute).await?.value, 2);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Conflict`] if, on the text protocol, the counter appeared and disappeared during each of 64
    /// attempts. See [`ErrorKind`]: an increment that may have been executed is not retried.
    ///
    /// # Cancel safety
    /// The counter may have been incremented.
    pub fn increment_or_create(
        &self,
        key: impl AsRef<[u8]>,
        delta: u64,
        initial: u64,
        ttl: impl Into<Ttl>,
    ) -> Recipe<'_, Counter> {
        let (name, ttl) = (OperationName::IncrementOrCreate, ttl.into());
        Recipe::for_key(self, name, key, observe::done, move |client, key, _| async move {
            client.increment_or_create_now(&key, delta, initial, ttl).await
        })
    }

    async fn increment_or_create_now(&self, key: &[u8], delta: u64, initial: u64, ttl: Ttl) -> Result<Counter, Error> {
        if self.protocol_of(key) != Some(Protocol::Text) {
            match self.increment(key, delta).initial(initial).ttl(ttl).await {
                Ok(Some(counter)) => return Ok(counter),
                Ok(None) => {}
                Err(error) if is_recoverable(&error) => {}
                Err(error) => return Err(error),
            }
        }
        for _ in 0..TRIES {
            match self.increment(key, delta).await {
                Ok(Some(counter)) => return Ok(counter),
                Ok(None) => {}
                Err(error) => match self.replace_sentinel(key, initial, ttl, error).await? {
                    Some(counter) => return Ok(counter),
                    None => continue,
                },
            }
            if let WriteOutcome::Applied(cas) = self.add(key, initial.to_string()).ttl(ttl).await? {
                return Ok(Counter { value: initial, cas });
            }
        }
        let text =
            format!("the counter appeared and disappeared during all of {TRIES} attempts: use a longer time to live");
        Err(Error::new(ErrorKind::Conflict, text))
    }

    /// Replaces an item that cannot be incremented with the initial value if it is a sentinel, which counts as a miss;
    /// `None` if it was changed in the meantime.
    ///
    /// # Errors
    /// The error of the increment if the item is a value.
    #[cold]
    async fn replace_sentinel(
        &self,
        key: &[u8],
        initial: u64,
        ttl: Ttl,
        refused: Error,
    ) -> Result<Option<Counter>, Error> {
        if refused.kind() != ErrorKind::NonNumericValue {
            return Err(refused);
        }
        let (found, server) = self.get(key).with_sentinels().located().await;
        let Some(item) = found? else { return Ok(None) };
        if !item.is_sentinel() {
            return Err(refused);
        }
        let pinned = self.pinned(key, server.as_ref());
        let request = Request::set(key, initial.to_string()).ttl(ttl).cas(pinned.checked_cas(item.cas)?);
        let replaced = pinned.ask::<Store>(request).await?;
        Ok(replaced.cas().map(|cas| Counter { value: initial, cas }))
    }
}

/// Returns whether a failed increment with an initial value is retried in steps, because the protocol does not support
/// it or the item is a sentinel.
fn is_recoverable(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Unsupported | ErrorKind::NonNumericValue)
}
