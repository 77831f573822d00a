//! The operations of a client: one method each, and one for many keys.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::Poll;

use super::command::{Command, Count, Delete, Extend, Fetch, Kind, Store, Touch};
use super::many::{
    CountMany, DeleteMany, Entry, ExtendMany, FetchMany, KeyNumber, KeyOnly, KeyValue, Many, StoreMany, TouchMany,
};
use super::{Client, ServerHandle};
use crate::Error;
use crate::proto::{CowBytes, Request, Ttl};

/// Operations on one key.
impl Client {
    /// Fetches an item; `None` is a miss.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let server = remcache_server::Server::start().await?;
    /// # let client = remcache::Client::new([server.address()])?;
    /// if let Some(item) = client.get("Hello").await? {
    ///     println!("{} bytes, flags {}", item.value.len(), item.flags);
    /// }
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// See [`ErrorKind`](crate::ErrorKind); what the server decides is a value.
    ///
    /// # Cancellation
    /// See [`Command`].
    #[inline]
    pub fn get<'a>(&'a self, key: impl Into<CowBytes<'a>>) -> Command<'a, Fetch> {
        Command::new(self.call(Request::get(key)))
    }

    /// Fetches an item and gives it a new time to live; `None` is a miss.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let server = remcache_server::Server::start().await?;
    /// # let client = remcache::Client::new([server.address()])?;
    /// use std::time::Duration;
    /// let session = client.get_and_touch("session:7", Duration::from_secs(600)).await?;
    /// assert!(session.is_none());
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// See [`ErrorKind`](crate::ErrorKind); what the server decides is a value.
    ///
    /// # Cancellation
    /// See [`Command`].
    #[inline]
    pub fn get_and_touch<'a>(&'a self, key: impl Into<CowBytes<'a>>, ttl: impl Into<Ttl>) -> Command<'a, Fetch> {
        Command::new(self.call(Request::get_and_touch(key, ttl)))
    }

    /// Stores an item, whether or not there is one.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let server = remcache_server::Server::start().await?;
    /// # let client = remcache::Client::new([server.address()])?;
    /// use std::time::Duration;
    /// let change = client.set("Hello", "World").ttl(Duration::from_secs(600)).await?;
    /// assert!(change.is_made());
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// See [`ErrorKind`](crate::ErrorKind); what the server decides is a value.
    ///
    /// # Cancellation
    /// See [`Command`].
    #[inline]
    pub fn set<'a>(&'a self, key: impl Into<CowBytes<'a>>, value: impl Into<CowBytes<'a>>) -> Command<'a, Store> {
        Command::new(self.call(Request::set(key, value)))
    }

    /// Stores an item if there is none; else the change is [`Exists`](crate::Change::Exists).
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let server = remcache_server::Server::start().await?;
    /// # let client = remcache::Client::new([server.address()])?;
    /// assert!(client.add("Hello", "World").await?.is_made());
    /// assert_eq!(client.add("Hello", "again").await?, remcache::Change::Exists);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// See [`ErrorKind`](crate::ErrorKind); what the server decides is a value.
    ///
    /// # Cancellation
    /// See [`Command`].
    #[inline]
    pub fn add<'a>(&'a self, key: impl Into<CowBytes<'a>>, value: impl Into<CowBytes<'a>>) -> Command<'a, Store> {
        Command::new(self.call(Request::add(key, value)))
    }

    /// Stores an item if there is one; else the change is [`NotFound`](crate::Change::NotFound).
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let server = remcache_server::Server::start().await?;
    /// # let client = remcache::Client::new([server.address()])?;
    /// assert_eq!(client.replace("absent", "x").await?, remcache::Change::NotFound);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// See [`ErrorKind`](crate::ErrorKind); what the server decides is a value.
    ///
    /// # Cancellation
    /// See [`Command`].
    #[inline]
    pub fn replace<'a>(&'a self, key: impl Into<CowBytes<'a>>, value: impl Into<CowBytes<'a>>) -> Command<'a, Store> {
        Command::new(self.call(Request::replace(key, value)))
    }

    /// Puts bytes behind a value; its flags and time to live stay.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let server = remcache_server::Server::start().await?;
    /// # let client = remcache::Client::new([server.address()])?;
    /// client.set("log", "one").await?;
    /// assert!(client.append("log", " two").await?.is_made());
    /// assert_eq!(client.append("absent", "x").await?, remcache::Change::NotStored);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// See [`ErrorKind`](crate::ErrorKind); what the server decides is a value.
    ///
    /// # Cancellation
    /// See [`Command`].
    #[inline]
    pub fn append<'a>(&'a self, key: impl Into<CowBytes<'a>>, value: impl Into<CowBytes<'a>>) -> Command<'a, Extend> {
        Command::new(self.call(Request::append(key, value)))
    }

    /// Puts bytes before a value; its flags and time to live stay.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let server = remcache_server::Server::start().await?;
    /// # let client = remcache::Client::new([server.address()])?;
    /// client.set("log", "two").await?;
    /// assert!(client.prepend("log", "one ").await?.is_made());
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// See [`ErrorKind`](crate::ErrorKind); what the server decides is a value.
    ///
    /// # Cancellation
    /// See [`Command`].
    #[inline]
    pub fn prepend<'a>(&'a self, key: impl Into<CowBytes<'a>>, value: impl Into<CowBytes<'a>>) -> Command<'a, Extend> {
        Command::new(self.call(Request::prepend(key, value)))
    }

    /// Removes an item.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let server = remcache_server::Server::start().await?;
    /// # let client = remcache::Client::new([server.address()])?;
    /// assert_eq!(client.delete("absent").await?, remcache::Change::NotFound);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// See [`ErrorKind`](crate::ErrorKind); what the server decides is a value.
    ///
    /// # Cancellation
    /// See [`Command`].
    #[inline]
    pub fn delete<'a>(&'a self, key: impl Into<CowBytes<'a>>) -> Command<'a, Delete> {
        Command::new(self.call(Request::delete(key)))
    }

    /// Raises a counter; it wraps at 2^64. `None` if it is absent and no `initial` was given.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let server = remcache_server::Server::start().await?;
    /// # let client = remcache::Client::new([server.address()])?;
    /// let visits = client.increment("visits", 1).initial(1).await?;
    /// assert_eq!(visits.map(|counter| counter.value), Some(1));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// See [`ErrorKind`](crate::ErrorKind); what the server decides is a value.
    ///
    /// # Cancellation
    /// See [`Command`].
    #[inline]
    pub fn increment<'a>(&'a self, key: impl Into<CowBytes<'a>>, delta: u64) -> Command<'a, Count> {
        Command::new(self.call(Request::increment(key, delta)))
    }

    /// Lowers a counter; it stops at 0. `None` if it is absent and no `initial` was given.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let server = remcache_server::Server::start().await?;
    /// # let client = remcache::Client::new([server.address()])?;
    /// client.set("left", "5").await?;
    /// let left = client.decrement("left", 7).await?;
    /// assert_eq!(left.map(|counter| counter.value), Some(0));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// See [`ErrorKind`](crate::ErrorKind); what the server decides is a value.
    ///
    /// # Cancellation
    /// See [`Command`].
    #[inline]
    pub fn decrement<'a>(&'a self, key: impl Into<CowBytes<'a>>, delta: u64) -> Command<'a, Count> {
        Command::new(self.call(Request::decrement(key, delta)))
    }

    /// Gives an item a new time to live.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let server = remcache_server::Server::start().await?;
    /// # let client = remcache::Client::new([server.address()])?;
    /// use std::time::Duration;
    /// assert!(!client.touch("absent", Duration::from_secs(60)).await?.is_made());
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// See [`ErrorKind`](crate::ErrorKind); what the server decides is a value.
    ///
    /// # Cancellation
    /// See [`Command`].
    #[inline]
    pub fn touch<'a>(&'a self, key: impl Into<CowBytes<'a>>, ttl: impl Into<Ttl>) -> Command<'a, Touch> {
        Command::new(self.call(Request::touch(key, ttl)))
    }
}

/// Operations on all servers.
impl Client {
    /// Removes all items of all servers, at once or at a later time; an outcome for each server.
    ///
    /// # Cancellation
    /// Servers that were asked may have flushed.
    pub async fn flush(&self, when: impl Into<Ttl>) -> Vec<(ServerHandle, Result<(), Error>)> {
        let when = when.into();
        self.on_all_servers(|server| server.flush(when)).await
    }

    /// The versions of all servers; an outcome for each server.
    ///
    /// # Cancellation
    /// Nothing is changed by this.
    pub async fn version(&self) -> Vec<(ServerHandle, Result<String, Error>)> {
        self.on_all_servers(ServerHandle::version).await
    }

    /// Asks all servers for nothing but an answer; an outcome for each server.
    ///
    /// # Cancellation
    /// Nothing is changed by this.
    pub async fn noop(&self) -> Vec<(ServerHandle, Result<(), Error>)> {
        self.on_all_servers(ServerHandle::noop).await
    }

    async fn on_all_servers<N: Kind + 'static>(
        &self,
        command: impl Fn(&ServerHandle) -> Command<'static, N>,
    ) -> Vec<(ServerHandle, Result<N::Output, Error>)> {
        let mut waiting: Vec<_> =
            self.servers().into_iter().map(|server| (Some(command(&server)), server, None)).collect();
        poll_fn(|cx| {
            let mut pending = false;
            for (command, _, outcome) in &mut waiting {
                if let Some(unfinished) = command {
                    match Pin::new(unfinished).poll(cx) {
                        Poll::Pending => pending = true,
                        Poll::Ready(result) => (*command, *outcome) = (None, Some(result)),
                    }
                }
            }
            if pending { Poll::Pending } else { Poll::Ready(()) }
        })
        .await;
        waiting.into_iter().filter_map(|(_, server, outcome)| Some((server, outcome?))).collect()
    }
}

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
    /// # Cancellation
    /// See [`Many`](crate::client::Many).
    pub fn get_many<K>(&self, keys: impl IntoIterator<Item = K>) -> FetchMany<'_, K>
    where
        K: AsRef<[u8]>,
    {
        many(self, keys, |key| KeyOnly { key, build: |key| Request::get(key) })
    }

    /// Fetches many items and gives each a new time to live.
    ///
    /// # Cancellation
    /// See [`Many`](crate::client::Many).
    pub fn get_and_touch_many<K>(&self, keys: impl IntoIterator<Item = K>, ttl: impl Into<Ttl>) -> FetchMany<'_, K>
    where
        K: AsRef<[u8]>,
    {
        many(self, keys, |key| KeyOnly { key, build: |key| Request::get_and_touch(key, Ttl::Never) })
            .with_ttl(ttl.into())
    }

    /// Stores many items, whether or not there are any.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let server = remcache_server::Server::start().await?;
    /// # let client = remcache::Client::new([server.address()])?;
    /// let many = client.set_many([("foo", "1"), ("bar", "2")]).await;
    /// assert_eq!(many.made().count(), 2);
    /// # Ok(()) }
    /// ```
    ///
    /// # Cancellation
    /// See [`Many`](crate::client::Many).
    pub fn set_many<K, V>(&self, items: impl IntoIterator<Item = (K, V)>) -> StoreMany<'_, K, V>
    where
        K: AsRef<[u8]>,
        for<'r> &'r V: Into<CowBytes<'r>>,
    {
        many(self, items, |(key, value)| KeyValue { key, value, build: |key, value| Request::set(key, value) })
    }

    /// Stores many items where there are none.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let server = remcache_server::Server::start().await?;
    /// # let client = remcache::Client::new([server.address()])?;
    /// client.set("foo", "1").await?;
    /// let many = client.add_many([("foo", "1"), ("bar", "2")]).await;
    /// assert_eq!(many.made().collect::<Vec<_>>(), [&"bar"]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Cancellation
    /// See [`Many`](crate::client::Many).
    pub fn add_many<K, V>(&self, items: impl IntoIterator<Item = (K, V)>) -> StoreMany<'_, K, V>
    where
        K: AsRef<[u8]>,
        for<'r> &'r V: Into<CowBytes<'r>>,
    {
        many(self, items, |(key, value)| KeyValue { key, value, build: |key, value| Request::add(key, value) })
    }

    /// Stores many items where there are some.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let server = remcache_server::Server::start().await?;
    /// # let client = remcache::Client::new([server.address()])?;
    /// let many = client.replace_many([("absent", "1")]).await;
    /// assert_eq!(many.refused().count(), 1);
    /// # Ok(()) }
    /// ```
    ///
    /// # Cancellation
    /// See [`Many`](crate::client::Many).
    pub fn replace_many<K, V>(&self, items: impl IntoIterator<Item = (K, V)>) -> StoreMany<'_, K, V>
    where
        K: AsRef<[u8]>,
        for<'r> &'r V: Into<CowBytes<'r>>,
    {
        many(self, items, |(key, value)| KeyValue { key, value, build: |key, value| Request::replace(key, value) })
    }

    /// Puts bytes behind many values.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let server = remcache_server::Server::start().await?;
    /// # let client = remcache::Client::new([server.address()])?;
    /// let many = client.append_many([("absent", "1")]).await;
    /// assert_eq!(many.refused().count(), 1);
    /// # Ok(()) }
    /// ```
    ///
    /// # Cancellation
    /// See [`Many`](crate::client::Many).
    pub fn append_many<K, V>(&self, items: impl IntoIterator<Item = (K, V)>) -> ExtendMany<'_, K, V>
    where
        K: AsRef<[u8]>,
        for<'r> &'r V: Into<CowBytes<'r>>,
    {
        many(self, items, |(key, value)| KeyValue { key, value, build: |key, value| Request::append(key, value) })
    }

    /// Puts bytes before many values.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let server = remcache_server::Server::start().await?;
    /// # let client = remcache::Client::new([server.address()])?;
    /// let many = client.prepend_many([("absent", "1")]).await;
    /// assert_eq!(many.refused().count(), 1);
    /// # Ok(()) }
    /// ```
    ///
    /// # Cancellation
    /// See [`Many`](crate::client::Many).
    pub fn prepend_many<K, V>(&self, items: impl IntoIterator<Item = (K, V)>) -> ExtendMany<'_, K, V>
    where
        K: AsRef<[u8]>,
        for<'r> &'r V: Into<CowBytes<'r>>,
    {
        many(self, items, |(key, value)| KeyValue { key, value, build: |key, value| Request::prepend(key, value) })
    }

    /// Removes many items.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let server = remcache_server::Server::start().await?;
    /// # let client = remcache::Client::new([server.address()])?;
    /// client.set("foo", "1").await?;
    /// let many = client.delete_many(["foo", "bar"]).await;
    /// assert_eq!(many.made().collect::<Vec<_>>(), [&"foo"]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Cancellation
    /// See [`Many`](crate::client::Many).
    pub fn delete_many<K>(&self, keys: impl IntoIterator<Item = K>) -> DeleteMany<'_, K>
    where
        K: AsRef<[u8]>,
    {
        many(self, keys, |key| KeyOnly { key, build: |key| Request::delete(key) })
    }

    /// Raises many counters.
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
    /// # Cancellation
    /// See [`Many`](crate::client::Many).
    pub fn increment_many<K>(&self, counters: impl IntoIterator<Item = (K, u64)>) -> CountMany<'_, K>
    where
        K: AsRef<[u8]>,
    {
        many(self, counters, |(key, number)| KeyNumber {
            key,
            number,
            build: |key, delta| Request::increment(key, delta),
        })
    }

    /// Lowers many counters.
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
    /// # Cancellation
    /// See [`Many`](crate::client::Many).
    pub fn decrement_many<K>(&self, counters: impl IntoIterator<Item = (K, u64)>) -> CountMany<'_, K>
    where
        K: AsRef<[u8]>,
    {
        many(self, counters, |(key, number)| KeyNumber {
            key,
            number,
            build: |key, delta| Request::decrement(key, delta),
        })
    }

    /// Gives many items a new time to live.
    ///
    /// # Cancellation
    /// See [`Many`](crate::client::Many).
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
