//! The operations on one key, and on all servers: one method each.

use futures_util::future::join_all;

use crate::client::Client;
use crate::error::Error;
use crate::observe;
use crate::observe::{OperationName, Parent};
use crate::ops::all_servers::FlushAll;
use crate::ops::builder::{Append, Command, ConditionalSet, Delete, Get, Increment, Kind, Set, Touch};
use crate::proto::{IntoCowBytes, Request, Ttl};
use crate::server::handle::ServerHandle;

/// Operations on one key.
impl Client {
    /// Fetches an item, including its CAS value; `None` is a miss.
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
    /// See [`ErrorKind`](crate::error::ErrorKind); what the server decides is a value.
    ///
    /// # Cancel safety
    /// See [`Command`].
    #[doc(alias = "gets")]
    #[inline]
    pub fn get<'a>(&'a self, key: impl IntoCowBytes<'a>) -> Get<'a> {
        Command::new(self.call(Request::get(key)))
    }

    /// Fetches an item and sets its TTL; `None` is a miss.
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
    /// See [`ErrorKind`](crate::error::ErrorKind); what the server decides is a value.
    ///
    /// # Cancel safety
    /// See [`Command`].
    #[inline]
    pub fn get_and_touch<'a>(&'a self, key: impl IntoCowBytes<'a>, ttl: impl Into<Ttl>) -> Get<'a> {
        Command::new(self.call(Request::get_and_touch(key, ttl)))
    }

    /// Stores an item, whether or not it exists.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let server = remcache_server::Server::start().await?;
    /// # let client = remcache::Client::new([server.address()])?;
    /// use std::time::Duration;
    /// let change = client.set("Hello", "World").ttl(Duration::from_secs(600)).await?;
    /// assert!(change.is_applied());
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// See [`ErrorKind`](crate::error::ErrorKind); what the server decides is a value.
    ///
    /// # Cancel safety
    /// See [`Command`].
    #[inline]
    pub fn set<'a>(&'a self, key: impl IntoCowBytes<'a>, value: impl IntoCowBytes<'a>) -> Set<'a> {
        Command::new(self.call(Request::set(key, value)))
    }

    /// Stores an item if it still has this CAS value; otherwise returns
    /// [`Exists`](crate::result::WriteOutcome::Exists), or [`NotFound`](crate::result::WriteOutcome::NotFound) if the
    /// item no longer exists.
    ///
    /// It is [`set`](Client::set) with `.cas(…)`. A CAS value of 0 matches no item.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let server = remcache_server::Server::start().await?;
    /// # let client = remcache::Client::new([server.address()])?;
    /// client.set("Hello", "World").await?;
    /// let item = client.get("Hello").await?.ok_or("it is there")?;
    /// assert!(client.compare_and_swap("Hello", "you", item.cas).await?.is_applied());
    /// assert_eq!(client.compare_and_swap("Hello", "late", item.cas).await?, remcache::WriteOutcome::Exists);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// See [`ErrorKind`](crate::error::ErrorKind); what the server decides is a value.
    ///
    /// # Cancel safety
    /// See [`Command`].
    #[doc(alias = "cas")]
    pub fn compare_and_swap<'a>(
        &'a self,
        key: impl IntoCowBytes<'a>,
        value: impl IntoCowBytes<'a>,
        cas: u64,
    ) -> ConditionalSet<'a> {
        self.set(key, value).cas(cas)
    }

    /// Stores an item if it does not exist; otherwise returns [`Exists`](crate::result::WriteOutcome::Exists).
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let server = remcache_server::Server::start().await?;
    /// # let client = remcache::Client::new([server.address()])?;
    /// assert!(client.add("Hello", "World").await?.is_applied());
    /// assert_eq!(client.add("Hello", "again").await?, remcache::WriteOutcome::Exists);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// See [`ErrorKind`](crate::error::ErrorKind); what the server decides is a value.
    ///
    /// # Cancel safety
    /// See [`Command`].
    #[inline]
    pub fn add<'a>(&'a self, key: impl IntoCowBytes<'a>, value: impl IntoCowBytes<'a>) -> ConditionalSet<'a> {
        Command::new(self.call(Request::add(key, value)))
    }

    /// Stores an item if it exists; otherwise returns [`NotFound`](crate::result::WriteOutcome::NotFound).
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let server = remcache_server::Server::start().await?;
    /// # let client = remcache::Client::new([server.address()])?;
    /// assert_eq!(client.replace("absent", "x").await?, remcache::WriteOutcome::NotFound);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// See [`ErrorKind`](crate::error::ErrorKind); what the server decides is a value.
    ///
    /// # Cancel safety
    /// See [`Command`].
    #[inline]
    pub fn replace<'a>(&'a self, key: impl IntoCowBytes<'a>, value: impl IntoCowBytes<'a>) -> ConditionalSet<'a> {
        Command::new(self.call(Request::replace(key, value)))
    }

    /// Appends bytes to a value; flags and TTL do not change.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let server = remcache_server::Server::start().await?;
    /// # let client = remcache::Client::new([server.address()])?;
    /// client.set("log", "one").await?;
    /// assert!(client.append("log", " two").await?.is_applied());
    /// assert_eq!(client.append("absent", "x").await?, remcache::WriteOutcome::NotStored);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// See [`ErrorKind`](crate::error::ErrorKind); what the server decides is a value.
    ///
    /// # Cancel safety
    /// See [`Command`].
    #[inline]
    pub fn append<'a>(&'a self, key: impl IntoCowBytes<'a>, value: impl IntoCowBytes<'a>) -> Append<'a> {
        Command::new(self.call(Request::append(key, value)))
    }

    /// Prepends bytes to a value; flags and TTL do not change.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let server = remcache_server::Server::start().await?;
    /// # let client = remcache::Client::new([server.address()])?;
    /// client.set("log", "two").await?;
    /// assert!(client.prepend("log", "one ").await?.is_applied());
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// See [`ErrorKind`](crate::error::ErrorKind); what the server decides is a value.
    ///
    /// # Cancel safety
    /// See [`Command`].
    #[inline]
    pub fn prepend<'a>(&'a self, key: impl IntoCowBytes<'a>, value: impl IntoCowBytes<'a>) -> Append<'a> {
        Command::new(self.call(Request::prepend(key, value)))
    }

    /// Deletes an item.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let server = remcache_server::Server::start().await?;
    /// # let client = remcache::Client::new([server.address()])?;
    /// assert_eq!(client.delete("absent").await?, remcache::WriteOutcome::NotFound);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// See [`ErrorKind`](crate::error::ErrorKind); what the server decides is a value.
    ///
    /// # Cancel safety
    /// See [`Command`].
    #[inline]
    pub fn delete<'a>(&'a self, key: impl IntoCowBytes<'a>) -> Delete<'a> {
        Command::new(self.call(Request::delete(key)))
    }

    /// Increments a counter, which wraps around at 2^64; returns `None` if it does not exist and there is no `initial`
    /// value.
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
    /// See [`ErrorKind`](crate::error::ErrorKind); what the server decides is a value.
    ///
    /// # Cancel safety
    /// See [`Command`].
    #[inline]
    pub fn increment<'a>(&'a self, key: impl IntoCowBytes<'a>, delta: u64) -> Increment<'a> {
        Command::new(self.call(Request::increment(key, delta)))
    }

    /// Decrements a counter, which stops at 0; returns `None` if it does not exist and there is no `initial` value.
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
    /// See [`ErrorKind`](crate::error::ErrorKind); what the server decides is a value.
    ///
    /// # Cancel safety
    /// See [`Command`].
    #[inline]
    pub fn decrement<'a>(&'a self, key: impl IntoCowBytes<'a>, delta: u64) -> Increment<'a> {
        Command::new(self.call(Request::decrement(key, delta)))
    }

    /// Sets the TTL of an item.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let server = remcache_server::Server::start().await?;
    /// # let client = remcache::Client::new([server.address()])?;
    /// use std::time::Duration;
    /// assert!(!client.touch("absent", Duration::from_secs(60)).await?.is_applied());
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// See [`ErrorKind`](crate::error::ErrorKind); what the server decides is a value.
    ///
    /// # Cancel safety
    /// See [`Command`].
    #[inline]
    pub fn touch<'a>(&'a self, key: impl IntoCowBytes<'a>, ttl: impl Into<Ttl>) -> Touch<'a> {
        Command::new(self.call(Request::touch(key, ttl)))
    }
}

/// Operations on all servers.
impl Client {
    /// Removes all items from all servers, immediately or after a [delay](FlushAll::after), with one result per server.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let server = remcache_server::Server::start().await?;
    /// # let client = remcache::Client::new([server.address()])?;
    /// use std::time::Duration;
    ///
    /// client.flush().await.into_result()?;
    /// client.flush().after(Duration::from_secs(60)).await.into_result()?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Cancel safety
    /// Servers that have received the request still flush.
    pub fn flush(&self) -> FlushAll<'_> {
        FlushAll::new(self)
    }

    /// Fetches the version of each server, with one result per server.
    ///
    /// # Cancel safety
    /// The request changes nothing.
    #[must_use = "some servers may have failed: check each result"]
    pub async fn version(&self) -> Vec<(ServerHandle, Result<String, Error>)> {
        self.on_all_servers(OperationName::Version, ServerHandle::version).await
    }

    /// Checks that each server replies, with one result per server.
    ///
    /// # Cancel safety
    /// The request changes nothing.
    #[must_use = "some servers may have failed: check each result"]
    pub async fn noop(&self) -> Vec<(ServerHandle, Result<(), Error>)> {
        self.on_all_servers(OperationName::Noop, ServerHandle::noop).await
    }

    pub(crate) async fn on_all_servers<N: Kind + 'static>(
        &self,
        name: OperationName,
        command: impl Fn(&ServerHandle) -> Command<'static, N>,
    ) -> Vec<(ServerHandle, Result<N::Output, Error>)> {
        let operation = self.observe_many(name, 0);
        let parent = Parent::of(operation.scope());
        let servers = self.servers();
        let commands = servers.iter().map(|server| command(&server.clone().within(parent.clone())));
        let results = join_all(commands).await;
        operation.into_guard().end_many(results.iter().map(observe::done_each));
        servers.into_iter().zip(results).collect()
    }
}
