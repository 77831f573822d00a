//! `fetch` for a typed cache: adds the codec, chunking and the in-process cache.

use std::borrow::Borrow;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::chunked::{self, Manifest};
use super::store::Store;
use super::{Cache, unwritable};
use crate::error::{Error, ErrorKind};
use crate::recipes;
use crate::recipes::fetch::{Found, Loaded};
use crate::recipes::fetch_policy::FetchPolicy;
use crate::result::{Item, WriteOutcome};
use crate::value::Codec;

impl<T, B: ?Sized> Cache<T, B> {
    /// Marks a value as stale: [`fetch`](Cache::fetch) returns it for at most `grace` while one caller's loader
    /// reloads it. See [`Client::invalidate`](crate::client::Client::invalidate).
    ///
    /// This process drops its local copy; other processes serve theirs until it expires.
    ///
    /// # Errors
    /// As [`Client::invalidate`](crate::client::Client::invalidate).
    ///
    /// # Cancellation
    /// The value may have been marked as stale.
    pub async fn invalidate(&self, key: impl AsRef<[u8]>, grace: Duration) -> Result<WriteOutcome, Error> {
        let key = key.as_ref();
        self.store.forget(key);
        let change = self.store.client.invalidate(self.store.key(key), grace).await;
        self.store.forget(key);
        change
    }
}

impl<T: 'static, B: ?Sized + 'static> Cache<T, B> {
    /// Gets a value from the cache, or loads it once for all concurrent callers of this process and of the fleet.
    ///
    /// `None` means that the loader found no value. A cache failure is not an error: if the cache is
    /// unavailable, only the loader runs. See [`Client::fetch`](crate::client::Client::fetch), which does the
    /// same with bytes. The TTL is the policy's, not the cache's.
    ///
    /// An [in-process cache](Cache::near) is consulted first, so a value that is due is noticed when the local copy
    /// has expired.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let server = remcache_server::Server::start().await?;
    /// # let client = remcache::Client::new([server.address()])?;
    /// use std::time::Duration;
    /// use remcache::Cache;
    /// use remcache::recipes::FetchPolicy;
    /// use remcache::value::Codec;
    ///
    /// let visits = Cache::new(&client, "visits", Codec::<u64>::integer());
    /// let freshness = FetchPolicy::new(Duration::from_secs(60)).negative(Duration::from_secs(5));
    /// let count = || async { Ok::<_, remcache::Error>(Some(42)) };
    /// assert_eq!(visits.fetch("ada", freshness, count).await?, Some(42));
    /// assert_eq!(visits.get("ada").await?, Some(42));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As [`Client::fetch`](crate::client::Client::fetch), and from an [`Error`](enum@ErrorKind) of kind
    /// [`ErrorKind::Value`] if the value cannot be written or read.
    ///
    /// # Cancellation
    /// The loader is dropped, and the next caller's loader runs at once. A refresh in a separate task
    /// continues.
    pub async fn fetch<V, E, L, F>(
        &self,
        key: impl AsRef<[u8]>,
        freshness: impl Into<FetchPolicy>,
        loader: L,
    ) -> Result<Option<T>, E>
    where
        L: FnOnce() -> F + Send + 'static,
        F: Future<Output = Result<Option<V>, E>> + Send + 'static,
        V: Borrow<B> + Send,
        E: From<Error>,
    {
        let (key, freshness) = (key.as_ref(), freshness.into());
        #[cfg(feature = "near")]
        let (copy, epoch) = match &self.store.near {
            Some(near) => near.peek(key).await,
            None => (None, 0),
        };
        #[cfg(feature = "near")]
        if let Some(item) = copy {
            return Ok(Some(self.decode(key, item)?));
        }
        let Some(item) = self.load(key, &freshness, loader).await? else { return Ok(None) };
        #[cfg(feature = "near")]
        if let Some(near) = &self.store.near {
            near.keep(key, epoch, item.clone()).await;
        }
        Ok(Some(self.decode(key, item)?))
    }

    async fn load<V, E, L, F>(&self, key: &[u8], freshness: &FetchPolicy, loader: L) -> Result<Option<Item>, E>
    where
        L: FnOnce() -> F + Send + 'static,
        F: Future<Output = Result<Option<V>, E>> + Send + 'static,
        V: Borrow<B> + Send,
        E: From<Error>,
    {
        let full_key = self.store.key(key);
        let loader = Arc::new(Mutex::new(Some(loader)));
        // A manifest with a missing chunk is removed, and loaded in the second round.
        for _ in 0..2 {
            let (store, codec, ttl) = (self.store.clone(), self.codec, freshness.kept_for());
            let (slot, prefixed) = (Arc::clone(&loader), full_key.clone());
            let load = move || async move {
                let loader = slot.lock().unwrap_or_else(PoisonError::into_inner).take();
                let Some(loader) = loader else { return Err(E::from(chunk_is_gone(&prefixed))) };
                let encode =
                    |value: Option<V>| value.map(|value| encoded(codec, &prefixed, value.borrow())).transpose();
                let value = match loader().await.and_then(|value| Ok(encode(value)?)) {
                    Ok(Some(value)) => value,
                    Ok(None) => return Ok(None),
                    Err(error) => return Err(error),
                };
                Ok(Some(store.loaded(&prefixed, value, ttl).await?))
            };
            let found = recipes::fetch::<E, _, _>(&self.store.client, &full_key, freshness, load).await?;
            match self.store.whole(&full_key, found).await? {
                Whole::Yes(item) => return Ok(item),
                Whole::No => self.store.remove_broken(&full_key).await,
            }
        }
        Err(E::from(chunk_is_gone(&full_key)))
    }
}

fn encoded<T, B: ?Sized>(codec: Codec<T, B>, key: &[u8], value: &B) -> Result<Loaded, Error> {
    let encoded = codec.encode(value).map_err(|error| unwritable(key, &error))?;
    Ok(Loaded { flags: encoded.flags, bytes: encoded.bytes.into_bytes() })
}

/// Whether a value is complete.
enum Whole {
    Yes(Option<Item>),
    /// One of its chunks is missing.
    No,
}

impl Store {
    /// Prepares a value for storage, storing its chunks if it is too long for one item.
    async fn loaded(&self, key: &[u8], value: Loaded, ttl: Duration) -> Result<Loaded, Error> {
        let Loaded { flags, bytes } = value;
        let Some(chunking) = self.chunking.filter(|chunking| bytes.len() > chunking.length) else {
            return Ok(Loaded { flags, bytes });
        };
        let manifest = Manifest::new(&bytes, chunking);
        manifest.check_length(key)?;
        let chunks = manifest.keys(key).zip(chunking.split(&bytes));
        // A chunk that was not stored makes the value a miss, which is loaded again.
        self.client.set_many(chunks).ttl(ttl).await;
        Ok(Loaded { flags: flags | chunked::MARK, bytes: manifest.to_string().into() })
    }

    async fn whole(&self, key: &[u8], found: Found) -> Result<Whole, Error> {
        let Some(Loaded { flags, bytes }) = found else { return Ok(Whole::Yes(None)) };
        let item = Item { value: bytes, flags, cas: 0 };
        match self.manifest(&item) {
            None => Ok(Whole::Yes(Some(item))),
            Some(manifest) => {
                let item = self.put_together(key, Some(item), manifest).await?;
                Ok(item.map_or(Whole::No, |item| Whole::Yes(Some(item))))
            }
        }
    }

    /// Removes a manifest with a missing chunk, unless it was replaced in the meantime.
    async fn remove_broken(&self, key: &[u8]) {
        let Ok(Some(item)) = self.client.get(key).await else { return };
        let Ok(cas) = self.client.home(key).checked_cas(item.cas) else { return };
        if let Some(manifest) = self.manifest(&item)
            && let Ok(None) = self.put_together(key, Some(item), manifest).await
        {
            // Another client has already removed it.
            let _ = self.client.call(recipes::removal(key, cas)).await;
        }
    }
}

#[cold]
fn chunk_is_gone(key: &[u8]) -> Error {
    let text = format!("key {}: a chunk of the value is gone as soon as it is stored", key.escape_ascii());
    Error::new(ErrorKind::Value, text)
}
