//! The store.

use std::fmt::{self, Display};
use std::future::Future;
use std::marker::PhantomData;
use std::time::Duration;

use cached::{ConcurrentCacheBase, ConcurrentCachedAsync, SerializeCachedAsync};
use remcache::recipes::OnUnavailable;
use remcache::value::Codec;
use remcache::{Cache, Client, ErrorKind};

use crate::Error;
use crate::key::key;

/// A memcached store for cached, with keys that implement `Display` and values that have a [`Codec`].
///
/// It is a handle: cloning it is cheap. See the [crate] for what happens while the cache is unavailable.
pub struct MemcachedCache<K, V> {
    cache: Cache<V>,
    name: String,
    budget: Duration,
    on_unavailable: OnUnavailable,
    key: PhantomData<fn(&K)>,
}

impl<K, V> MemcachedCache<K, V> {
    /// Creates a store that uses this client. Its name is the prefix of all keys, hashed if it is not a valid key;
    /// stores with the same name share values.
    pub fn new(client: &Client, name: impl Into<String>, codec: Codec<V>) -> Self {
        let name = key(name.into());
        let cache = Cache::new(client, &name, codec);
        Self {
            cache,
            name,
            budget: Duration::from_millis(500),
            on_unavailable: OnUnavailable::FailOpen,
            key: PhantomData,
        }
    }

    /// Sets the TTL of values (default: until they are evicted).
    #[must_use]
    pub fn ttl(self, ttl: Duration) -> Self {
        Self { cache: self.cache.ttl(ttl), ..self }
    }

    /// Sets the time limit of fetching, storing or removing a value (default: 500 ms each).
    #[must_use]
    pub fn budget(self, budget: Duration) -> Self {
        Self { budget, ..self }
    }

    /// Stores values longer than `length` bytes in several items: see [`Cache::chunked`] (default: they are not
    /// stored).
    #[must_use]
    pub fn chunked(self, length: usize) -> Self {
        Self { cache: self.cache.chunked(length), ..self }
    }

    /// Sets the behaviour while the cache is unavailable (default: [`FailOpen`](OnUnavailable::FailOpen), nothing is
    /// found and nothing is stored).
    ///
    /// With [`FailClosed`](OnUnavailable::FailClosed) operations return errors.
    #[must_use]
    pub fn on_unavailable(self, on_unavailable: OnUnavailable) -> Self {
        Self { on_unavailable, ..self }
    }

    /// Runs an operation within the budget. Returns the default if it fails and the store fails open.
    async fn within_budget<T>(
        &self,
        default: T,
        operation: impl Future<Output = Result<T, remcache::Error>>,
    ) -> Result<T, Error> {
        let result = match tokio::time::timeout(self.budget, operation).await {
            Ok(result) => result.map_err(Error::Client),
            Err(_) => Err(Error::BudgetExceeded(self.budget)),
        };
        result.or_else(|error| {
            let is_ignored = match &error {
                // It was stored by other code, or is too large to be stored.
                Error::Client(error)
                    if matches!(error.kind(), ErrorKind::Encode | ErrorKind::Decode | ErrorKind::ValueTooLarge) =>
                {
                    true
                }
                error => error.is_unavailable() && self.on_unavailable == OnUnavailable::FailOpen,
            };
            if !is_ignored {
                return Err(error);
            }
            tracing::warn!(%error, cache = %self.name, "continuing without the cache");
            Ok(default)
        })
    }

    async fn get(&self, key: &str) -> Result<Option<V>, Error> {
        self.within_budget(None, self.cache.get(key)).await
    }

    async fn set(&self, key: &str, value: &V) -> Result<(), Error> {
        self.within_budget((), async { self.cache.set(key, value).await.map(drop) }).await
    }

    async fn delete(&self, key: &str) -> Result<bool, Error> {
        self.within_budget(false, async { self.cache.delete(key).await.map(|outcome| outcome.is_applied()) }).await
    }

    /// Deletes all values of this store. It reads the keys of all servers.
    async fn clear(&self) -> Result<(), Error> {
        let client = self.cache.client();
        let prefix = [client.namespace(), self.name.as_bytes(), b":"].concat();
        for server in client.servers() {
            let mut items = server.metadump();
            let mut keys = Vec::new();
            while let Some(item) = items.next().await {
                let key = item?.key;
                if key.starts_with(&prefix) {
                    keys.push(key.slice(client.namespace().len()..));
                }
            }
            client.delete_many(keys).await.into_result()?;
        }
        Ok(())
    }
}

impl<K, V> ConcurrentCacheBase for MemcachedCache<K, V> {
    type Error = Error;
}

impl<K, V> ConcurrentCachedAsync<K, V> for MemcachedCache<K, V>
where
    K: Display + Clone + Send + Sync,
    V: Send + Sync,
{
    async fn async_cache_get(&self, k: &K) -> Result<Option<V>, Error> {
        self.get(&key(k.to_string())).await
    }

    async fn async_cache_set(&self, k: K, v: V) -> Result<Option<V>, Error> {
        let key = key(k.to_string());
        let previous = self.get(&key).await?;
        self.set(&key, &v).await?;
        Ok(previous)
    }

    async fn async_cache_remove(&self, k: &K) -> Result<Option<V>, Error> {
        let key = key(k.to_string());
        let previous = self.get(&key).await?;
        self.delete(&key).await?;
        Ok(previous)
    }

    async fn async_cache_remove_entry(&self, k: &K) -> Result<Option<(K, V)>, Error> {
        Ok(self.async_cache_remove(k).await?.map(|value| (k.clone(), value)))
    }

    async fn async_cache_delete(&self, k: &K) -> Result<bool, Error> {
        self.delete(&key(k.to_string())).await
    }

    async fn async_cache_contains(&self, k: &K) -> Result<bool, Error> {
        Ok(self.async_cache_get(k).await?.is_some())
    }

    /// Deletes all values of this store. It reads the keys of all servers, without a time limit.
    async fn async_cache_clear(&self) -> Result<(), Error> {
        self.clear().await
    }

    async fn async_cache_reset(&self) -> Result<(), Error> {
        self.clear().await
    }
}

impl<K, V> SerializeCachedAsync<K, V> for MemcachedCache<K, V>
where
    K: Display + Clone + Send + Sync,
    V: Send + Sync,
{
    async fn async_cache_set_ref(&self, k: &K, v: &V) -> Result<(), Error> {
        self.set(&key(k.to_string()), v).await
    }
}

impl<K, V> Clone for MemcachedCache<K, V> {
    fn clone(&self) -> Self {
        Self { cache: self.cache.clone(), name: self.name.clone(), key: PhantomData, ..*self }
    }
}

impl<K, V> fmt::Debug for MemcachedCache<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemcachedCache")
            .field("cache", &self.cache)
            .field("budget", &self.budget)
            .field("on_unavailable", &self.on_unavailable)
            .finish_non_exhaustive()
    }
}
