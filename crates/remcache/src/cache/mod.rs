//! A typed cache: values of one Rust type under a namespace, with a codec and a time to live.
//!
//! ```
//! # #[cfg(feature = "json")]
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # use serde::{Deserialize, Serialize};
//! # let server = remcache_server::Server::start().await?;
//! # let client = remcache::Client::new([server.address()])?;
//! use std::time::Duration;
//! use remcache::Cache;
//! use remcache::value::Codec;
//!
//! #[derive(Serialize, Deserialize)]
//! struct User {
//!     name: String,
//! }
//!
//! let users = Cache::<User>::new(&client, "user", Codec::json()).ttl(Duration::from_secs(600));
//! users.set("42", &User { name: "Ada".to_owned() }).await?;
//! let user = users.get("42").await?;
//! assert_eq!(user.map(|user| user.name).as_deref(), Some("Ada"));
//! # Ok(()) }
//! # #[cfg(not(feature = "json"))]
//! # fn main() {}
//! ```
#[cfg(feature = "local-cache")]
pub(crate) mod local;

mod chunked;
mod fetch;
mod generation;
mod store;
mod update;
mod write;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

#[cfg(feature = "local-cache")]
pub use crate::cache::local::LocalCache;

pub use crate::cache::generation::Generation;
use crate::client::Client;
use crate::error::{Error, ErrorKind};
use crate::observe;
use crate::observe::OperationName;
use crate::ops::outcomes::Outcomes;
use crate::proto::Ttl;
use crate::result::{Item, UnconditionalOutcome};
use crate::value::{Codec, Encoded, ValueError};
use chunked::Chunking;
use store::{Condition, Store};
pub use write::{CacheWrite, CacheWriteMany};

/// A typed cache: values of one Rust type under a namespace.
///
/// It is a handle: cloning it is cheap, and all clones share the client and the in-process cache. Every key
/// is prefixed with the namespace and a colon.
///
/// A value that cannot be decoded is an error of kind [`ErrorKind::Decode`] that names its key and flags,
/// not a miss.
pub struct Cache<T, B: ?Sized = T> {
    store: Store,
    codec: Codec<T, B>,
}

impl<T, B: ?Sized> Cache<T, B> {
    /// Creates a cache with this namespace and codec; values have no TTL.
    pub fn new(client: &Client, namespace: impl AsRef<[u8]>, codec: Codec<T, B>) -> Self {
        let prefix: Arc<[u8]> = match namespace.as_ref() {
            b"" => Arc::default(),
            namespace => [namespace, b":"].concat().into(),
        };
        Self { store: Store::new(client.clone(), prefix), codec }
    }

    /// Sets the TTL of values (default: none).
    #[must_use]
    pub fn ttl(mut self, ttl: impl Into<Ttl>) -> Self {
        self.store.ttl = ttl.into();
        self
    }

    /// Sets the timeout of each request, instead of the client's [`timeout`](crate::config::Config::timeout).
    ///
    /// Cloning a cache is cheap: `cache.clone().timeout(…)` is a handle with another timeout.
    #[must_use]
    pub fn timeout(self, timeout: Duration) -> Self {
        let client = self.store.client.with_timeout(timeout);
        self.with_client(client)
    }

    /// Returns the same cache with another handle to its client.
    fn with_client(&self, client: Client) -> Self {
        let mut cache = self.clone();
        cache.store.client = client;
        cache
    }

    /// Stores values longer than `length` bytes in chunks of that length (default: they are rejected as
    /// [`ValueTooLarge`](ErrorKind::ValueTooLarge)).
    ///
    /// The chunks are stored first, under names unique to each write, and the manifest last, with their
    /// number, length and a checksum: a reader sees the old value or the new one, never a mixture. A
    /// missing chunk makes the value a miss. Unreferenced chunks are deleted if they are known, and
    /// otherwise expire or are evicted. Writers and readers must agree on whether chunking is enabled, not on
    /// the length. The maximum key length is reduced by about 40 bytes.
    ///
    /// `length` must be a few hundred bytes less than the server's item limit (1 MiB); 512 KiB is a good
    /// choice. A reader reassembles at most 64 MiB.
    #[must_use]
    pub fn chunked(mut self, length: usize) -> Self {
        self.store.chunking = Some(Chunking::new(length));
        self
    }

    /// Enables an in-process cache of values that were read (default: none).
    #[cfg(feature = "local-cache")]
    #[must_use]
    pub fn local_cache(mut self, local_cache: LocalCache) -> Self {
        self.store.local = Some(Arc::new(local_cache.open()));
        self
    }

    /// Fetches a value; `None` is a miss.
    ///
    /// # Errors
    /// Same as [`Client::get`], and [`ErrorKind::Decode`] if the value cannot be decoded.
    ///
    /// # Cancel safety
    /// Cancelling has no side effects.
    pub async fn get(&self, key: impl AsRef<[u8]>) -> Result<Option<T>, Error> {
        let key = key.as_ref();
        let (store, operation) = self.store.observe(OperationName::Get, key);
        operation.end_with(observe::found, self.decode_found(key, store.get(key).await))
    }

    /// Fetches a value with its CAS value, always from the server; `None` is a miss.
    ///
    /// # Errors
    /// Same as [`Cache::get`].
    ///
    /// # Cancel safety
    /// Cancelling has no side effects.
    pub async fn get_with_cas(&self, key: impl AsRef<[u8]>) -> Result<Option<(T, u64)>, Error> {
        let key = key.as_ref();
        let (store, operation) = self.store.observe(OperationName::Get, key);
        let item = store.fetch(key).await;
        let cas = item.as_ref().map_or(0, |item| item.as_ref().map_or(0, |item| item.cas));
        let value = operation.end_with(observe::found, self.decode_found(key, item))?;
        Ok(value.map(|value| (value, cas)))
    }

    /// Fetches many values, with one result per key.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let server = remcache_server::Server::start().await?;
    /// # let client = remcache::Client::new([server.address()])?;
    /// use remcache::{Cache, value::Codec};
    ///
    /// let names = Cache::new(&client, "name", Codec::text());
    /// names.set_many([("a", "Ada"), ("b", "Bob")]).await;
    /// let many = names.get_many(["a", "b", "c"]).await;
    /// assert_eq!(many.found().count(), 2);
    /// assert_eq!(many.missing().collect::<Vec<_>>(), [&"c"]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Cancel safety
    /// Cancelling has no side effects.
    pub async fn get_many<K: AsRef<[u8]>>(&self, keys: impl IntoIterator<Item = K>) -> Outcomes<K, Option<T>> {
        let keys: Vec<K> = keys.into_iter().collect();
        let (store, operation) = self.store.observe_many(OperationName::GetMany, keys.len());
        let items = store.get_many(&keys).await;
        let values = keys.iter().zip(items).map(|(key, item)| self.decode_found(key.as_ref(), item));
        let values: Vec<_> = values.collect();
        operation.end_many(values.iter().map(observe::found_each));
        keys.into_iter().zip(values).collect()
    }

    /// Stores a value unconditionally.
    ///
    /// # Errors
    /// Same as [`Client::set`], and [`ErrorKind::Encode`] if the value cannot be encoded.
    ///
    /// # Cancel safety
    /// The value may have been stored.
    pub fn set<'v>(&self, key: impl AsRef<[u8]>, value: &'v B) -> CacheWrite<'v, UnconditionalOutcome> {
        self.write(Condition::None, key.as_ref(), value)
    }

    /// Stores a value if the item's CAS value matches.
    ///
    /// # Errors
    /// Same as [`Cache::set`].
    ///
    /// # Cancel safety
    /// The value may have been stored.
    pub fn set_with_cas<'v>(&self, key: impl AsRef<[u8]>, value: &'v B, cas: u64) -> CacheWrite<'v> {
        self.write(Condition::Cas(cas), key.as_ref(), value)
    }

    /// Stores a value if there is no item; otherwise returns [`Exists`](crate::WriteOutcome::Exists).
    ///
    /// # Errors
    /// Same as [`Cache::set`].
    ///
    /// # Cancel safety
    /// The value may have been stored.
    pub fn add<'v>(&self, key: impl AsRef<[u8]>, value: &'v B) -> CacheWrite<'v> {
        self.write(Condition::Absent, key.as_ref(), value)
    }

    /// Stores a value if there is an item; otherwise returns [`NotFound`](crate::WriteOutcome::NotFound).
    ///
    /// # Errors
    /// Same as [`Cache::set`].
    ///
    /// # Cancel safety
    /// The value may have been stored.
    pub fn replace<'v>(&self, key: impl AsRef<[u8]>, value: &'v B) -> CacheWrite<'v> {
        self.write(Condition::Present, key.as_ref(), value)
    }

    fn write<'v, O>(&self, condition: Condition, key: &[u8], value: &'v B) -> CacheWrite<'v, O> {
        CacheWrite::new(&self.store, condition, key, self.encode(key, value))
    }

    /// Stores many values, with one result per key.
    ///
    /// # Cancel safety
    /// Values that were sent may have been stored.
    pub fn set_many<'v, K>(&self, items: impl IntoIterator<Item = (K, &'v B)>) -> CacheWriteMany<'v, K>
    where
        K: AsRef<[u8]>,
        B: 'v,
    {
        let (keys, values): (Vec<K>, Vec<&'v B>) = items.into_iter().unzip();
        let encoded = keys.iter().zip(values).map(|(key, value)| self.encode(key.as_ref(), value)).collect();
        CacheWriteMany::new(&self.store, keys, encoded)
    }

    /// Sets the TTL of a value; returns [`NotFound`](crate::WriteOutcome::NotFound) for a miss.
    ///
    /// # Errors
    /// Same as [`Client::touch`].
    ///
    /// # Cancel safety
    /// The value may have been touched.
    pub async fn touch(&self, key: impl AsRef<[u8]>, ttl: impl Into<Ttl>) -> Result<UnconditionalOutcome, Error> {
        let key = key.as_ref();
        let (store, operation) = self.store.observe(OperationName::Touch, key);
        operation.end_with(observe::done, store.touch(key, ttl.into()).await)
    }

    /// Fetches a value, always from the server, and sets its TTL; `None` is a miss.
    ///
    /// # Errors
    /// Same as [`Cache::get`].
    ///
    /// # Cancel safety
    /// The value may have been touched.
    pub async fn get_and_touch(&self, key: impl AsRef<[u8]>, ttl: impl Into<Ttl>) -> Result<Option<T>, Error> {
        let key = key.as_ref();
        let (store, operation) = self.store.observe(OperationName::GetAndTouch, key);
        operation.end_with(observe::found, self.decode_found(key, store.get_and_touch(key, ttl.into()).await))
    }

    /// Fetches a value and deletes it; `None` is a miss. If several callers take the same value, only one gets it.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let server = remcache_server::Server::start().await?;
    /// # let client = remcache::Client::new([server.address()])?;
    /// use remcache::{Cache, value::Codec};
    ///
    /// let tokens = Cache::new(&client, "token", Codec::text());
    /// tokens.set("ada", "once").await?;
    /// assert_eq!(tokens.take("ada").await?.as_deref(), Some("once"));
    /// assert_eq!(tokens.take("ada").await?, None);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// Those of [`Client::take`] and of [`Cache::get`].
    ///
    /// # Cancel safety
    /// The value may have been deleted.
    pub async fn take(&self, key: impl AsRef<[u8]>) -> Result<Option<T>, Error> {
        let key = key.as_ref();
        let (store, operation) = self.store.observe(OperationName::Take, key);
        operation.end_with(observe::found, self.decode_found(key, store.take(key).await))
    }

    /// Removes a value.
    ///
    /// # Errors
    /// Same as [`Client::delete`].
    ///
    /// # Cancel safety
    /// The value may have been removed.
    pub async fn delete(&self, key: impl AsRef<[u8]>) -> Result<UnconditionalOutcome, Error> {
        let key = key.as_ref();
        let (store, operation) = self.store.observe(OperationName::Delete, key);
        operation.end_with(observe::done, store.delete(key).await)
    }

    /// Removes many values, with one result per key.
    ///
    /// # Cancel safety
    /// Values whose deletes were sent may have been removed.
    pub async fn delete_many<K: AsRef<[u8]>>(
        &self,
        keys: impl IntoIterator<Item = K>,
    ) -> Outcomes<K, UnconditionalOutcome> {
        let keys: Vec<K> = keys.into_iter().collect();
        let (store, operation) = self.store.observe_many(OperationName::DeleteMany, keys.len());
        let results = store.delete_many(&keys).await;
        operation.end_many(results.iter().map(observe::done_each));
        keys.into_iter().zip(results).collect()
    }

    /// Returns the underlying client.
    pub fn client(&self) -> &Client {
        &self.store.client
    }

    /// Returns the key of the item that a value is stored under.
    pub fn key(&self, key: impl AsRef<[u8]>) -> Vec<u8> {
        self.store.key(key.as_ref())
    }

    fn encode<'v>(&self, key: &[u8], value: &'v B) -> Result<Encoded<'v>, Error> {
        self.codec.encode(value).map_err(|error| unwritable(&self.store.key(key), &error))
    }

    fn decode_found(&self, key: &[u8], item: Result<Option<Item>, Error>) -> Result<Option<T>, Error> {
        item?.map(|item| self.decode(key, item)).transpose()
    }

    fn decode(&self, key: &[u8], item: Item) -> Result<T, Error> {
        let flags = item.flags;
        self.codec.decode(flags, item.value).map_err(|error| unreadable(&self.store.key(key), flags, &error))
    }
}

#[cold]
fn unwritable(key: &[u8], error: &ValueError) -> Error {
    Error::new(ErrorKind::Encode, format!("key {}: {error}", key.escape_ascii())).caused_by(error.clone())
}

#[cold]
fn unreadable(key: &[u8], flags: u32, error: &ValueError) -> Error {
    let text = format!("key {}, flags {flags:#010x}: {error}", key.escape_ascii());
    Error::new(ErrorKind::Decode, text).caused_by(error.clone())
}

impl<T, B: ?Sized> Clone for Cache<T, B> {
    fn clone(&self) -> Self {
        Self { store: self.store.clone(), codec: self.codec.clone() }
    }
}

impl<T, B: ?Sized> fmt::Debug for Cache<T, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Cache");
        debug.field("prefix", &self.store.prefix.escape_ascii().to_string());
        debug.field("codec", &self.codec).field("ttl", &self.store.ttl).finish_non_exhaustive()
    }
}
