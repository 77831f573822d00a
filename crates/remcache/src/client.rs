//! The asynchronous client.
//!
//! ```text
//! Client ── Cluster ── Server ── ConnectionHandle ⇄ I/O loop ⇄ socket
//!             ring       task     protocol state, slots of callers
//! ```

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;

use crate::config::Config;
use crate::distribution::Distribution;
use crate::error::Error;
use crate::health::events::ServerEvents;
use crate::observe::Scope;
use crate::proto::{Key, Protocol};
use crate::routing::client_shared::ClientShared;
use crate::routing::cluster::Cluster;
use crate::server::handle::ServerHandle;
use crate::server_list::ServerList;
use crate::singleflight::SingleFlight;

/// A client for one or more memcached servers.
///
/// It is a handle: cloning it is cheap, all clones share the connections, and every call takes `&self`. Connections are
/// opened on demand. When the last clone is dropped they are closed; see [`Client::close`] for a graceful shutdown.
///
/// # In a `static`
///
/// Its connections run on the Tokio runtime whose task made the first request, and move to another if that runtime
/// shuts down or hangs. A client that several runtimes share (a `static`, one runtime for each worker or test,
/// occasional `block_on`) should get a dedicated thread, which costs some microseconds per request of a single caller:
///
/// ```
/// use std::sync::LazyLock;
/// use remcache::{Client, Config};
///
/// static CACHE: LazyLock<Client> = LazyLock::new(|| {
///     let config = Config::new().dedicated_thread();
///     Client::with_config(["localhost"], config).expect("the address is valid")
/// });
/// # let _ = &*CACHE;
/// ```
///
/// [`Config::runtime`] runs the connections on a given runtime, for a program with one long-lived runtime among others.
///
/// # Fork
///
/// A program that forks must create its clients in the child, because Tokio's runtimes do not survive a `fork`. A
/// [`blocking::Client`](https://docs.rs/remcache/latest/remcache/blocking/) may be created before: the child opens its
/// own connections.
#[derive(Clone)]
pub struct Client {
    inner: Arc<Shared>,
    timeout: Duration,
    /// The observed operation that this handle's requests belong to.
    scope: Option<Arc<Scope>>,
}

struct Shared {
    cluster: RwLock<Arc<Cluster>>,
    shared: ClientShared,
    single_flight: SingleFlight,
}

impl Client {
    /// Creates a client for these servers with the default settings.
    ///
    /// `servers` is one string or a list of strings. Each is an address (`host`, `host:port`, `host:port:weight`,
    /// `[v6]:port`, `/path/to.sock`), a comma-separated list of addresses, or a URL whose options apply to the client:
    /// see [`Config::from_url`].
    ///
    /// ```
    /// let client = remcache::Client::new(["localhost", "localhost:11212", "localhost:11213"])?;
    /// assert_eq!(client.servers().len(), 3);
    /// # Ok::<(), remcache::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Config`](crate::error::ErrorKind::Config) if the list is empty or an address is malformed.
    pub fn new<M>(servers: impl ServerList<M>) -> Result<Self, Error> {
        Self::with_config(servers, Config::new())
    }

    /// Creates a client for these servers with these settings.
    ///
    /// # Errors
    /// Same as [`Client::new`], and [`ErrorKind::Config`](crate::error::ErrorKind::Config) if a setting is invalid.
    pub fn with_config<M>(servers: impl ServerList<M>, config: Config) -> Result<Self, Error> {
        Self::from_config(servers.into_addresses().try_fold(config, |config, server| config.server(server.as_ref()))?)
    }

    /// Creates a client for the servers in the settings: see [`Config::server`] and [`Config::from_url`].
    ///
    /// ```
    /// use remcache::{Client, Config};
    ///
    /// let client = Client::from_config(Config::from_url("memcached://cache1,cache2/?timeout=250ms")?)?;
    /// # Ok::<(), remcache::Error>(())
    /// ```
    ///
    /// # Errors
    /// Same as [`Client::new`], and [`ErrorKind::Config`](crate::error::ErrorKind::Config) if a setting is invalid.
    pub fn from_config(config: Config) -> Result<Self, Error> {
        let mut config = config.check()?;
        let endpoints = std::mem::take(&mut config.servers);
        config.runtime = config.runtime.for_another_client();
        config.journal = config.journal.open()?;
        let shared = ClientShared::new(config);
        let cluster = Cluster::new(endpoints, &shared, None)?;
        let single_flight = SingleFlight::default();
        let timeout = shared.config.timeout;
        let inner = Arc::new(Shared { cluster: RwLock::new(Arc::new(cluster)), shared, single_flight });
        Ok(Self { inner, timeout, scope: None })
    }

    /// Returns a handle to the same client whose operations have this timeout instead of [`Config::timeout`], for
    /// example for a request handler with its own deadline.
    ///
    /// An operation's own `.timeout(…)` takes precedence. Operations on a [`ServerHandle`] still have the timeout of
    /// the settings.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let server = remcache_server::Server::start().await?;
    /// # let client = remcache::Client::new([server.address()])?;
    /// use std::time::Duration;
    ///
    /// let hurried = client.with_timeout(Duration::from_millis(900));
    /// hurried.set("Hello", "World").await?;
    /// assert!(client.get("Hello").await?.is_some(), "they are one client");
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn with_timeout(&self, timeout: Duration) -> Self {
        Self { inner: Arc::clone(&self.inner), timeout, scope: self.scope.clone() }
    }

    /// Returns the observed operation that this handle's requests belong to.
    #[inline]
    pub(crate) fn scope(&self) -> Option<&Arc<Scope>> {
        self.scope.as_ref()
    }

    /// Returns a handle whose requests are reported as parts of this operation, or as separate operations.
    pub(crate) fn within(&self, scope: Option<Arc<Scope>>) -> Self {
        Self { inner: Arc::clone(&self.inner), timeout: self.timeout, scope }
    }

    /// Returns the default timeout of operations.
    #[inline]
    pub(crate) fn timeout(&self) -> Duration {
        self.timeout
    }

    #[inline]
    pub(crate) fn shared(&self) -> &ClientShared {
        &self.inner.shared
    }

    #[inline]
    pub(crate) fn config(&self) -> &Config {
        &self.inner.shared.config
    }

    /// Abandons the connections of the parent process after a fork: the next requests open new ones.
    #[cfg(feature = "blocking")]
    pub(crate) fn give_up_connections_of_parent(&self) {
        for server in self.cluster().all_servers() {
            server.give_up_connections_of_parent();
        }
    }

    /// Returns the loads in progress for this client's callers.
    pub(crate) fn single_flight(&self) -> &SingleFlight {
        &self.inner.single_flight
    }

    /// Returns whether any server of a key may be available; `false` if all of them are known to be down.
    pub(crate) fn is_reachable(&self, key: &[u8]) -> bool {
        let key = [&self.config().namespace, key].concat();
        let cluster = self.cluster();
        self.shared().is_routed || cluster.server_of_key(&key).is_some_and(|server| server.is_usable())
    }

    /// Returns the protocol of a key's server; `None` while it is not known.
    pub(crate) fn protocol_of(&self, key: &[u8]) -> Option<Protocol> {
        self.config().protocol.forced().or_else(|| {
            let key = [&self.config().namespace, key].concat();
            let cluster = self.cluster();
            cluster.server_of_key(&key).and_then(|server| server.connection(0).protocol())
        })
    }

    #[inline]
    pub(crate) fn cluster(&self) -> RwLockReadGuard<'_, Arc<Cluster>> {
        self.inner.cluster.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Replaces the list of servers.
    ///
    /// Servers in both lists keep their connections, even if their weight changes; requests to removed servers complete
    /// normally. New servers are connected on demand.
    ///
    /// # Errors
    /// Same as [`Client::new`]; the old list then stays in use. URL options cannot be changed, and a URL that would
    /// change TLS or the credentials is refused.
    pub fn set_servers<M>(&self, servers: impl ServerList<M>) -> Result<(), Error> {
        let empty = Config { servers: Vec::new(), ..self.config().clone() };
        let config = servers.into_addresses().try_fold(empty, |config, server| config.server(server.as_ref()))?;
        config.check_security_is_that_of(self.config())?;
        let mut cluster = self.inner.cluster.write().unwrap_or_else(PoisonError::into_inner);
        *cluster = Arc::new(Cluster::new(config.servers, &self.inner.shared, Some(&cluster))?);
        Ok(())
    }

    /// Returns whether any server may be available; `false` if all are known to be down.
    pub fn is_usable(&self) -> bool {
        self.cluster().servers.iter().any(|server| server.is_usable())
    }

    /// Returns the servers, in the configured order.
    pub fn servers(&self) -> Vec<ServerHandle> {
        self.cluster().handles()
    }

    /// Returns the spare servers of [`Failover::Gutter`](crate::policy::Failover::Gutter).
    pub fn spare_servers(&self) -> Vec<ServerHandle> {
        self.cluster().spares().map(Cluster::handles).unwrap_or_default()
    }

    /// Returns a stream of server state changes: each change of a server's
    /// [`ConnectionState`](crate::health::ConnectionState), with its reason.
    ///
    /// A server with several connections has one state: it is down when one connection was lost and none is open, or
    /// when it has stopped answering on any of them.
    ///
    /// The stream begins with this call. If its reader falls more than 1,024 events behind, the oldest are dropped, and
    /// the next event reports how many.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let server = remcache_server::Server::start().await?;
    /// # let client = remcache::Client::new([server.address()])?;
    /// use remcache::health::ConnectionState;
    ///
    /// let mut events = client.events();
    /// client.set("Hello", "World").await?;
    /// while let Some(event) = events.next().await {
    ///     println!("{}: {:?}, was {:?}", event.server, event.after, event.before);
    ///     if event.after == ConnectionState::Connected {
    ///         break;
    ///     }
    /// }
    /// # Ok(()) }
    /// ```
    pub fn events(&self) -> ServerEvents {
        ServerEvents::new(&self.inner.shared.events)
    }

    /// Returns the server of a key; `None` if no server is available for it at the moment.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidKey`](crate::error::ErrorKind::InvalidKey) if the key is invalid.
    pub fn locate(&self, key: impl AsRef<[u8]>) -> Result<Option<ServerHandle>, Error> {
        let key = [&self.config().namespace, key.as_ref()].concat();
        let key = Key::new(key)?;
        let cluster = self.cluster();
        Ok(cluster.locate(key.as_bytes()).and_then(|index| cluster.handle(index)))
    }

    /// Returns the distribution, including URL options.
    ///
    /// ```
    /// use remcache::distribution::Distribution;
    ///
    /// let client = remcache::Client::new(["memcached://cache1,cache2/?distribution=rendezvous"])?;
    /// assert_eq!(client.distribution(), Distribution::RENDEZVOUS);
    /// # Ok::<(), remcache::Error>(())
    /// ```
    pub fn distribution(&self) -> Distribution {
        self.config().distribution
    }

    /// Returns the namespace, including URL options.
    pub fn namespace(&self) -> &[u8] {
        &self.config().namespace
    }

    /// Shuts the client down gracefully: rejects new requests, and waits until all requests in flight have completed,
    /// which is by their deadlines.
    ///
    /// # Cancel safety
    /// The shutdown continues in the background.
    pub async fn close(&self) {
        let servers = self.cluster().all_servers();
        let started = tokio::time::Instant::now();
        for server in &servers {
            server.close();
        }
        for server in &servers {
            server.wait_for_end(started).await;
        }
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cluster = self.cluster();
        let names: Vec<_> = cluster.servers.iter().map(|server| &server.endpoint.name).collect();
        f.debug_struct("Client").field("servers", &names).finish_non_exhaustive()
    }
}
