//! Groups of values that are invalidated together, with one write.

use std::borrow::{Borrow, Cow};
use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::{Buf, Bytes};

use super::{Cache, unwritable};
use crate::client::Client;
use crate::error::{Error, ErrorKind};
use crate::observe;
use crate::observe::{OperationGuard, OperationName, Outcome};
use crate::recipes;
use crate::recipes::FetchPolicy;
use crate::recipes::fetch::Loaded;
use crate::recipes::ownership::OwnedItem;
use crate::result::{Item, UnconditionalOutcome};
use crate::server::Server;

/// Values of a [`Cache`] under a tag: see [`Cache::generation`].
pub struct Generation<T, B: ?Sized = T> {
    cache: Cache<T, B>,
    /// The key of the item that holds the current token.
    tag: Vec<u8>,
    /// The prefix of the values' keys.
    prefix: Vec<u8>,
}

impl<T, B: ?Sized> Cache<T, B> {
    /// Groups values under a tag: [`Generation::invalidate`] invalidates all of them with one write.
    ///
    /// The tag's item holds a random token, and each value is stored with the token that was current before it was
    /// loaded. A value is valid only if its token is the current one, so each lookup fetches one more key, in the same
    /// batch. If the tag's item is evicted, or its server restarts, all values of the tag are misses: a token is never
    /// reused. With failover or replicas an old item of the tag can reappear, and the values with it.
    ///
    /// The values have separate keys, `namespace:tag:key`, so [`Cache::get`] does not find them. They are neither
    /// cached in the process nor chunked.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let server = remcache_server::Server::start().await?;
    /// # let client = remcache::Client::new([server.address()])?;
    /// use std::time::Duration;
    /// use remcache::{Cache, value::Codec};
    ///
    /// let pages = Cache::new(&client, "page", Codec::text());
    /// let of_user = pages.generation("user:42");
    /// let render = || async { Ok::<_, remcache::Error>(Some("Ada's orders".to_owned())) };
    /// of_user.fetch_optional("orders", Duration::from_secs(600), render).await?;
    /// assert!(of_user.get("orders").await?.is_some());
    /// of_user.invalidate().await?;
    /// assert!(of_user.get("orders").await?.is_none());
    /// # Ok(()) }
    /// ```
    pub fn generation(&self, tag: impl AsRef<[u8]>) -> Generation<T, B> {
        let tag = self.key(tag);
        let prefix = [&tag[..], b":"].concat();
        Generation { cache: self.clone(), tag: [&tag[..], SUFFIX].concat(), prefix }
    }
}

/// A value's item and the current token of its tag.
struct GenerationLookup {
    /// The current token; `None` if the tag has no item.
    token: Option<Bytes>,
    item: Option<Item>,
    /// The server that has the item.
    server: Option<Arc<Server>>,
}

impl GenerationLookup {
    /// Returns the item without its token, if the token is the current one.
    fn current(&self) -> Option<Item> {
        let token = self.token.as_ref()?;
        let item = self.item.as_ref().filter(|item| !item.is_sentinel() && item.value.starts_with(token))?;
        Some(Item { value: item.value.slice(token.len()..), ..item.clone() })
    }
}

impl<T, B: ?Sized> Generation<T, B> {
    fn client(&self) -> &Client {
        self.cache.client()
    }

    /// Reports the start of an operation on a full key to observers, if there are any.
    fn observe(&self, name: OperationName, key: &[u8]) -> (Cow<'_, Self>, OperationGuard) {
        if !self.client().is_observed() {
            return (Cow::Borrowed(self), OperationGuard::default());
        }
        let operation = self.client().observe(name, key);
        let cache = self.cache.with_client(operation.client().clone());
        (Cow::Owned(Self { cache, ..self.clone() }), operation.into_guard())
    }

    /// Returns the key of the item that a value is stored under.
    pub fn key(&self, key: impl AsRef<[u8]>) -> Vec<u8> {
        [&self.prefix, key.as_ref()].concat()
    }

    /// Fetches a value; `None` is a miss.
    ///
    /// # Errors
    /// Same as [`Cache::get`].
    ///
    /// # Cancel safety
    /// Cancelling has no side effects.
    pub async fn get(&self, key: impl AsRef<[u8]>) -> Result<Option<T>, Error> {
        let key = self.key(key);
        let (this, operation) = self.observe(OperationName::Get, &key);
        let found = this.look_up(&key).await.map(|lookup| lookup.current());
        operation.end_with(observe::found, self.cache.decode_found(&key, found))
    }

    /// Invalidates all values of the tag with one write: calls that begin later do not return values loaded earlier.
    ///
    /// # Errors
    /// Same as [`Client::delete`]; the values may then still be valid.
    ///
    /// # Cancel safety
    /// The values may have been invalidated.
    pub async fn invalidate(&self) -> Result<(), Error> {
        let (this, operation) = self.observe(OperationName::Invalidate, &self.tag);
        operation.end_with(observe::done, this.client().delete(&self.tag).await.map(drop))
    }

    /// Removes one value.
    ///
    /// # Errors
    /// Same as [`Client::delete`].
    ///
    /// # Cancel safety
    /// The value may have been removed.
    pub async fn delete(&self, key: impl AsRef<[u8]>) -> Result<UnconditionalOutcome, Error> {
        self.client().delete(self.key(key)).await
    }

    async fn look_up(&self, key: &[u8]) -> Result<GenerationLookup, Error> {
        let mut items = self.client().get_many([&self.tag[..], key]).located().await.into_iter();
        let (tag, _) = items.next().unwrap_or((Ok(None), None));
        let (item, server) = items.next().unwrap_or((Ok(None), None));
        let token = tag?.map(|item| item.value).filter(|token| token.len() == TOKEN);
        Ok(GenerationLookup { token, item: item?, server })
    }

    /// Creates a token, unless another client does; returns the current one.
    async fn begin(&self) -> Result<Bytes, Error> {
        let token = OwnedItem::token();
        for _ in 0..TRIES {
            if self.client().add(&self.tag, &token).await?.is_applied() {
                return Ok(token);
            }
            let item = self.client().get(&self.tag).await?;
            match item {
                Some(item) if item.value.len() == TOKEN => return Ok(item.value),
                // The item is not a token.
                Some(_) => self.invalidate().await?,
                None => {}
            }
        }
        Err(too_busy(&self.tag))
    }

    /// Removes a value of an earlier token, unless another client has replaced it.
    async fn remove(&self, key: &[u8], item: &Item, server: Option<&Arc<Server>>) -> Result<(), Error> {
        let pinned = self.client().pinned(key, server);
        // If this fails, the item stays outdated.
        let _ = pinned.call(recipes::removal(key, pinned.checked_cas(item.cas)?)).await;
        Ok(())
    }
}

impl<T: 'static, B: ?Sized + 'static> Generation<T, B> {
    /// Gets a value, or loads it once for all concurrent callers, as [`Cache::fetch_optional`] does.
    ///
    /// A value whose loader began before an [invalidation](Generation::invalidate) is never returned to a call that
    /// began after it. Negative results are not cached, regardless of [`FetchPolicy::negative_ttl`].
    ///
    /// # Errors
    /// Same as [`Cache::fetch_optional`], and [`ErrorKind::Conflict`] if the tag was invalidated during each of 64
    /// attempts.
    ///
    /// # Cancel safety
    /// Same as [`Cache::fetch_optional`].
    pub async fn fetch_optional<V, E, L, F>(
        &self,
        key: impl AsRef<[u8]>,
        policy: impl Into<FetchPolicy>,
        loader: L,
    ) -> Result<Option<T>, E>
    where
        L: FnOnce() -> F + Send + 'static,
        F: Future<Output = Result<Option<V>, E>> + Send + 'static,
        V: Borrow<B> + Send,
        E: From<Error>,
    {
        let key = self.key(key);
        let (this, operation) = self.observe(OperationName::Fetch, &key);
        operation.end_with(observe::loaded, this.fetch_now(&key, policy.into(), loader).await)
    }

    async fn fetch_now<V, E, L, F>(&self, key: &[u8], policy: FetchPolicy, loader: L) -> Result<Option<T>, E>
    where
        L: FnOnce() -> F + Send + 'static,
        F: Future<Output = Result<Option<V>, E>> + Send + 'static,
        V: Borrow<B> + Send,
        E: From<Error>,
    {
        let fail = |error| self.client().fail::<E>(error);
        // A negative result has no token.
        let policy = FetchPolicy { negative: None, ..policy };
        let loader = Arc::new(Mutex::new(Some(loader)));
        for _ in 0..TRIES {
            let token = match self.current_or_token(key).await {
                Ok(Ok(item)) => {
                    self.client().note_fetched(Outcome::Hit);
                    return self.cache.decode(key, item).map(Some).map_err(fail);
                }
                Ok(Err(token)) => token,
                // The cache is unavailable, so only the loader runs; the token is never compared.
                Err(error) if error.is_unavailable() => OwnedItem::token(),
                Err(error) => return Err(fail(error)),
            };
            let (codec, slot) = (self.cache.codec.clone(), Arc::clone(&loader));
            let (stamp, full_key, client) = (token.clone(), key.to_vec(), self.client().clone());
            let load = move || async move {
                let loader = slot.lock().unwrap_or_else(PoisonError::into_inner).take();
                let Some(loader) = loader else { return Err(client.fail(too_busy(&full_key))) };
                let Some(value) = loader().await? else { return Ok(None) };
                let encoded =
                    codec.encode(value.borrow()).map_err(|error| client.fail(unwritable(&full_key, &error)))?;
                let bytes = [&stamp[..], encoded.bytes.as_slice()].concat().into();
                Ok(Some(Loaded { flags: encoded.flags, bytes }))
            };
            let found = recipes::fetch_within::<E, _, _>(self.client(), key, policy, None, load).await?;
            let Some(Loaded { flags, mut bytes }) = found else { return Ok(None) };
            if bytes.starts_with(&token) {
                bytes.advance(token.len());
                let item = Item { value: bytes, flags, cas: 0 };
                return self.cache.decode(key, item).map(Some).map_err(fail);
            }
            // It was loaded for another token, by another caller.
        }
        Err(fail(too_busy(key)))
    }

    /// Returns the item of a key if it is current, or the token that a new value gets.
    async fn current_or_token(&self, key: &[u8]) -> Result<Result<Item, Bytes>, Error> {
        let lookup = self.look_up(key).await?;
        if let Some(item) = lookup.current() {
            return Ok(Ok(item));
        }
        if let Some(item) = lookup.item.as_ref().filter(|item| !item.is_sentinel()) {
            self.remove(key, item, lookup.server.as_ref()).await?;
        }
        match lookup.token {
            Some(token) => Ok(Err(token)),
            None => self.begin().await.map(Err),
        }
    }
}

#[cold]
fn too_busy(key: &[u8]) -> Error {
    let text = format!("key {}: invalidated again during each of {TRIES} attempts", key.escape_ascii());
    Error::new(ErrorKind::Conflict, text)
}

impl<T, B: ?Sized> Clone for Generation<T, B> {
    fn clone(&self) -> Self {
        Self { cache: self.cache.clone(), tag: self.tag.clone(), prefix: self.prefix.clone() }
    }
}

impl<T, B: ?Sized> fmt::Debug for Generation<T, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Generation").field("prefix", &self.prefix.escape_ascii().to_string()).finish_non_exhaustive()
    }
}

/// The suffix of the key of a tag's item.
const SUFFIX: &[u8] = b"~generation";
/// The length of a token: 32 hexadecimal digits.
const TOKEN: usize = 32;
/// Maximum attempts before the operation fails with a conflict.
const TRIES: u32 = 64;
