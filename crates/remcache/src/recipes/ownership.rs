//! A key that one caller holds: added under a token of its own, kept by its CAS value, given back
//! when it is dropped.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use tokio::runtime::Handle;

use crate::client::Client;
use crate::error::{Error, ErrorKind};
use crate::proto::{Request, Ttl};
use crate::result::WriteOutcome;

/// A key that is held. Dropping it gives it back, without waiting; whoever changed the item since
/// then keeps it.
pub(crate) struct Claim {
    pub(crate) client: Client,
    pub(crate) key: Vec<u8>,
    pub(crate) token: Bytes,
    /// The item's CAS value: whatever is done by it is done only while the key is held.
    pub(crate) cas: u64,
    /// The runtime whose connections are used, also by a drop outside of it.
    runtime: Handle,
    is_settled: bool,
}

impl Claim {
    /// Takes a key if nobody has it; `None` if somebody has.
    ///
    /// It runs in a task of its own, so that a caller who goes away in between leaves nothing behind.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] if the server has no CAS values; else those of the client.
    pub(crate) async fn take(client: &Client, key: &[u8], flags: u32, ttl: Duration) -> Result<Option<Self>, Error> {
        let (client, key) = (client.clone(), key.to_vec());
        let taking = tokio::spawn(Self::take_now(client, key, flags, ttl));
        // A runtime that ends cancels the task.
        taking.await.unwrap_or_else(|error| Err(Error::new(ErrorKind::Overloaded, error.to_string())))
    }

    async fn take_now(client: Client, key: Vec<u8>, flags: u32, ttl: Duration) -> Result<Option<Self>, Error> {
        let token = Bytes::from(format!("{:032x}", fastrand::u128(..)));
        let added = client.add(&key, &token).flags(flags).ttl(ttl).await;
        let taken = match added.map(WriteOutcome::cas) {
            Ok(None) => return Ok(None),
            Ok(Some(cas @ 1..)) => return Ok(Some(Self::new(client, key, token, cas))),
            // The text protocol tells no CAS value, so the item is asked for it.
            Ok(Some(0)) => Self::find(client.clone(), key.clone(), token.clone()).await,
            Err(error) if error.may_have_executed() => Err(error),
            Err(error) => return Err(error),
        };
        if taken.as_ref().is_err_and(Error::is_unavailable) {
            // Nobody waits for this: if the item is there all the same, it is given back.
            tokio::spawn(Self::clear_away(client, key, token));
        }
        taken
    }

    /// Gives back what may have been taken, when the server can be asked again.
    async fn clear_away(client: Client, key: Vec<u8>, token: Bytes) {
        for attempt in 0..6 {
            tokio::time::sleep(FIRST_LOOK * (1 << attempt)).await;
            match Self::find(client.clone(), key.clone(), token.clone()).await {
                Err(error) if error.is_unavailable() => {}
                // What was found is given back as it is dropped.
                _ => return,
            }
        }
    }

    /// The key, if it is held under this token.
    async fn find(client: Client, key: Vec<u8>, token: Bytes) -> Result<Option<Self>, Error> {
        match client.get(&key).await?.filter(|item| item.value == token) {
            None => Ok(None),
            Some(item) if item.cas == 0 => {
                let _ = client.cast(Request::delete(&key));
                client.home(&key).checked_cas(0).and(Ok(None))
            }
            Some(item) => Ok(Some(Self::new(client, key, token, item.cas))),
        }
    }

    /// What was found under a key, as if it were held: whoever does something by its CAS value first
    /// is the one.
    pub(crate) fn new(client: Client, key: Vec<u8>, token: Bytes, cas: u64) -> Self {
        Self { client, key, token, cas, runtime: Handle::current(), is_settled: false }
    }

    /// There is nothing to give back any more.
    pub(crate) fn settle(&mut self) {
        self.is_settled = true;
    }

    /// Holds the key for longer, under a new CAS value; `false` if it is not held any more.
    pub(crate) async fn renew(&mut self, flags: u32, ttl: Duration) -> Result<bool, Error> {
        for _ in 0..2 {
            let change = self.client.set(&self.key, &self.token).flags(flags).ttl(ttl).cas(self.cas).await?;
            if let Some(cas @ 1..) = change.cas() {
                self.cas = cas;
                return Ok(true);
            }
            // The text protocol tells no CAS value; and it is another one, although the key is held, if an
            // earlier renewal was made whose reply was lost.
            match self.client.get(&self.key).await?.filter(|item| item.value == self.token) {
                Some(item) => self.cas = self.client.home(&self.key).checked_cas(item.cas)?,
                None => break,
            }
            if change.is_applied() {
                return Ok(true);
            }
        }
        self.is_settled = true;
        Ok(false)
    }

    /// Gives the key back; `false` if it was not held any more.
    pub(crate) async fn give_back(mut self) -> Result<bool, Error> {
        let change = self.client.set(&self.key, "").ttl(Ttl::Expired).cas(self.cas).await?;
        self.is_settled = true;
        Ok(change.is_applied())
    }

    /// Sends a request without waiting for its outcome, from wherever this is called.
    pub(crate) fn cast(&self, request: Request<'_>) {
        let _context = self.runtime.enter();
        // What is not taken expires by itself.
        let _ = self.client.cast(request);
    }

    /// The same, where another key is placed.
    pub(crate) fn cast_beside(&self, request: Request<'_>, route: &[u8]) {
        let _context = self.runtime.enter();
        let _ = self.client.call(request).routing_key(route).cast();
    }

    pub(crate) fn is_settled(&self) -> bool {
        self.is_settled
    }
}

/// How long after a lost reply it is looked whether the key was taken; then each time after twice as
/// long, six times.
const FIRST_LOOK: Duration = Duration::from_millis(100);

/// The request that removes an item if its CAS value is this one, on every protocol: the text protocol has no
/// delete with a condition, so the item is replaced by one that is expired.
pub(crate) fn removal(key: &[u8], cas: u64) -> Request<'_> {
    Request::set(key, "").ttl(Ttl::Expired).cas(cas)
}

impl Drop for Claim {
    fn drop(&mut self) {
        if !self.is_settled && self.cas != 0 {
            self.cast(removal(&self.key, self.cas));
        }
    }
}

impl fmt::Debug for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = self.key.escape_ascii().to_string();
        f.debug_struct("Claim").field("key", &key).field("cas", &self.cas).finish_non_exhaustive()
    }
}
