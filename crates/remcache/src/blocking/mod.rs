//! Blocking client: the same names and options as the asynchronous one, with `wait` at the end.
//!
//! ```
//! # let runtime = tokio::runtime::Runtime::new()?;
//! # let server = runtime.block_on(remcache_server::Server::start())?;
//! # let address = server.address();
//! use std::time::Duration;
//! use remcache::blocking::Client;
//!
//! let client = Client::new([address])?;
//! client.set("Hello", "World").ttl(Duration::from_secs(600)).wait()?;
//! let item = client.get("Hello").wait()?;
//! assert_eq!(item.map(|item| item.value), Some("World".into()));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! It shares the implementation of the asynchronous client. The connections run on a dedicated thread
//! ([`Config::dedicated_thread`]) unless [`Config::runtime`] sets a runtime, and any number of threads can share them.
//!
//! A client that was created before a `fork` works in the child, which opens its own connections. Fork only while no
//! other thread is inside a call, because a lock that it holds would stay locked in the child.

pub(crate) mod recipes;

mod operation;
mod runtime;

use std::fmt;
use std::future::IntoFuture;
use std::sync::Arc;

use crate::config::Config;
use crate::error::Error;
use crate::ops::all_servers::FlushAll;
use crate::ops::builder::{Append, ConditionalSet, Delete, Get, Increment, Inspect, Set, Touch};
use crate::ops::multi_builder::{
    AppendMany, ConditionalSetMany, DeleteMany, GetMany, IncrementMany, SetMany, TouchMany,
};
use crate::proto::{IntoCowBytes, Reply, Request, Ttl};
use crate::server::handle::ServerHandle;
use crate::server_list::ServerList;
pub use operation::BlockingOperation;
use runtime::Runner;

/// A client whose operations block the thread until they complete.
///
/// It is a handle: cloning it is cheap, all clones share the connections, and every call takes
/// `&self`. The options are those of the [asynchronous client](crate::client::Client).
///
/// In an asynchronous context it works too, but blocks the runtime's thread and all tasks on it: use the asynchronous
/// client instead.
#[derive(Clone)]
pub struct Client {
    client: crate::client::Client,
    runner: Arc<Runner>,
}

impl Client {
    /// Creates a client for these servers with the default settings: see [`Client::new`](crate::client::Client::new).
    ///
    /// # Errors
    /// Same as the asynchronous client, and [`ErrorKind::Config`](crate::error::ErrorKind::Config) if the thread cannot
    /// be started.
    pub fn new<M>(servers: impl ServerList<M>) -> Result<Self, Error> {
        Self::with_config(servers, Config::new())
    }

    /// Creates a client for these servers with these settings.
    ///
    /// # Errors
    /// Same as [`Client::new`].
    pub fn with_config<M>(servers: impl ServerList<M>, config: Config) -> Result<Self, Error> {
        Self::over(crate::client::Client::with_config(servers, config.dedicated_thread_by_default())?)
    }

    /// Creates a client for the servers in the settings.
    ///
    /// # Errors
    /// Same as [`Client::new`].
    pub fn from_config(config: Config) -> Result<Self, Error> {
        Self::over(crate::client::Client::from_config(config.dedicated_thread_by_default())?)
    }

    fn over(client: crate::client::Client) -> Result<Self, Error> {
        Ok(Self { runner: Arc::new(Runner::start(client.clone())?), client })
    }

    /// Blocks the thread until a future of the asynchronous client completes: one of its other methods, of a
    /// [`Cache`](crate::cache::Cache) or of a [`Limiter`](crate::recipes::limiter::Limiter).
    ///
    /// ```
    /// # let runtime = tokio::runtime::Runtime::new()?;
    /// # let server = runtime.block_on(remcache_server::Server::start())?;
    /// # let client = remcache::blocking::Client::new([server.address()])?;
    /// use remcache::{Cache, value::Codec};
    ///
    /// let names = Cache::new(client.as_async(), "name", Codec::text());
    /// client.wait(names.set("a", "Ada"))?;
    /// let stats = client.wait(client.servers()[0].stats("").collect())?;
    /// assert!(!stats.is_empty());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn wait<F: IntoFuture>(&self, future: F) -> F::Output {
        self.runner.wait(future.into_future())
    }

    /// Returns the underlying asynchronous client, whose futures are run by [`Client::wait`].
    pub fn as_async(&self) -> &crate::client::Client {
        &self.client
    }

    /// Sends a request and returns the reply as data, including failures.
    pub fn call(&self, request: Request<'_>) -> Reply {
        self.wait(self.client.call(request))
    }

    /// Sends a request without waiting for the reply; returns whether it was queued.
    pub fn send_no_reply(&self, request: Request<'_>) -> bool {
        self.runner.enter(|| self.client.send_no_reply(request))
    }

    /// Returns the servers, in the configured order.
    pub fn servers(&self) -> Vec<ServerHandle> {
        self.client.servers()
    }

    /// Returns whether any server may be available; `false` if all are known to be down.
    pub fn is_usable(&self) -> bool {
        self.client.is_usable()
    }

    /// Replaces the list of servers.
    ///
    /// # Errors
    /// Same as [`Client::set_servers`](crate::client::Client::set_servers).
    pub fn set_servers<M>(&self, servers: impl ServerList<M>) -> Result<(), Error> {
        self.runner.enter(|| self.client.set_servers(servers))
    }

    /// Shuts down gracefully, after every request in flight has completed.
    pub fn close(&self) {
        self.wait(self.client.close());
    }

    /// Removes all items from all servers, immediately or after a [delay](BlockingOperation::after), with one result
    /// per server.
    pub fn flush(&self) -> BlockingOperation<'_, FlushAll<'_>> {
        BlockingOperation::new(&self.runner, self.client.flush())
    }

    /// Fetches the version of each server, with one result per server.
    pub fn version(&self) -> Vec<(ServerHandle, Result<String, Error>)> {
        self.wait(self.client.version())
    }

    /// Checks that each server replies, with one result per server.
    pub fn noop(&self) -> Vec<(ServerHandle, Result<(), Error>)> {
        self.wait(self.client.noop())
    }
}

/// Defines the blocking form of asynchronous operations, which end with [`BlockingOperation::wait`].
macro_rules! operations {
    ($($doc:literal $name:ident $(<$($generic:ident),*>)? ($($argument:ident: $type:ty),*) -> $output:ty $(where ($($bound:tt)*))?;)*) => {
        impl Client {$(
            #[doc = $doc]
            #[doc = concat!("\n\nSee [`Client::", stringify!($name), "`](crate::client::Client::", stringify!($name), ").")]
            pub fn $name<'a $(, $($generic),*)?>(&'a self, $($argument: $type),*) -> BlockingOperation<'a, $output>
            $(where $($bound)*)?
            {
                BlockingOperation::new(&self.runner, self.client.$name($($argument),*))
            }
        )*}
    };
}

operations! {
    "Fetches an item; `None` is a miss." get(key: impl IntoCowBytes<'a>) -> Get<'a>;
    "Fetches an item and gives it a new time to live." get_and_touch(key: impl IntoCowBytes<'a>, ttl: impl Into<Ttl>) -> Get<'a>;
    "Stores an item, whether or not there is one." set(key: impl IntoCowBytes<'a>, value: impl IntoCowBytes<'a>) -> Set<'a>;
    "Stores an item if it is still the one with this CAS value." compare_and_swap(key: impl IntoCowBytes<'a>, value: impl IntoCowBytes<'a>, cas: u64) -> ConditionalSet<'a>;
    "Asks what is known about an item." inspect(key: impl IntoCowBytes<'a>) -> Inspect<'a>;
    "Stores an item if the key is absent." add(key: impl IntoCowBytes<'a>, value: impl IntoCowBytes<'a>) -> ConditionalSet<'a>;
    "Stores an item if there is one." replace(key: impl IntoCowBytes<'a>, value: impl IntoCowBytes<'a>) -> ConditionalSet<'a>;
    "Puts bytes behind a value." append(key: impl IntoCowBytes<'a>, value: impl IntoCowBytes<'a>) -> Append<'a>;
    "Puts bytes before a value." prepend(key: impl IntoCowBytes<'a>, value: impl IntoCowBytes<'a>) -> Append<'a>;
    "Removes an item." delete(key: impl IntoCowBytes<'a>) -> Delete<'a>;
    "Raises a counter; it wraps at 2^64." increment(key: impl IntoCowBytes<'a>, delta: u64) -> Increment<'a>;
    "Lowers a counter; it stops at 0." decrement(key: impl IntoCowBytes<'a>, delta: u64) -> Increment<'a>;
    "Gives an item a new time to live." touch(key: impl IntoCowBytes<'a>, ttl: impl Into<Ttl>) -> Touch<'a>;
    "Fetches many items." get_many<K>(keys: impl IntoIterator<Item = K>) -> GetMany<'a, K> where (K: AsRef<[u8]>);
    "Fetches many items and gives each a new time to live." get_and_touch_many<K>(keys: impl IntoIterator<Item = K>, ttl: impl Into<Ttl>) -> GetMany<'a, K> where (K: AsRef<[u8]>);
    "Stores many items, whether or not there are any." set_many<K, V>(items: impl IntoIterator<Item = (K, V)>) -> SetMany<'a, K, V> where (K: AsRef<[u8]>, for<'r> &'r V: IntoCowBytes<'r>);
    "Stores many items whose keys are absent." add_many<K, V>(items: impl IntoIterator<Item = (K, V)>) -> ConditionalSetMany<'a, K, V> where (K: AsRef<[u8]>, for<'r> &'r V: IntoCowBytes<'r>);
    "Stores many items where there are some." replace_many<K, V>(items: impl IntoIterator<Item = (K, V)>) -> ConditionalSetMany<'a, K, V> where (K: AsRef<[u8]>, for<'r> &'r V: IntoCowBytes<'r>);
    "Puts bytes behind many values." append_many<K, V>(items: impl IntoIterator<Item = (K, V)>) -> AppendMany<'a, K, V> where (K: AsRef<[u8]>, for<'r> &'r V: IntoCowBytes<'r>);
    "Puts bytes before many values." prepend_many<K, V>(items: impl IntoIterator<Item = (K, V)>) -> AppendMany<'a, K, V> where (K: AsRef<[u8]>, for<'r> &'r V: IntoCowBytes<'r>);
    "Removes many items." delete_many<K>(keys: impl IntoIterator<Item = K>) -> DeleteMany<'a, K> where (K: AsRef<[u8]>);
    "Raises many counters." increment_many<K>(counters: impl IntoIterator<Item = (K, u64)>) -> IncrementMany<'a, K> where (K: AsRef<[u8]>);
    "Lowers many counters." decrement_many<K>(counters: impl IntoIterator<Item = (K, u64)>) -> IncrementMany<'a, K> where (K: AsRef<[u8]>);
    "Gives many items a new time to live." touch_many<K>(keys: impl IntoIterator<Item = K>, ttl: impl Into<Ttl>) -> TouchMany<'a, K> where (K: AsRef<[u8]>);
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Client").field(&self.client).finish()
    }
}
