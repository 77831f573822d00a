//! Counters that begin by themselves, on every protocol.

use crate::client::Client;
use crate::error::{Error, ErrorKind};
use crate::proto::{Protocol, Ttl};
use crate::result::{Counter, WriteOutcome};

/// After so many tries a key is too busy for this.
const TRIES: u32 = 64;

impl Client {
    /// Raises a counter, or begins it with this number and this time to live if there is none.
    ///
    /// The time to live of a counter that is there stays as it is, so that this counts what happens in
    /// a window of time. It is [`increment`](Client::increment) with `initial` and `ttl`, which the text
    /// protocol cannot say; there the counter is added when there is none to raise.
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
    /// [`ErrorKind::Conflict`] if, on the text protocol, the counter came and went between each of 64 tries.
    /// See [`ErrorKind`]: what may have been counted is not counted again.
    ///
    /// # Cancellation
    /// It may have been counted.
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
        let text = format!("the counter came and went between each of {TRIES} tries: give it a longer time to live");
        Err(Error::new(ErrorKind::Conflict, text))
    }
}
