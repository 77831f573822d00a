//! Counters that are created on first use, on every protocol.

use crate::client::Client;
use crate::error::{Error, ErrorKind};
use crate::proto::{Protocol, Ttl};
use crate::result::{Counter, WriteOutcome};

/// Maximum attempts before the operation fails with a conflict.
const TRIES: u32 = 64;

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
    /// # Cancellation
    /// The counter may have been incremented.
    pub async fn increment_or_create(
        &self,
        key: impl AsRef<[u8]>,
        delta: u64,
        initial: u64,
        ttl: impl Into<Ttl>,
    ) -> Result<Counter, Error> {
        let (key, ttl) = (key.as_ref(), ttl.into());
        if self.protocol_of(key) != Some(Protocol::Text) {
            match self.increment(key, delta).initial(initial).ttl(ttl).await {
                Ok(Some(counter)) => return Ok(counter),
                Ok(None) => {}
                Err(error) if error.kind() == ErrorKind::Unsupported => {}
                Err(error) => return Err(error),
            }
        }
        for _ in 0..TRIES {
            if let Some(counter) = self.increment(key, delta).await? {
                return Ok(counter);
            }
            if let WriteOutcome::Applied(cas) = self.add(key, initial.to_string()).ttl(ttl).await? {
                return Ok(Counter { value: initial, cas });
            }
        }
        let text =
            format!("the counter appeared and disappeared during all of {TRIES} attempts: use a longer time to live");
        Err(Error::new(ErrorKind::Conflict, text))
    }
}
