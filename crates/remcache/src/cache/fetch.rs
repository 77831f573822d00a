//! `fetch` for a typed cache: adds the codec, chunking and the in-process cache.

use std::borrow::Borrow;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::chunked::{self, Manifest};
use super::store::Store;
use super::{Cache, unwritable};
#[cfg(feature = "local-cache")]
use crate::cache::local::Fresh;
use crate::error::{Error, ErrorKind};
use crate::observe;
use crate::observe::OperationName;
#[cfg(feature = "local-cache")]
use crate::observe::Outcome;
use crate::ops::outcomes::Outcomes;
use crate::proto::Ttl;
use crate::recipes;
use crate::recipes::builder::Recipe;
use crate::recipes::fetch::{Found, Loaded};
use crate::recipes::fetch_policy::FetchPolicy;
use crate::result::{Item, UnconditionalOutcome};
use crate::value::Codec;

impl<T, B: ?Sized> Cache<T, B> {
    /// Marks a value as stale: [`fetch`](Cache::fetch) returns it for at most `grace` while one caller's loader
    /// reloads it. See [`Client::invalidate`](crate::client::Client::invalidate).
    ///
    /// This process drops its local copy; other processes serve theirs until it expires.
    ///
    /// # Errors
    /// Same as [`Client::invalidate`](crate::client::Client::invalidate).
    ///
    /// # Cancel safety
    /// The value may have been marked as stale.
    pub fn invalidate(&self, key: impl AsRef<[u8]>, grace: Duration) -> Recipe<'_, UnconditionalOutcome> {
        let (store, key) = (self.store.clone(), key.as_ref().to_vec());
        let (name, full_key) = (OperationName::Invalidate, store.key(&key));
        Recipe::for_key(&self.store.client, name, full_key, observe::done, move |client, full_key, _| async move {
            store.forget(&key);
            let change = client.invalidate(full_key, grace).await;
            store.forget(&key);
            change
        })
    }
}

impl<T: 'static, B: ?Sized + 'static> Cache<T, B> {
    /// Gets a value from the cache, or loads it once for all concurrent callers of this process and of the fleet.
    ///
    /// The loader must return a value; use [`fetch_optional`](Cache::fetch_optional) if there may be none. A cache
    /// failure is not an error: if the cache is unavailable, only the loader runs. The TTL is the policy's, not the
    /// cache's. See [`Client::fetch`](crate::client::Client::fetch), which does the same for bytes.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let server = remcache_server::Server::start().await?;
    /// # let client = remcache::Client::new([server.address()])?;
    /// use std::time::Duration;
    /// use remcache::{Cache, value::Codec};
    ///
    /// let visits = Cache::new(&client, "visits", Codec::<u64>::integer());
    /// let count = || async { Ok::<_, remcache::Error>(42) };
    /// assert_eq!(visits.fetch("ada", Duration::from_secs(60), count).await?, 42);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// Same as [`fetch_optional`](Cache::fetch_optional).
    ///
    /// # Cancel safety
    /// Same as [`fetch_optional`](Cache::fetch_optional).
    pub fn fetch<'a, V, E, L, F>(
        &'a self,
        key: impl AsRef<[u8]>,
        policy: impl Into<FetchPolicy>,
        loader: L,
    ) -> Recipe<'a, T, E>
    where
        L: FnOnce() -> F + Send + 'static,
        F: Future<Output = Result<V, E>> + Send + 'static,
        V: Borrow<B> + Send + 'a,
        E: From<Error> + Send + 'a,
    {
        let policy = policy.into().requiring_value();
        self.fetch_recipe(key.as_ref(), move |cache, key, timeout| async move {
            let load = || async move { loader().await.map(Some) };
            let found = cache.fetch_found(&key, policy, timeout, load).await?;
            found.ok_or_else(|| cache.store.client.fail(recipes::no_value(&cache.store.key(&key))))
        })
    }

    /// Gets a value that may not exist from the cache, or loads it once for all concurrent callers.
    ///
    /// `None` means that the loader found no value; the cache remembers that for [`FetchPolicy::negative_ttl`].
    /// Otherwise it behaves like [`fetch`](Cache::fetch).
    ///
    /// An [in-process cache](Cache::local_cache) is consulted first, so a value that is due for a refresh is only
    /// noticed after its local copy has expired.
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
    /// let policy = FetchPolicy::new(Duration::from_secs(60)).negative_ttl(Duration::from_secs(5));
    /// let count = || async { Ok::<_, remcache::Error>(Some(42)) };
    /// assert_eq!(visits.fetch_optional("ada", policy, count).await?, Some(42));
    /// assert_eq!(visits.get("ada").await?, Some(42));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// Same as [`Client::fetch`](crate::client::Client::fetch), and an error converted from [`ErrorKind::Encode`] or
    /// [`ErrorKind::Decode`] if the value cannot be encoded or decoded.
    ///
    /// # Cancel safety
    /// The loader is dropped, and the next caller's loader runs immediately. A refresh in a separate task
    /// continues.
    pub fn fetch_optional<'a, V, E, L, F>(
        &'a self,
        key: impl AsRef<[u8]>,
        policy: impl Into<FetchPolicy>,
        loader: L,
    ) -> Recipe<'a, Option<T>, E>
    where
        L: FnOnce() -> F + Send + 'static,
        F: Future<Output = Result<Option<V>, E>> + Send + 'static,
        V: Borrow<B> + Send + 'a,
        E: From<Error> + Send + 'a,
    {
        let policy = policy.into();
        self.fetch_recipe(key.as_ref(), move |cache, key, timeout| async move {
            cache.fetch_found(&key, policy, timeout, loader).await
        })
    }

    /// Creates a fetch of one key; `fetch` receives the cache with the client handle to use.
    fn fetch_recipe<'a, R, E, F>(
        &'a self,
        key: &[u8],
        start: impl FnOnce(Self, Vec<u8>, Option<Duration>) -> F + Send + 'a,
    ) -> Recipe<'a, R, E>
    where
        F: Future<Output = Result<R, E>> + Send + 'a,
    {
        let (name, key, full_key) = (OperationName::Fetch, key.to_vec(), self.store.key(key));
        Recipe::for_key(&self.store.client, name, full_key, observe::loaded, move |client, _, timeout| {
            start(self.with_client(client), key, timeout)
        })
    }

    /// Gets many values from the cache, and loads those that are missing with one call of a batch loader.
    ///
    /// See [`Client::fetch_many`](crate::client::Client::fetch_many), which does the same for bytes. The TTL is the
    /// policy's, not the cache's. An [in-process cache](Cache::local_cache) is not consulted.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let server = remcache_server::Server::start().await?;
    /// # let client = remcache::Client::new([server.address()])?;
    /// use std::time::Duration;
    /// use remcache::{Cache, value::Codec};
    ///
    /// let lengths = Cache::new(&client, "length", Codec::<u64>::integer());
    /// let load = |names: Vec<&'static str>| async move {
    ///     Ok::<_, remcache::Error>(names.into_iter().map(|name| (name, name.len() as u64)).collect::<Vec<_>>())
    /// };
    /// let found = lengths.fetch_many(["ada", "grace"], Duration::from_secs(60), load).await?;
    /// assert_eq!(found.get("grace").and_then(Result::ok), Some(&Some(5)));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// Same as [`Client::fetch_many`](crate::client::Client::fetch_many); a value that cannot be encoded or decoded is
    /// an error of its key.
    ///
    /// # Cancel safety
    /// Same as [`Client::fetch_many`](crate::client::Client::fetch_many).
    pub fn fetch_many<'a, K, V, I, E, L, F>(
        &'a self,
        keys: impl IntoIterator<Item = K>,
        policy: impl Into<FetchPolicy>,
        loader: L,
    ) -> Recipe<'a, Outcomes<K, Option<T>>, E>
    where
        K: AsRef<[u8]> + Clone + Send + Sync + 'a,
        L: FnMut(Vec<K>) -> F + Send + 'a,
        F: Future<Output = Result<I, E>> + Send + 'a,
        I: IntoIterator<Item = (K, V)> + 'a,
        V: Borrow<B> + Send + 'a,
        E: From<Error> + Send + 'a,
    {
        let (keys, policy): (Vec<K>, FetchPolicy) = (keys.into_iter().collect(), policy.into());
        let name = OperationName::FetchMany;
        Recipe::for_keys(&self.store.client, name, keys.len(), observe::loaded, move |client, timeout| async move {
            let cache = self.with_client(client);
            let full_keys: Vec<Vec<u8>> = keys.iter().map(|key| cache.store.key(key.as_ref())).collect();
            let encode = |full_key: Vec<u8>, value: V| {
                let cache = &cache;
                async move {
                    let loaded = encoded(&cache.codec, &full_key, value.borrow())?;
                    cache.store.record_ttl(&full_key[cache.store.prefix.len()..], policy.stored_ttl().into()).await;
                    cache.store.loaded(&full_key, loaded, policy.stored_ttl()).await
                }
            };
            let client = &cache.store.client;
            let found = recipes::fetch_batch(client, &keys, full_keys.clone(), policy, timeout, loader, encode).await?;
            let hits: Vec<bool> = found.iter().map(|fetched| fetched.is_hit).collect();
            let mut items = Vec::with_capacity(keys.len());
            for (full_key, fetched) in full_keys.iter().zip(found) {
                items.push(cache.store.reassemble_or_miss(full_key, fetched.result).await);
            }
            let values = keys.iter().zip(items).map(|(key, item)| cache.decode_found(key.as_ref(), item));
            let values: Vec<_> = values.collect();
            recipes::note(client, hits.into_iter().zip(values.iter().map(|value| value.as_ref().err())));
            Ok(keys.into_iter().zip(values).collect())
        })
    }

    async fn fetch_found<V, E, L, F>(
        &self,
        key: &[u8],
        policy: FetchPolicy,
        timeout: Option<Duration>,
        loader: L,
    ) -> Result<Option<T>, E>
    where
        L: FnOnce() -> F + Send + 'static,
        F: Future<Output = Result<Option<V>, E>> + Send + 'static,
        V: Borrow<B> + Send,
        E: From<Error>,
    {
        let fail = |error| self.store.client.fail::<E>(error);
        #[cfg(feature = "local-cache")]
        let (copy, epoch) = match &self.store.local {
            Some(local) => local.peek(key).await,
            None => (None, 0),
        };
        #[cfg(feature = "local-cache")]
        if let Some(item) = copy {
            self.store.client.note_fetched(Outcome::Hit);
            return Ok(Some(self.decode(key, item).map_err(fail)?));
        }
        let Some(item) = self.load(key, policy, timeout, loader).await? else { return Ok(None) };
        #[cfg(feature = "local-cache")]
        if let Some(local) = &self.store.local {
            local.keep(key, epoch, Fresh { item: item.clone(), ttl: Some(policy.stored_ttl()) }).await;
        }
        Ok(Some(self.decode(key, item).map_err(fail)?))
    }

    async fn load<V, E, L, F>(
        &self,
        key: &[u8],
        policy: FetchPolicy,
        timeout: Option<Duration>,
        loader: L,
    ) -> Result<Option<Item>, E>
    where
        L: FnOnce() -> F + Send + 'static,
        F: Future<Output = Result<Option<V>, E>> + Send + 'static,
        V: Borrow<B> + Send,
        E: From<Error>,
    {
        let fail = |error| self.store.client.fail::<E>(error);
        let full_key = self.store.key(key);
        let loader = Arc::new(Mutex::new(Some(loader)));
        // A manifest with a missing chunk is removed, and its value is loaded in the second round.
        for _ in 0..2 {
            let (store, codec, ttl) = (self.store.clone(), self.codec.clone(), policy.stored_ttl());
            let (slot, prefixed) = (Arc::clone(&loader), full_key.clone());
            let load = move || async move {
                let loader = slot.lock().unwrap_or_else(PoisonError::into_inner).take();
                let Some(loader) = loader else { return Err(store.client.fail(chunk_is_gone(&prefixed))) };
                let encode =
                    |value: Option<V>| value.map(|value| encoded(&codec, &prefixed, value.borrow())).transpose();
                let value = encode(loader().await?).map_err(|error| store.client.fail(error))?;
                let Some(value) = value else { return Ok(None) };
                store.record_ttl(&prefixed[store.prefix.len()..], ttl.into()).await;
                store.loaded(&prefixed, value, ttl).await.map(Some).map_err(|error| store.client.fail(error))
            };
            let found = recipes::fetch_within::<E, _, _>(&self.store.client, &full_key, policy, timeout, load).await?;
            match self.store.reassembled(&full_key, found).await.map_err(fail)? {
                Reassembled::Complete(item) => return Ok(item),
                Reassembled::ChunkMissing => self.store.remove_broken(&full_key).await,
            }
        }
        Err(fail(chunk_is_gone(&full_key)))
    }
}

fn encoded<T, B: ?Sized>(codec: &Codec<T, B>, key: &[u8], value: &B) -> Result<Loaded, Error> {
    let encoded = codec.encode(value).map_err(|error| unwritable(key, &error))?;
    Ok(Loaded { flags: encoded.flags, bytes: encoded.bytes.into_bytes() })
}

/// A value put together from its chunks.
enum Reassembled {
    Complete(Option<Item>),
    /// A chunk of the value is missing.
    ChunkMissing,
}

impl Store {
    /// Prepares a value for storage, storing its chunks if it is too long for one item.
    pub(super) async fn loaded(&self, key: &[u8], value: Loaded, ttl: impl Into<Ttl>) -> Result<Loaded, Error> {
        let Loaded { flags, bytes } = value;
        let Some(chunking) = self.chunking.filter(|chunking| bytes.len() > chunking.length) else {
            return Ok(Loaded { flags, bytes });
        };
        let manifest = Manifest::new(&bytes, chunking);
        manifest.check_length(key)?;
        let chunks = manifest.keys(key).zip(chunking.split(&bytes));
        // A chunk that was not stored makes the value a miss, which is loaded again.
        let _ = self.client.set_many(chunks).ttl(ttl).await;
        Ok(Loaded { flags: flags | chunked::MARK, bytes: manifest.to_string().into() })
    }

    async fn reassembled(&self, key: &[u8], found: Found) -> Result<Reassembled, Error> {
        let Some(Loaded { flags, bytes }) = found else { return Ok(Reassembled::Complete(None)) };
        let item = Item { value: bytes, flags, cas: 0 };
        match self.manifest(&item) {
            None => Ok(Reassembled::Complete(Some(item))),
            Some(manifest) => {
                let item = self.reassemble(key, Some(item), manifest).await?;
                Ok(item.map_or(Reassembled::ChunkMissing, |item| Reassembled::Complete(Some(item))))
            }
        }
    }

    /// Reassembles a value of a batch; one with a missing chunk is a miss.
    async fn reassemble_or_miss(&self, key: &[u8], found: Result<Found, Error>) -> Result<Option<Item>, Error> {
        match self.reassembled(key, found?).await? {
            Reassembled::Complete(item) => Ok(item),
            Reassembled::ChunkMissing => {
                self.remove_broken(key).await;
                Ok(None)
            }
        }
    }

    /// Removes a manifest with a missing chunk, unless it was replaced in the meantime.
    async fn remove_broken(&self, key: &[u8]) {
        let (found, server) = self.client.get(key).located().await;
        let Ok(Some(item)) = found else { return };
        let pinned = self.client.pinned(key, server.as_ref());
        let Ok(cas) = pinned.checked_cas(item.cas) else { return };
        if let Some(manifest) = self.manifest(&item)
            && let Ok(None) = self.reassemble(key, Some(item), manifest).await
        {
            // Another client has already removed it.
            let _ = pinned.call(recipes::removal(key, cas)).await;
        }
    }
}

#[cold]
fn chunk_is_gone(key: &[u8]) -> Error {
    let text = format!("key {}: a chunk of the value is gone as soon as it is stored", key.escape_ascii());
    Error::new(ErrorKind::Decode, text)
}
