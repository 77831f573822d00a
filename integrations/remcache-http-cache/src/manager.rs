//! The manager.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_cache::{CacheManager, HttpResponse, Result};
use http_cache_semantics::CachePolicy;
use remcache::recipes::OnUnavailable;
use remcache::value::Codec;
use remcache::{Cache, Client};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// A [`CacheManager`] that stores responses in memcached, shared by all HTTP clients that use the same servers.
///
/// It is a handle: cloning it is cheap. See the [crate] for what happens while the cache is unavailable.
#[derive(Clone)]
pub struct MemcachedManager {
    cache: Cache<Bytes>,
    prefix: Arc<str>,
    budget: Duration,
    on_unavailable: OnUnavailable,
}

/// A result of the memcached client.
type ClientResult<T> = std::result::Result<T, remcache::Error>;

/// The content of an item to store.
#[derive(Serialize)]
struct StoredRef<'a> {
    response: &'a HttpResponse,
    policy: &'a CachePolicy,
}

/// The content of an item.
#[derive(Deserialize)]
struct Stored {
    response: HttpResponse,
    policy: CachePolicy,
}

/// An error: memcached did not answer within the budget.
#[derive(Debug)]
struct BudgetExceeded(Duration);

impl MemcachedManager {
    /// Creates a manager that uses this client.
    pub fn new(client: &Client) -> Self {
        Self {
            cache: Cache::new(client, "", Codec::bytes()).chunked(CHUNK_LENGTH),
            prefix: "http:".into(),
            budget: Duration::from_millis(500),
            on_unavailable: OnUnavailable::FailOpen,
        }
    }

    /// Sets the prefix of keys (default: `http:`). Managers with the same prefix share responses.
    #[must_use]
    pub fn prefix(self, prefix: impl Into<Arc<str>>) -> Self {
        Self { prefix: prefix.into(), ..self }
    }

    /// Sets the TTL of responses, including stale ones (default: until they are evicted).
    ///
    /// http-cache validates stale responses with their servers, so they are worth keeping.
    #[must_use]
    pub fn ttl(self, ttl: Duration) -> Self {
        Self { cache: self.cache.ttl(ttl), ..self }
    }

    /// Sets the time limit of fetching, storing or deleting a response (default: 500 ms each).
    #[must_use]
    pub fn budget(self, budget: Duration) -> Self {
        Self { budget, ..self }
    }

    /// Sets the behaviour while the cache is unavailable (default: [`FailOpen`](OnUnavailable::FailOpen), nothing is
    /// found and nothing is stored).
    ///
    /// With [`FailClosed`](OnUnavailable::FailClosed) operations return errors, and requests fail.
    #[must_use]
    pub fn on_unavailable(self, on_unavailable: OnUnavailable) -> Self {
        Self { on_unavailable, ..self }
    }

    fn key(&self, cache_key: &str) -> String {
        format!("{}{}", self.prefix, hex::encode(Sha256::digest(cache_key)))
    }

    /// Runs an operation within the budget. Returns the default if it fails and the manager fails open.
    async fn within_budget<T>(&self, default: T, operation: impl Future<Output = ClientResult<T>>) -> Result<T> {
        let result = match tokio::time::timeout(self.budget, operation).await {
            Ok(result) => result.map_err(Into::into),
            Err(_) => Err(BudgetExceeded(self.budget).into()),
        };
        match (result, self.on_unavailable) {
            (Err(error), OnUnavailable::FailOpen) => {
                tracing::warn!(%error, "continuing without the cache of responses");
                Ok(default)
            }
            (result, _) => result,
        }
    }
}

impl CacheManager for MemcachedManager {
    async fn get(&self, cache_key: &str) -> Result<Option<(HttpResponse, CachePolicy)>> {
        let value = self.within_budget(None, self.cache.get(self.key(cache_key))).await?;
        Ok(value.and_then(|value| match postcard::from_bytes(&value) {
            Ok(Stored { response, policy }) => Some((response, policy)),
            Err(error) => {
                tracing::warn!(%error, "ignoring an item that is not a response");
                None
            }
        }))
    }

    async fn put(&self, cache_key: String, response: HttpResponse, policy: CachePolicy) -> Result<HttpResponse> {
        let value = Bytes::from(postcard::to_stdvec(&StoredRef { response: &response, policy: &policy })?);
        let key = self.key(&cache_key);
        self.within_budget((), async { self.cache.set(key, &value).await.map(drop) }).await?;
        Ok(response)
    }

    async fn delete(&self, cache_key: &str) -> Result<()> {
        let key = self.key(cache_key);
        self.within_budget((), async { self.cache.delete(key).await.map(drop) }).await
    }
}

impl fmt::Debug for MemcachedManager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemcachedManager")
            .field("cache", &self.cache)
            .field("prefix", &self.prefix)
            .field("budget", &self.budget)
            .field("on_unavailable", &self.on_unavailable)
            .finish()
    }
}

impl fmt::Display for BudgetExceeded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "memcached did not answer within the budget of {:?}", self.0)
    }
}

impl std::error::Error for BudgetExceeded {}

/// Length, in bytes, from which responses are stored in several items.
const CHUNK_LENGTH: usize = 512 << 10;
