//! The session store.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use actix_session::storage::{LoadError, SaveError, SessionKey, SessionStore, UpdateError, generate_session_key};
use actix_web::cookie::time;
use remcache::recipes::OnUnavailable;
use remcache::{Client, Error, ErrorKind, Ttl};
use sha2::{Digest, Sha256};

/// A [`SessionStore`] that stores sessions in memcached.
///
/// It is a handle: cloning it is cheap. See the [crate] for what happens while the cache is unavailable.
#[derive(Clone, Debug)]
pub struct MemcachedSessionStore {
    client: Client,
    prefix: Arc<str>,
    budget: Duration,
    on_unavailable: OnUnavailable,
    on_evicted: OnEvicted,
}

/// The behaviour when a session to update is no longer stored, because it was evicted or another request deleted it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OnEvicted {
    /// It is not stored: the visitor is logged out. Concurrent requests never undo a logout.
    #[default]
    Discard,
    /// It is stored under a new key: evicted sessions survive if a request has loaded them before, but deleted sessions
    /// may survive too.
    Recreate,
}

impl MemcachedSessionStore {
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

    /// Sets the time limit of each operation (default: 500 ms). Requests need one to load and one or two to store.
    #[must_use]
    pub fn budget(self, budget: Duration) -> Self {
        Self { budget, ..self }
    }

    /// Sets the behaviour while the cache is unavailable (default: [`FailOpen`](OnUnavailable::FailOpen), visitors are
    /// logged out).
    ///
    /// With [`FailClosed`](OnUnavailable::FailClosed) operations return errors, which the middleware answers with
    /// `500 Internal Server Error`.
    #[must_use]
    pub fn on_unavailable(self, on_unavailable: OnUnavailable) -> Self {
        Self { on_unavailable, ..self }
    }

    /// Sets what happens when a session to update is no longer stored (default: [`OnEvicted::Discard`]).
    #[must_use]
    pub fn on_evicted(self, on_evicted: OnEvicted) -> Self {
        Self { on_evicted, ..self }
    }

    fn key(&self, session_key: &SessionKey) -> String {
        format!("{}{}", self.prefix, hex::encode(Sha256::digest(session_key.as_ref())))
    }

    /// Returns `fallback` and logs the error, unless the application must handle it.
    fn recover<T>(&self, error: Error, fallback: T) -> anyhow::Result<T> {
        match (error.kind(), self.on_unavailable) {
            (ErrorKind::ValueTooLarge, _) => {
                Err(anyhow::Error::new(error).context("session above the item size limit"))
            }
            (_, OnUnavailable::FailClosed) => Err(error.into()),
            (_, OnUnavailable::FailOpen) => {
                tracing::warn!(%error, "continuing without the session store");
                Ok(fallback)
            }
        }
    }

    /// Stores a new session under an unused key.
    async fn create(&self, value: &[u8], ttl: &time::Duration) -> anyhow::Result<SessionKey> {
        for _ in 0..MAX_ATTEMPTS {
            let session_key = generate_session_key();
            let add = self.client.add(self.key(&session_key), value).ttl(item_ttl(ttl)).timeout(self.budget);
            match add.await {
                Ok(outcome) if outcome.is_applied() => return Ok(session_key),
                Ok(_) => {}
                Err(error) => return self.recover(error, session_key),
            }
        }
        anyhow::bail!("{MAX_ATTEMPTS} random session keys already exist: check the random number generator")
    }

    /// Replaces a session; returns the new key if it was stored under another one.
    async fn replace(
        &self,
        key: &SessionKey,
        value: &[u8],
        ttl: &time::Duration,
    ) -> anyhow::Result<Option<SessionKey>> {
        match self.client.replace(self.key(key), value).ttl(item_ttl(ttl)).timeout(self.budget).await {
            Ok(outcome) if outcome.is_applied() => Ok(None),
            Ok(_) if self.on_evicted == OnEvicted::Recreate => self.create(value, ttl).await.map(Some),
            Ok(_) => {
                tracing::debug!("a session that is no longer stored was not updated");
                Ok(None)
            }
            Err(error) => self.recover(error, None),
        }
    }
}

/// Returns the TTL of an item; a session whose TTL is not positive has expired.
fn item_ttl(ttl: &time::Duration) -> Ttl {
    match Duration::try_from(*ttl) {
        Ok(ttl) if !ttl.is_zero() => ttl.min(MAX_TTL).into(),
        _ => Ttl::Expired,
    }
}

impl SessionStore for MemcachedSessionStore {
    async fn load(&self, session_key: &SessionKey) -> Result<Option<HashMap<String, String>>, LoadError> {
        match self.client.get(self.key(session_key)).timeout(self.budget).await {
            Ok(None) => Ok(None),
            Ok(Some(item)) => match serde_json::from_slice(&item.value) {
                Ok(state) => Ok(Some(state)),
                Err(error) => Err(LoadError::Deserialization(error.into())),
            },
            Err(error) => self.recover(error, None).map_err(LoadError::Other),
        }
    }

    async fn save(&self, state: HashMap<String, String>, ttl: &time::Duration) -> Result<SessionKey, SaveError> {
        let value = serde_json::to_vec(&state).map_err(|error| SaveError::Serialization(error.into()))?;
        self.create(&value, ttl).await.map_err(SaveError::Other)
    }

    async fn update(
        &self,
        session_key: SessionKey,
        state: HashMap<String, String>,
        ttl: &time::Duration,
    ) -> Result<SessionKey, UpdateError> {
        let value = serde_json::to_vec(&state).map_err(|error| UpdateError::Serialization(error.into()))?;
        let new_key = self.replace(&session_key, &value, ttl).await.map_err(UpdateError::Other)?;
        Ok(new_key.unwrap_or(session_key))
    }

    async fn update_ttl(&self, session_key: &SessionKey, ttl: &time::Duration) -> anyhow::Result<()> {
        match self.client.touch(self.key(session_key), item_ttl(ttl)).timeout(self.budget).await {
            Ok(_) => Ok(()),
            Err(error) => self.recover(error, ()),
        }
    }

    async fn delete(&self, session_key: &SessionKey) -> anyhow::Result<()> {
        match self.client.delete(self.key(session_key)).timeout(self.budget).await {
            Ok(_) => Ok(()),
            Err(error) => self.recover(error, ()),
        }
    }
}

/// Number of random keys tried for a new session.
const MAX_ATTEMPTS: u32 = 8;
/// The maximum time for which a session is stored.
const MAX_TTL: Duration = Duration::from_secs(365 * 86_400);
