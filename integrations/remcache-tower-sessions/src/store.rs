//! The session store.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use remcache::recipes::OnUnavailable;
use remcache::{Client, ErrorKind, Ttl, UnconditionalOutcome, WriteOutcome};
use tower_sessions_core::SessionStore;
use tower_sessions_core::session::{Id, Record};
use tower_sessions_core::session_store::{Error, Result};

use crate::record::{decode, encode, key, remaining_time};

/// A [`SessionStore`] that stores sessions in memcached.
///
/// It is a handle: cloning it is cheap. See the [crate] for what happens while the cache is unavailable.
#[derive(Clone, Debug)]
pub struct MemcachedStore {
    client: Client,
    prefix: Arc<str>,
    budget: Duration,
    on_unavailable: OnUnavailable,
    on_evicted: OnEvicted,
}

/// The behaviour when a session to save is no longer stored, because it was evicted or another request deleted it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OnEvicted {
    /// It is not stored: the visitor is logged out. Concurrent requests never undo a logout.
    #[default]
    Discard,
    /// It is stored again: evicted sessions survive if a request has loaded them before, but deleted sessions may
    /// survive too.
    Recreate,
}

impl MemcachedStore {
    /// Creates a store that uses this client.
    pub fn new(client: &Client) -> Self {
        Self {
            client: client.clone(),
            prefix: "session:".into(),
            budget: Duration::from_millis(500),
            on_unavailable: OnUnavailable::FailOpen,
            on_evicted: OnEvicted::default(),
        }
    }

    /// Sets the prefix of keys (default: `session:`). Stores with the same prefix share sessions.
    #[must_use]
    pub fn prefix(self, prefix: impl Into<Arc<str>>) -> Self {
        Self { prefix: prefix.into(), ..self }
    }

    /// Sets the time limit of each operation (default: 500 ms). Requests need one to load and one to save.
    #[must_use]
    pub fn budget(self, budget: Duration) -> Self {
        Self { budget, ..self }
    }

    /// Sets the behaviour while the cache is unavailable (default: [`FailOpen`](OnUnavailable::FailOpen), visitors are
    /// logged out).
    ///
    /// With [`FailClosed`](OnUnavailable::FailClosed) operations return [`Error::Backend`], which the middleware and
    /// most handlers answer with `500 Internal Server Error`.
    #[must_use]
    pub fn on_unavailable(self, on_unavailable: OnUnavailable) -> Self {
        Self { on_unavailable, ..self }
    }

    /// Sets what happens when a session to save is no longer stored (default: [`OnEvicted::Discard`]).
    #[must_use]
    pub fn on_evicted(self, on_evicted: OnEvicted) -> Self {
        Self { on_evicted, ..self }
    }

    fn key(&self, id: Id) -> String {
        key(&self.prefix, id)
    }

    /// Returns `fallback` and logs the error, unless the application must handle it.
    fn recover<T>(&self, error: &remcache::Error, fallback: T) -> Result<T> {
        match (error.kind(), self.on_unavailable) {
            (ErrorKind::ValueTooLarge, _) => Err(Error::Encode(format!("session above the item size limit: {error}"))),
            (_, OnUnavailable::FailClosed) => Err(Error::Backend(error.to_string())),
            (_, OnUnavailable::FailOpen) => {
                tracing::warn!(%error, "continuing without the session store");
                Ok(fallback)
            }
        }
    }
}

/// Returns the TTL of an item; a session without remaining time has expired.
fn item_ttl(record: &Record) -> Ttl {
    let remaining = remaining_time(record);
    if remaining.is_zero() { Ttl::Expired } else { remaining.into() }
}

#[async_trait]
impl SessionStore for MemcachedStore {
    /// Stores a new session, under another ID if its own exists.
    async fn create(&self, record: &mut Record) -> Result<()> {
        let value = encode(record)?;
        for _ in 0..MAX_ATTEMPTS {
            let key = self.key(record.id);
            match self.client.add(&key, &value).ttl(item_ttl(record)).timeout(self.budget).await {
                Ok(outcome) if outcome.is_applied() => return Ok(()),
                Ok(_) => record.id = Id::default(),
                Err(error) => return self.recover(&error, ()),
            }
        }
        Err(Error::Backend(format!(
            "{MAX_ATTEMPTS} random session IDs already exist: check the random number generator"
        )))
    }

    async fn save(&self, record: &Record) -> Result<()> {
        let (key, value) = (self.key(record.id), encode(record)?);
        let ttl = item_ttl(record);
        let saved = match self.on_evicted {
            OnEvicted::Discard => {
                let replace = self.client.replace(&key, &value).ttl(ttl).timeout(self.budget);
                replace.await.map(WriteOutcome::is_applied)
            }
            OnEvicted::Recreate => {
                let set = self.client.set(&key, &value).ttl(ttl).timeout(self.budget);
                set.await.map(UnconditionalOutcome::is_applied)
            }
        };
        match saved {
            Ok(true) => Ok(()),
            Ok(false) => {
                tracing::debug!("a session that is no longer stored was not saved");
                Ok(())
            }
            Err(error) => self.recover(&error, ()),
        }
    }

    async fn load(&self, id: &Id) -> Result<Option<Record>> {
        match self.client.get(self.key(*id)).timeout(self.budget).await {
            Ok(Some(item)) => Ok(decode(*id, &item.value).unwrap_or_else(|error| {
                tracing::warn!(%error, "ignoring an item that is not a session");
                None
            })),
            Ok(None) => Ok(None),
            Err(error) => self.recover(&error, None),
        }
    }

    async fn delete(&self, id: &Id) -> Result<()> {
        match self.client.delete(self.key(*id)).timeout(self.budget).await {
            Ok(_) => Ok(()),
            Err(error) => self.recover(&error, ()),
        }
    }
}

/// Number of random IDs tried for a new session.
const MAX_ATTEMPTS: u32 = 8;
