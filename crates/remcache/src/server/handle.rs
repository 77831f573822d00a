//! A public handle to one server of a client: its state and metrics, and exclusive connections to it.

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
    /// The endpoint as configured when the handle was created.
    endpoint: Endpoint,
    /// The operation that its requests are reported under.
    parent: Parent,
}

impl ServerHandle {
    pub(crate) fn new(server: Arc<Server>, endpoint: Endpoint) -> Self {
        Self { server, endpoint, parent: Parent::None }
    }

    /// Returns a handle whose requests are reported as a part of `parent`.
    pub(crate) fn within(self, parent: Parent) -> Self {
        Self { parent, ..self }
    }

    pub(crate) fn parent(&self) -> Parent {
        self.parent.clone()
    }

    pub(crate) fn server(&self) -> &Arc<Server> {
        &self.server
    }

    /// Returns the server's address as configured.
    pub fn name(&self) -> &str {
        &self.endpoint.name
    }

    /// Returns the server's address and weight.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Returns the server's state, and since when it has it.
    pub fn status(&self) -> ServerStatus {
        self.server.status()
    }

    /// Returns the server's metrics: connections, requests in flight, round trip time, errors by kind.
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
    /// Monitoring can read the expiry date from it.
    pub fn peer_certificate(&self) -> Option<Vec<u8>> {
        self.server.peer_certificate()
    }

    /// Returns the number of unanswered requests, including abandoned ones.
    pub fn in_flight(&self) -> usize {
        self.server.load().in_flight
    }

    /// Returns the number of failed deletes that will be repeated: see
    /// [`Config::delete_journal`](crate::config::Config::delete_journal).
    pub fn pending_deletes(&self) -> usize {
        self.server.journal().pending()
    }

    /// Returns the number of failed deletes that will not be repeated, because the journal was full or the server
    /// refused them.
    pub fn dropped_deletes(&self) -> u64 {
        self.server.journal().dropped()
    }

    /// Returns the number of callers that wait for a reply.
    pub fn waiting(&self) -> usize {
        self.server.load().callers
    }

    /// Streams the metadata of the server's items, without their values.
    ///
    /// It uses an exclusive text connection. Items stored, moved or removed during the dump may be missing, and
    /// expired ones may be included.
    ///
    /// Read it to the end without pausing: while memcached waits for the reader it holds locks on some items
    /// ([docs/protocol.md](https://github.com/remcache/remcache/blob/main/docs/protocol.md)). Requests for those items
    /// block, together with all other requests of the same worker thread. A program that requests an item before it
    /// reads the next entry can therefore deadlock.
    pub fn metadump(&self) -> ItemStream<MetadumpItem> {
        ItemStream::metadump(Arc::clone(&self.server))
    }

    /// Streams the server's keys: [`ServerHandle::metadump`] without the metadata; requires memcached 1.6.19.
    pub fn mgdump(&self) -> ItemStream<Bytes> {
        ItemStream::keys(Arc::clone(&self.server))
    }

    /// Streams the server's log, as lines that [`LogLine`](crate::proto::text::LogLine) parses.
    ///
    /// `streams` are words such as `fetchers mutations evictions`. If the reader is too slow, the server drops lines
    /// and reports how many.
    pub fn watch(&self, streams: &str) -> ItemStream<Bytes> {
        ItemStream::watch(Arc::clone(&self.server), streams)
    }

    /// Opens an exclusive text connection, for commands that have no method here: over TCP or a Unix socket, with TLS
    /// and authentication as configured. The caller reads and writes the protocol.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    ///
    /// # let server = remcache_server::Server::start().await?;
    /// # let client = remcache::Client::new([server.address()])?;
    /// let mut stream = client.servers()[0].open_text_connection().await?;
    /// stream.write_all(b"mn\r\n").await?;
    /// let mut answer = [0; 4];
    /// stream.read_exact(&mut answer).await?;
    /// assert_eq!(&answer, b"MN\r\n");
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// Fails if the server is unavailable, refuses the credentials, or does not support the text protocol.
    ///
    /// # Cancel safety
    /// Dropping the future aborts the attempt.
    pub async fn open_text_connection(&self) -> Result<Box<dyn transport::Stream>, Error> {
        self.server.connect_text().await.map_err(|error| error.at(&self.endpoint.name))
    }
}

impl fmt::Debug for ServerHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerHandle").field("name", &self.name()).field("status", &self.status()).finish()
    }
}
