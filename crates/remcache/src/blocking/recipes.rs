//! Blocking variants of the multi-command operations.

use std::future::pending;
use std::time::Duration;

use bytes::Bytes;

use super::{BlockingOperation, Client};
use crate::error::Error;
use crate::proto::Ttl;
use crate::recipes::Recipe;
use crate::recipes::fetch_policy::FetchPolicy;
use crate::recipes::lock::LockBuilder;
use crate::result::{Counter, Item, UnconditionalOutcome, WriteOutcome};

/// Defines the blocking form of asynchronous recipes, which end with [`BlockingOperation::wait`].
macro_rules! verbs {
    ($($doc:literal $name:ident ($($argument:ident: $type:ty),*) -> $output:ty;)*) => {
        impl Client {$(
            #[doc = $doc]
            #[doc = concat!("\n\nSee [`Client::", stringify!($name), "`](crate::client::Client::", stringify!($name), ").")]
            pub fn $name<'a>(&'a self, $($argument: $type),*) -> BlockingOperation<'a, Recipe<'a, $output>> {
                BlockingOperation::new(&self.runner, self.client.$name($($argument),*))
            }
        )*}
    };
}

verbs! {
    "Whether there is an item." exists(key: impl AsRef<[u8]> + 'a) -> bool;
    "Fetches an item and deletes it." take(key: impl AsRef<[u8]> + 'a) -> Option<Item>;
    "Changes a value to what a function makes of it." update(key: impl AsRef<[u8]> + 'a, ttl: impl Into<Ttl> + 'a, change: impl FnMut(Option<&Item>) -> Option<Bytes> + Send + 'a) -> Option<Item>;
    "Appends bytes to a value, or stores them if there is no item." append_or_create(key: impl AsRef<[u8]> + 'a, value: impl AsRef<[u8]> + 'a, ttl: impl Into<Ttl> + 'a) -> WriteOutcome;
    "Raises a counter, or begins it with this number and this time to live." increment_or_create(key: impl AsRef<[u8]> + 'a, delta: u64, initial: u64, ttl: impl Into<Ttl> + 'a) -> Counter;
    "Makes a value stale: it is returned for at most `grace` while one loader reloads it." invalidate(key: impl AsRef<[u8]> + 'a, grace: Duration) -> UnconditionalOutcome;
}

impl Client {
    /// Locks a key for `ttl`, unless another client holds it.
    ///
    /// The lock's own methods are asynchronous: run them with [`Client::wait`]. See
    /// [`Client::lock`](crate::client::Client::lock).
    ///
    /// ```
    /// # let runtime = tokio::runtime::Runtime::new()?;
    /// # let server = runtime.block_on(remcache_server::Server::start())?;
    /// # let client = remcache::blocking::Client::new([server.address()])?;
    /// use std::time::Duration;
    /// use remcache::recipes::LockOutcome;
    ///
    /// if let LockOutcome::Acquired(lock) = client.lock("lock:report", Duration::from_secs(30)).wait()? {
    ///     assert!(client.wait(lock.unlock())?);
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn lock(&self, key: impl AsRef<[u8]>, ttl: Duration) -> BlockingOperation<'_, LockBuilder<'_>> {
        BlockingOperation::new(&self.runner, self.client.lock(key, ttl))
    }

    /// Gets a value from the cache, or loads it once for all concurrent callers.
    ///
    /// The loader may block: it runs on a thread of its own. See [`Client::fetch`](crate::client::Client::fetch).
    ///
    /// ```
    /// # let runtime = tokio::runtime::Runtime::new()?;
    /// # let server = runtime.block_on(remcache_server::Server::start())?;
    /// # let client = remcache::blocking::Client::new([server.address()])?;
    /// use std::time::Duration;
    ///
    /// let minute = Duration::from_secs(60);
    /// let load = || Ok::<_, remcache::Error>("the page");
    /// let page = client.fetch("page:7", minute, load).wait()?;
    /// assert_eq!(page, "the page");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn fetch<'a, V, E>(
        &'a self,
        key: impl AsRef<[u8]> + 'a,
        policy: impl Into<FetchPolicy> + 'a,
        loader: impl FnOnce() -> Result<V, E> + Send + 'static,
    ) -> BlockingOperation<'a, Recipe<'a, Bytes, E>>
    where
        V: Into<Bytes> + Send + 'static,
        E: From<Error> + Send + 'static,
    {
        BlockingOperation::new(&self.runner, self.client.fetch(key, policy, || on_own_thread(loader)))
    }

    /// Gets a value that may not exist from the cache, or loads it once for all concurrent callers.
    ///
    /// The loader may block: it runs on a thread of its own. See
    /// [`Client::fetch_optional`](crate::client::Client::fetch_optional).
    pub fn fetch_optional<'a, V, E>(
        &'a self,
        key: impl AsRef<[u8]> + 'a,
        policy: impl Into<FetchPolicy> + 'a,
        loader: impl FnOnce() -> Result<Option<V>, E> + Send + 'static,
    ) -> BlockingOperation<'a, Recipe<'a, Option<Bytes>, E>>
    where
        V: Into<Bytes> + Send + 'static,
        E: From<Error> + Send + 'static,
    {
        BlockingOperation::new(&self.runner, self.client.fetch_optional(key, policy, || on_own_thread(loader)))
    }
}

/// Runs a loader that may block.
async fn on_own_thread<T: Send + 'static>(loader: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(loader).await.map_err(tokio::task::JoinError::try_into_panic) {
        Ok(outcome) => outcome,
        Err(Ok(panic)) => std::panic::resume_unwind(panic),
        // The runtime is shutting down, and so is the task that waits for this result.
        Err(Err(_)) => pending().await,
    }
}
