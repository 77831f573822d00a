//! Operations on streams of keys, with bounded memory.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_core::Stream;
use futures_util::stream::{FuturesUnordered, StreamExt as _};

use crate::client::Client;
use crate::error::Error;
use crate::observe::{OperationGuard, OperationName, OperationStarted, Parent, ResultCounts};
use crate::ops::builder::{Command, Kind, kind};
use crate::ops::multi_builder::{Entry, KeyOnly, KeyValue, Options};
use crate::proto::{IntoCowBytes, Request, Ttl};

/// Operations on streams of keys.
impl Client {
    /// Fetches the items of a stream of keys, and yields each result as it arrives.
    ///
    /// Wrap an iterator in
    /// [`futures_util::stream::iter`](https://docs.rs/futures-util/latest/futures_util/stream/fn.iter.html). Memory is
    /// bounded for any number of keys: see [`ManyStream`].
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let server = remcache_server::Server::start().await?;
    /// # let client = remcache::Client::new([server.address()])?;
    /// use futures_util::stream;
    ///
    /// client.set("user:7", "Ada").await?;
    /// let keys = stream::iter((0..1_000).map(|id| format!("user:{id}")));
    /// let mut found = 0;
    /// let mut users = client.get_stream(keys);
    /// while let Some((_key, user)) = users.next().await {
    ///     found += usize::from(user?.is_some());
    /// }
    /// assert_eq!(found, 1);
    /// # Ok(()) }
    /// ```
    pub fn get_stream<'a, K>(&self, keys: impl Stream<Item = K> + Send + 'a) -> GetStream<'a, K>
    where
        K: AsRef<[u8]>,
    {
        let keys = keys.map(|key| KeyOnly { key, build: |key| Request::get(key) });
        ManyStream::new(self, OperationName::GetMany, keys)
    }

    /// Stores the items of a stream of keys and values, and yields each outcome as it arrives.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let server = remcache_server::Server::start().await?;
    /// # let client = remcache::Client::new([server.address()])?;
    /// use futures_util::stream;
    /// use std::time::Duration;
    ///
    /// let items = stream::iter((0..1_000).map(|id| (format!("square:{id}"), (id * id).to_string())));
    /// let mut stored = client.set_stream(items).ttl(Duration::from_secs(600));
    /// while let Some((key, outcome)) = stored.next().await {
    ///     if let Err(error) = outcome {
    ///         println!("{key} was not stored: {error}");
    ///     }
    /// }
    /// assert_eq!(client.get("square:30").await?.unwrap().value, "900");
    /// # Ok(()) }
    /// ```
    pub fn set_stream<'a, K, V>(&self, items: impl Stream<Item = (K, V)> + Send + 'a) -> SetStream<'a, K, V>
    where
        K: AsRef<[u8]>,
        for<'r> &'r V: IntoCowBytes<'r>,
    {
        let items = items.map(|(key, value)| KeyValue { key, value, build: |key, value| Request::set(key, value) });
        ManyStream::new(self, OperationName::SetMany, items)
    }

    /// Deletes the items of a stream of keys, and yields each outcome as it arrives.
    pub fn delete_stream<'a, K>(&self, keys: impl Stream<Item = K> + Send + 'a) -> DeleteStream<'a, K>
    where
        K: AsRef<[u8]>,
    {
        let keys = keys.map(|key| KeyOnly { key, build: |key| Request::delete(key) });
        ManyStream::new(self, OperationName::DeleteMany, keys)
    }
}

/// Fetches of a stream of keys.
pub type GetStream<'a, K> = ManyStream<'a, kind::Fetch, KeyOnly<K>>;
/// Writes of a stream of items.
pub type SetStream<'a, K, V> = ManyStream<'a, kind::Unconditional<kind::Store>, KeyValue<K, V>>;
/// Deletes of a stream of keys.
pub type DeleteStream<'a, K> = ManyStream<'a, kind::Unconditional<kind::Delete>, KeyOnly<K>>;

/// An operation on a stream of keys: set its options, then read its results.
///
/// Results arrive in the order in which servers answer, each with its key; each key has exactly one. A key is read from
/// the input only while fewer than [`in_flight`](ManyStream::in_flight) keys have no result yet, so neither keys nor
/// results accumulate, and a reader that pauses also pauses the input. Each key is a separate operation, with its own
/// timeout and the client's retries, replicas and failover.
///
/// Observers see one operation, which ends with the last result; the number of keys is not known when it starts.
///
/// # Cancel safety
/// Dropping the future of [`next`](ManyStream::next) loses no result. Dropping the stream abandons the keys without a
/// result: writes that were sent may have been executed.
#[must_use = "a stream does nothing unless it is polled"]
pub struct ManyStream<'a, N: Kind, Q: Entry> {
    client: Client,
    name: OperationName,
    /// `None` once it has ended.
    input: Option<Pin<Box<dyn Stream<Item = Q> + Send + 'a>>>,
    options: Options,
    timeout: Duration,
    in_flight: usize,
    running: FuturesUnordered<Running<'a, Q::Key, N::Output>>,
    /// The operation reported to observers, from the first poll to the last result.
    operation: Option<(OperationGuard, ResultCounts)>,
}

type Running<'a, K, T> = Pin<Box<dyn Future<Output = (K, Result<T, Error>)> + Send + 'a>>;

impl<'a, N: Kind, Q: Entry> ManyStream<'a, N, Q> {
    fn new(client: &Client, name: OperationName, input: impl Stream<Item = Q> + Send + 'a) -> Self {
        Self {
            client: client.clone(),
            name,
            input: Some(Box::pin(input)),
            options: Options::default(),
            timeout: client.timeout(),
            in_flight: IN_FLIGHT,
            running: FuturesUnordered::new(),
            operation: None,
        }
    }

    /// Sets how long each key may take, instead of the client's [`timeout`](crate::config::Config::timeout).
    pub fn timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    /// Sets the maximum number of keys in flight (default: 1,024; at least 1).
    pub fn in_flight(self, keys: usize) -> Self {
        Self { in_flight: keys.max(1), ..self }
    }
}

impl<K: AsRef<[u8]>, V> SetStream<'_, K, V>
where
    for<'r> &'r V: IntoCowBytes<'r>,
{
    /// Sets the TTL of the items (default: no expiry).
    pub fn ttl(mut self, ttl: impl Into<Ttl>) -> Self {
        self.options.set_ttl(ttl.into());
        self
    }

    /// Sets the flags to store with each value (default: 0).
    pub fn flags(mut self, flags: u32) -> Self {
        self.options.set_flags(flags);
        self
    }
}

impl<'a, N, Q> ManyStream<'a, N, Q>
where
    N: Kind<Output: Send> + 'a,
    Q: Entry<Key: Send> + Send + Sync + 'a,
{
    /// Returns the result of the next key that has one; `None` after the last.
    ///
    /// # Cancel safety
    /// Dropping the future loses no result.
    pub async fn next(&mut self) -> Option<(Q::Key, Result<N::Output, Error>)> {
        std::future::poll_fn(|cx| Pin::new(&mut *self).poll_next(cx)).await
    }

    /// Starts operations while there are keys and fewer than the maximum are in flight.
    fn start(&mut self, cx: &mut Context<'_>) {
        while self.running.len() < self.in_flight
            && let Some(input) = &mut self.input
        {
            match input.as_mut().poll_next(cx) {
                Poll::Ready(Some(item)) => self.running.push(self.ask(item)),
                Poll::Ready(None) => self.input = None,
                Poll::Pending => return,
            }
        }
    }

    fn ask(&self, item: Q) -> Running<'a, Q::Key, N::Output> {
        let scope = self.operation.as_ref().and_then(|(guard, _)| guard.scope()).cloned();
        let client = match scope {
            Some(scope) => self.client.within(Some(scope)),
            None => self.client.clone(),
        };
        let (options, timeout) = (self.options, self.timeout);
        Box::pin(async move {
            let request = options.apply(item.request());
            let result = Command::<N>::new(client.call(request)).timeout(timeout).await;
            (item.into_key(), result)
        })
    }

    fn begin(&mut self) {
        if self.operation.is_none() && self.input.is_some() {
            let config = self.client.config();
            let event = OperationStarted::new(self.name, 0, &config.namespace);
            let guard = OperationGuard::begin(&config.observers, Parent::of(self.client.scope()), &event);
            self.operation = Some((guard, ResultCounts::default()));
        }
    }
}

impl<'a, N, Q> Stream for ManyStream<'a, N, Q>
where
    N: Kind<Output: Send> + 'a,
    Q: Entry<Key: Send> + Send + Sync + 'a,
{
    type Item = (Q::Key, Result<N::Output, Error>);

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.begin();
        self.start(cx);
        match self.running.poll_next_unpin(cx) {
            Poll::Ready(Some((key, result))) => {
                if let Some((_, counts)) = &mut self.operation {
                    counts.add(result.as_ref().map(N::is_found).map_err(Error::kind));
                }
                Poll::Ready(Some((key, result)))
            }
            Poll::Ready(None) if self.input.is_none() => {
                if let Some((guard, counts)) = self.operation.take() {
                    guard.end_counted(&counts);
                }
                Poll::Ready(None)
            }
            _ => Poll::Pending,
        }
    }
}

impl<N: Kind, Q: Entry> fmt::Debug for ManyStream<'_, N, Q> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ManyStream")
            .field("operation", &self.name)
            .field("running", &self.running.len())
            .finish_non_exhaustive()
    }
}

/// The default maximum number of keys in flight.
const IN_FLIGHT: usize = 1024;
