//! One server of a client, for what concerns a server and no key.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_core::Stream;

use crate::address::Endpoint;
use crate::error::Error;
use crate::health::metrics::ServerMetrics;
use crate::health::state::ServerStatus;
use crate::ops::builder::{Act, Ask, Command, Flush};
use crate::ops::call::Call;
use crate::ops::call_many::CallMany;
use crate::ops::reply_stream::ReplyStream;
use crate::proto::text::MetadumpItem;
use crate::proto::{CowBytes, Request};
use crate::result as outcome;
use crate::server::Server;
use crate::server::dump::ItemStream;
use crate::transport;

/// One server of a client.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let server = remcache_server::Server::start().await?;
/// # let client = remcache::Client::new([server.address()])?;
/// for server in client.servers() {
///     println!("{} runs version {}", server.name(), server.version().await?);
///     let mut stats = server.stats("");
///     while let Some(stat) = stats.next().await {
///         let (name, value) = stat?;
///         println!("{} = {}", name.escape_ascii(), value.escape_ascii());
///     }
/// }
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct ServerHandle {
    server: Arc<Server>,
    /// As it was configured when the handle was made.
    endpoint: Endpoint,
}

impl ServerHandle {
    pub(crate) fn new(server: Arc<Server>, endpoint: Endpoint) -> Self {
        Self { server, endpoint }
    }

    /// The server's address as it was configured.
    pub fn name(&self) -> &str {
        &self.endpoint.name
    }

    /// The server's address and weight.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// What is known of the server, and since when.
    pub fn state(&self) -> ServerStatus {
        self.server.state()
    }

    /// The server in numbers: connections, requests in flight, round trip time, errors by kind.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let server = remcache_server::Server::start().await?;
    /// # let client = remcache::Client::new([server.address()])?;
    /// client.set("Hello", "World").await?;
    /// let metrics = client.servers()[0].metrics();
    /// println!("{}/{} open, {:?} a round trip", metrics.open, metrics.connections, metrics.round_trip);
    /// assert_eq!((metrics.open, metrics.errors.timeouts), (1, 0));
    /// # Ok(()) }
    /// ```
    pub fn metrics(&self) -> ServerMetrics {
        self.server.metrics()
    }

    /// Requests sent and not answered, including those that were given up.
    pub fn in_flight(&self) -> usize {
        self.server.load().0
    }

    /// How many callers wait for a reply.
    pub fn waiting(&self) -> usize {
        self.server.load().1
    }

    /// Asks this server, and gives the outcome as data, whatever it is.
    ///
    /// The key is sent as it is: neither placed by the ring nor put into the client's namespace. It is
    /// asked of this server, once: neither retries nor failover apply.
    ///
    /// # Cancellation
    /// See [`Call`].
    pub fn call<'a>(&self, request: Request<'a>) -> Call<'a> {
        Call::to_server(Arc::clone(&self.server), request)
    }

    /// Asks this server many things at once, and gives a reply to each: see [`Client::call_many`].
    ///
    /// Keys are sent as they are, as by [`ServerHandle::call`].
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let server = remcache_server::Server::start().await?;
    /// # let client = remcache::Client::new([server.address()])?;
    /// use remcache::{Request, Status};
    ///
    /// let replies = client.servers()[0].call_many(["foo", "bar"].map(Request::get)).await;
    /// assert!(replies.iter().all(|reply| reply.status == Status::KeyNotFound));
    /// # Ok(()) }
    /// ```
    ///
    /// # Cancellation
    /// See [`CallMany`].
    ///
    /// [`Client::call_many`]: crate::client::Client::call_many
    pub fn call_many<'a>(&self, requests: impl IntoIterator<Item = Request<'a>>) -> CallMany<'a> {
        CallMany::to_server(Arc::clone(&self.server), requests)
    }

    /// Asks this server, and gives the replies as a stream.
    pub fn replies(&self, request: Request<'_>) -> ReplyStream {
        ReplyStream::of_server(Ok(Arc::clone(&self.server)), request.into_owned())
    }

    /// The server's statistics: general ones for an empty group, or `items`, `slabs`, `settings`,
    /// `sizes`, ….
    pub fn stats<'a>(&self, group: impl Into<CowBytes<'a>>) -> Stats {
        Stats { replies: self.replies(Request::stat(group)), failed: false }
    }

    /// The server's items, one after the other: what it knows of each, and no values.
    ///
    /// It takes a connection of its own, on the text protocol. Items stored, moved or removed during the dump may be
    /// missing, and what expires may still be there.
    ///
    /// Read it to its end without a pause: while memcached waits for its reader it holds a lock on some of
    /// its items, and requests for one of them wait as well, with everything the same thread serves. A
    /// program that reads some entries, then asks for the items, waits for itself.
    pub fn metadump(&self) -> ItemStream<MetadumpItem> {
        ItemStream::metadump(Arc::clone(&self.server))
    }

    /// The server's keys, one after the other: [`ServerHandle::metadump`] without the rest, since memcached
    /// 1.6.19.
    pub fn mgdump(&self) -> ItemStream<Bytes> {
        ItemStream::keys(Arc::clone(&self.server))
    }

    /// What the server does, as it does it: lines that [`LogLine`](crate::proto::text::LogLine) reads.
    ///
    /// `streams` are words such as `fetchers mutations evictions`. A reader that is too slow learns how
    /// many lines it missed, and never slows the server down.
    pub fn watch(&self, streams: &str) -> ItemStream<Bytes> {
        ItemStream::watch(Arc::clone(&self.server), streams)
    }

    /// Opens a connection of its own on the text protocol, for what has no method here: TCP or Unix, with
    /// TLS and authentication as they are configured. The caller speaks the protocol on it.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    ///
    /// # let server = remcache_server::Server::start().await?;
    /// # let client = remcache::Client::new([server.address()])?;
    /// let mut stream = client.servers()[0].open_text().await?;
    /// stream.write_all(b"mn\r\n").await?;
    /// let mut answer = [0; 4];
    /// stream.read_exact(&mut answer).await?;
    /// assert_eq!(&answer, b"MN\r\n");
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// If the server is away, refuses who we are, or speaks no text.
    ///
    /// # Cancellation
    /// Dropping the future gives the attempt up.
    pub async fn open_text(&self) -> Result<Box<dyn transport::Stream>, Error> {
        self.server.connect_text().await.map_err(|error| error.at(&self.endpoint.name))
    }

    /// The server's version.
    pub fn version(&self) -> Command<'static, Ask> {
        Command::new(self.call(Request::version()))
    }

    /// Asks for nothing but an answer.
    pub fn noop(&self) -> Command<'static, Act> {
        Command::new(self.call(Request::noop()))
    }

    /// Removes all items of this server: now, or after a [delay](Command::after).
    pub fn flush(&self) -> Command<'static, Flush> {
        Command::new(self.call(Request::flush()))
    }

    /// Sets how much the server logs.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`](crate::error::ErrorKind::Unsupported) on the binary protocol, before anything
    /// is sent: memcached does not know it there, and would lose step over it.
    pub fn verbosity(&self, level: u32) -> Command<'static, Act> {
        Command::new(self.call(Request::verbosity(level)))
    }
}

impl fmt::Debug for ServerHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerHandle").field("name", &self.name()).field("state", &self.state()).finish()
    }
}

/// A server's statistics, as they come: names and values.
///
/// # Cancellation
/// Dropping it does not cancel the request: what is still to come is read and thrown away.
#[derive(Debug)]
#[must_use = "a stream does nothing unless it is polled"]
pub struct Stats {
    replies: ReplyStream,
    failed: bool,
}

/// A statistic: its name and its value.
pub type Stat = (Bytes, Bytes);

impl Stats {
    /// The next statistic; `None` after the last.
    ///
    /// # Errors
    /// If the server does not know the group, or is away; the stream ends then.
    ///
    /// # Cancellation
    /// Dropping the future loses no statistic.
    pub async fn next(&mut self) -> Option<Result<Stat, Error>> {
        std::future::poll_fn(|cx| Pin::new(&mut *self).poll_next(cx)).await
    }

    /// All statistics in a list.
    ///
    /// # Errors
    /// As [`Stats::next`].
    pub async fn collect(mut self) -> Result<Vec<Stat>, Error> {
        let mut all = Vec::new();
        while let Some(stat) = self.next().await {
            all.push(stat?);
        }
        Ok(all)
    }
}

impl Stream for Stats {
    type Item = Result<Stat, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.failed {
            return Poll::Ready(None);
        }
        let Some(reply) = ready!(Pin::new(&mut self.replies).poll_next(cx)) else { return Poll::Ready(None) };
        if !reply.is_ok() {
            self.failed = true;
            return Poll::Ready(Some(Err(outcome::error(&reply, false, self.replies.server_name()))));
        }
        // The end is a packet with neither name nor value.
        match reply.key.is_empty() && reply.value.is_empty() {
            true => Poll::Ready(None),
            false => Poll::Ready(Some(Ok((reply.key, reply.value)))),
        }
    }
}
