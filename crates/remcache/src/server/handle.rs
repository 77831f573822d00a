//! One server of a client: its state, and connections of its own.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use crate::address::Endpoint;
use crate::error::Error;
use crate::health::metrics::ServerMetrics;
use crate::health::state::ServerStatus;
use crate::observe::Parent;
use crate::proto::text::MetadumpItem;
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
    /// What its requests are a part of.
    parent: Parent,
}

impl ServerHandle {
    pub(crate) fn new(server: Arc<Server>, endpoint: Endpoint) -> Self {
        Self { server, endpoint, parent: Parent::None }
    }

    /// The same server, for requests that are a part of this.
    pub(crate) fn within(self, parent: Parent) -> Self {
        Self { parent, ..self }
    }

    pub(crate) fn parent(&self) -> Parent {
        self.parent.clone()
    }

    pub(crate) fn server(&self) -> &Arc<Server> {
        &self.server
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

    /// Returns the certificate that the server presented at the last TLS handshake, in DER; `None` before the first
    /// one, or without TLS.
    ///
    /// Monitoring can read from it when it expires.
    pub fn peer_certificate(&self) -> Option<Vec<u8>> {
        self.server.peer_certificate()
    }

    /// Requests sent and not answered, including those that were given up.
    pub fn in_flight(&self) -> usize {
        self.server.load().0
    }

    /// Deletes that failed and will be repeated: see [`Config::delete_journal`](crate::config::Config::delete_journal).
    pub fn pending_deletes(&self) -> usize {
        self.server.journal().pending()
    }

    /// Deletes that failed and will not be repeated, because the journal was full or the server refused them.
    pub fn dropped_deletes(&self) -> u64 {
        self.server.journal().dropped()
    }

    /// How many callers wait for a reply.
    pub fn waiting(&self) -> usize {
        self.server.load().1
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
}

impl fmt::Debug for ServerHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerHandle").field("name", &self.name()).field("state", &self.state()).finish()
    }
}
