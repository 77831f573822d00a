//! The operations on many keys: one method each.

use crate::client::Client;
use crate::ops::builder::Kind;
use crate::ops::multi_builder::{
    AppendMany, ConditionalSetMany, DeleteMany, Entry, GetMany, IncrementMany, KeyDelta, KeyOnly, KeyValue, Many,
    SetMany, TouchMany,
};
use crate::proto::{IntoCowBytes, Request, Ttl};

/// Operations on many keys.
impl Client {
    /// Fetches many items.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let server = remcache_server::Server::start().await?;
    /// # let client = remcache::Client::new([server.address()])?;
    /// client.set("foo", "1").await?;
    /// let many = client.get_many(["foo", "bar"]).await;
    /// assert_eq!(many.found().count(), 1);
    /// assert_eq!(many.missing().collect::<Vec<_>>(), [&"bar"]);
    /// assert!(many.is_complete());
    /// # Ok(()) }
    /// ```
    ///
    /// # Cancel safety
    /// See [`Many`].
    pub fn get_many<K>(&self, keys: impl IntoIterator<Item = K>) -> GetMany<'_, K>
    where
        K: AsRef<[u8]>,
    {
        many(self, keys, |key| KeyOnly { key, build: |key| Request::get(key) })
    }

    /// Fetches many items and sets the TTL of each.
    ///
    /// # Cancel safety
    /// See [`Many`].
    pub fn get_and_touch_many<K>(&self, keys: impl IntoIterator<Item = K>, ttl: impl Into<Ttl>) -> GetMany<'_, K>
    where
        K: AsRef<[u8]>,
    {
        many(self, keys, |key| KeyOnly { key, build: |key| Request::get_and_touch(key, Ttl::Never) })
            .with_ttl(ttl.into())
    }

    /// Stores many items, whether or not they exist.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let server = remcache_server::Server::start().await?;
    /// # let client = remcache::Client::new([server.address()])?;
    /// let many = client.set_many([("foo", "1"), ("bar", "2")]).await;
    /// assert_eq!(many.applied().count(), 2);
    /// # Ok(()) }
    /// ```
    ///
    /// # Cancel safety
    /// See [`Many`].
    pub fn set_many<K, V>(&self, items: impl IntoIterator<Item = (K, V)>) -> SetMany<'_, K, V>
    where
        K: AsRef<[u8]>,
        for<'r> &'r V: IntoCowBytes<'r>,
    {
        many(self, items, |(key, value)| KeyValue { key, value, build: |key, value| Request::set(key, value) })
    }

    /// Stores many items if they do not exist.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let server = remcache_server::Server::start().await?;
    /// # let client = remcache::Client::new([server.address()])?;
    /// client.set("foo", "1").await?;
    /// let many = client.add_many([("foo", "1"), ("bar", "2")]).await;
    /// assert_eq!(many.applied().collect::<Vec<_>>(), [&"bar"]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Cancel safety
    /// See [`Many`].
    pub fn add_many<K, V>(&self, items: impl IntoIterator<Item = (K, V)>) -> ConditionalSetMany<'_, K, V>
    where
        K: AsRef<[u8]>,
        for<'r> &'r V: IntoCowBytes<'r>,
    {
        many(self, items, |(key, value)| KeyValue { key, value, build: |key, value| Request::add(key, value) })
    }

    /// Stores many items if they exist.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let server = remcache_server::Server::start().await?;
    /// # let client = remcache::Client::new([server.address()])?;
    /// let many = client.replace_many([("absent", "1")]).await;
    /// assert_eq!(many.not_applied().count(), 1);
    /// # Ok(()) }
    /// ```
    ///
    /// # Cancel safety
    /// See [`Many`].
    pub fn replace_many<K, V>(&self, items: impl IntoIterator<Item = (K, V)>) -> ConditionalSetMany<'_, K, V>
    where
        K: AsRef<[u8]>,
        for<'r> &'r V: IntoCowBytes<'r>,
    {
        many(self, items, |(key, value)| KeyValue { key, value, build: |key, value| Request::replace(key, value) })
    }

    /// Appends bytes to many values.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let server = remcache_server::Server::start().await?;
    /// # let client = remcache::Client::new([server.address()])?;
    /// let many = client.append_many([("absent", "1")]).await;
    /// assert_eq!(many.not_applied().count(), 1);
    /// # Ok(()) }
    /// ```
    ///
    /// # Cancel safety
    /// See [`Many`].
    pub fn append_many<K, V>(&self, items: impl IntoIterator<Item = (K, V)>) -> AppendMany<'_, K, V>
    where
        K: AsRef<[u8]>,
        for<'r> &'r V: IntoCowBytes<'r>,
    {
        many(self, items, |(key, value)| KeyValue { key, value, build: |key, value| Request::append(key, value) })
    }

    /// Prepends bytes to many values.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let server = remcache_server::Server::start().await?;
    /// # let client = remcache::Client::new([server.address()])?;
    /// let many = client.prepend_many([("absent", "1")]).await;
    /// assert_eq!(many.not_applied().count(), 1);
    /// # Ok(()) }
    /// ```
    ///
    /// # Cancel safety
    /// See [`Many`].
    pub fn prepend_many<K, V>(&self, items: impl IntoIterator<Item = (K, V)>) -> AppendMany<'_, K, V>
    where
        K: AsRef<[u8]>,
        for<'r> &'r V: IntoCowBytes<'r>,
    {
        many(self, items, |(key, value)| KeyValue { key, value, build: |key, value| Request::prepend(key, value) })
    }

    /// Deletes many items.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let server = remcache_server::Server::start().await?;
    /// # let client = remcache::Client::new([server.address()])?;
    /// client.set("foo", "1").await?;
    /// let many = client.delete_many(["foo", "bar"]).await;
    /// assert_eq!(many.applied().collect::<Vec<_>>(), [&"foo"]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Cancel safety
    /// See [`Many`].
    pub fn delete_many<K>(&self, keys: impl IntoIterator<Item = K>) -> DeleteMany<'_, K>
    where
        K: AsRef<[u8]>,
    {
        many(self, keys, |key| KeyOnly { key, build: |key| Request::delete(key) })
    }

    /// Increments many counters.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let server = remcache_server::Server::start().await?;
    /// # let client = remcache::Client::new([server.address()])?;
    /// let many = client.increment_many([("a", 1), ("b", 2)]).initial(10).await;
    /// assert!(many.is_complete());
    /// # Ok(()) }
    /// ```
    ///
    /// # Cancel safety
    /// See [`Many`].
    pub fn increment_many<K>(&self, counters: impl IntoIterator<Item = (K, u64)>) -> IncrementMany<'_, K>
    where
        K: AsRef<[u8]>,
    {
        many(self, counters, |(key, number)| KeyDelta {
            key,
            number,
            build: |key, delta| Request::increment(key, delta),
        })
    }

    /// Decrements many counters.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let server = remcache_server::Server::start().await?;
    /// # let client = remcache::Client::new([server.address()])?;
    /// let many = client.decrement_many([("absent", 1)]).await;
    /// assert!(matches!(many.get("absent"), Some(Ok(None))));
    /// # Ok(()) }
    /// ```
    ///
    /// # Cancel safety
    /// See [`Many`].
    pub fn decrement_many<K>(&self, counters: impl IntoIterator<Item = (K, u64)>) -> IncrementMany<'_, K>
    where
        K: AsRef<[u8]>,
    {
        many(self, counters, |(key, number)| KeyDelta {
            key,
            number,
            build: |key, delta| Request::decrement(key, delta),
        })
    }

    /// Sets the TTL of many items.
    ///
    /// # Cancel safety
    /// See [`Many`].
    pub fn touch_many<K>(&self, keys: impl IntoIterator<Item = K>, ttl: impl Into<Ttl>) -> TouchMany<'_, K>
    where
        K: AsRef<[u8]>,
    {
        many(self, keys, |key| KeyOnly { key, build: |key| Request::touch(key, Ttl::Never) }).with_ttl(ttl.into())
    }
}

fn many<'a, N: Kind, T, Q: Entry>(
    client: &'a Client,
    items: impl IntoIterator<Item = T>,
    entry: impl FnMut(T) -> Q,
) -> Many<'a, N, Q> {
    Many::new(client, items.into_iter().map(entry).collect())
}
