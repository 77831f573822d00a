//! The asynchronous client: handles, operations, and the connections behind them.
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
use crate::routing::cluster::Cluster;
use crate::routing::shared::ClientShared;
use crate::server::handle::ServerHandle;
use crate::singleflight::SingleFlight;

/// A client of one or several memcached servers.
///
/// It is a handle: cloning it is cheap, all clones share the connections, and every call takes
/// `&self`. Nothing connects before it is needed. When the last clone is dropped, the connections
/// end; see [`Client::close`] for an orderly end.
///
/// # In a `static`
///
/// Its connections live on the tokio runtime whose task made the first request, and move to another when that ends
/// or hangs. A client that several runtimes share (a `static`, one runtime for each worker or each test, `block_on` now
/// and then) is best given a thread of its own, which costs some microseconds per request of a single caller:
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
/// [`Config::runtime`] puts the connections on a given runtime: for a program with one long-lived runtime among others.
///
/// # Fork
///
/// A program that forks creates its clients in the child: tokio's runtimes do not survive a `fork`. A
/// [`blocking::Client`](https://docs.rs/remcache/latest/remcache/blocking/) may be created before: the child opens
/// connections of its own.
#[derive(Clone)]
pub struct Client {
    inner: Arc<Shared>,
    timeout: Duration,
    /// The operation that the requests of this handle are a part of.
    scope: Option<Arc<Scope>>,
}

struct Shared {
    cluster: RwLock<Arc<Cluster>>,
    shared: ClientShared,
    single_flight: SingleFlight,
}

impl Client {
    /// A client of these servers, with the default settings.
    ///
    /// Each is an address (`host`, `host:port`, `host:port:weight`, `[v6]:port`, `/path/to.sock`), a
    /// comma list of them, or a URL whose options apply to the client: see [`Config::from_url`].
    ///
    /// ```
    /// let client = remcache::Client::new(["localhost", "localhost:11212", "localhost:11213"])?;
    /// assert_eq!(client.servers().len(), 3);
    /// # Ok::<(), remcache::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Config`](crate::error::ErrorKind::Config) if the list is empty or an address malformed.
    pub fn new<S: AsRef<str>>(servers: impl IntoIterator<Item = S>) -> Result<Self, Error> {
        Self::with_config(servers, Config::new())
    }

    /// A client of these servers, with these settings.
    ///
    /// # Errors
    /// As [`Client::new`], and if a setting cannot work.
    pub fn with_config<S: AsRef<str>>(servers: impl IntoIterator<Item = S>, config: Config) -> Result<Self, Error> {
        Self::from_config(servers.into_iter().try_fold(config, |config, server| config.server(server.as_ref()))?)
    }

    /// A client of the servers that the settings name: see [`Config::server`] and [`Config::from_url`].
    ///
    /// ```
    /// use remcache::{Client, Config};
    ///
    /// let client = Client::from_config(Config::from_url("memcached://cache1,cache2/?timeout=250ms")?)?;
    /// # Ok::<(), remcache::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Client::new`], and if a setting cannot work.
    pub fn from_config(config: Config) -> Result<Self, Error> {
        let mut config = config.check()?;
        let endpoints = std::mem::take(&mut config.servers);
        config.runtime = config.runtime.for_another_client();
        let shared = ClientShared::new(config);
        let cluster = Cluster::new(endpoints, &shared, None)?;
        let single_flight = SingleFlight::default();
        let timeout = shared.config.timeout;
        let inner = Arc::new(Shared { cluster: RwLock::new(Arc::new(cluster)), shared, single_flight });
        Ok(Self { inner, timeout, scope: None })
    }

    /// Returns a handle of the same client whose operations have this timeout instead of
    /// [`Config::timeout`]: for a request handler with a deadline of its own, for instance.
    ///
    /// An operation's own `.timeout(…)` takes precedence. Operations on a [`ServerHandle`] keep the timeout of the
    /// settings.
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

    /// The operation that the requests of this handle are a part of.
    #[inline]
    pub(crate) fn scope(&self) -> Option<&Arc<Scope>> {
        self.scope.as_ref()
    }

    /// A handle whose requests are a part of this operation, or operations of their own.
    pub(crate) fn within(&self, scope: Option<Arc<Scope>>) -> Self {
        Self { inner: Arc::clone(&self.inner), timeout: self.timeout, scope }
    }

    /// The timeout of operations that have none of their own.
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

    /// Gives up the connections of the process that this one was forked from: the next requests open new ones.
    #[cfg(feature = "blocking")]
    pub(crate) fn give_up_connections_of_parent(&self) {
        for server in self.cluster().all_servers() {
            server.give_up_connections_of_parent();
        }
    }

    /// What is being loaded for this client's callers.
    pub(crate) fn single_flight(&self) -> &SingleFlight {
        &self.inner.single_flight
    }

    /// Whether a server may answer for a key; `false` if the only one is known to be down.
    pub(crate) fn is_reachable(&self, key: &[u8]) -> bool {
        let key = [&self.config().namespace, key].concat();
        let cluster = self.cluster();
        self.shared().is_routed || cluster.server_of_key(cluster.placed(&key)).is_ok_and(|server| server.is_usable())
    }

    /// What the server of a key speaks; `None` while that is not known.
    pub(crate) fn protocol_of(&self, key: &[u8]) -> Option<Protocol> {
        self.config().protocol.forced().or_else(|| {
            let key = [&self.config().namespace, key].concat();
            let cluster = self.cluster();
            cluster.server_of_key(cluster.placed(&key)).ok().and_then(|server| server.connection(0).protocol())
        })
    }

    #[inline]
    pub(crate) fn cluster(&self) -> RwLockReadGuard<'_, Arc<Cluster>> {
        self.inner.cluster.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Replaces the list of servers while running.
    ///
    /// Servers that stay keep their connections; requests on those that leave end as they would
    /// have. A server that stays with another weight keeps its connections too, and has its new share
    /// of the keys at once. Nothing connects at once.
    ///
    /// # Errors
    /// As [`Client::new`]; the old list stays in use then. Options of a URL cannot be changed, and
    /// a URL that would change TLS or the credentials is refused.
    pub fn set_servers<S: AsRef<str>>(&self, servers: impl IntoIterator<Item = S>) -> Result<(), Error> {
        let empty = Config { servers: Vec::new(), ..self.config().clone() };
        let config = servers.into_iter().try_fold(empty, |config, server| config.server(server.as_ref()))?;
        config.check_security_is_that_of(self.config())?;
        let mut cluster = self.inner.cluster.write().unwrap_or_else(PoisonError::into_inner);
        *cluster = Arc::new(Cluster::new(config.servers, &self.inner.shared, Some(&cluster))?);
        Ok(())
    }

    /// Whether some server may answer: not every one is known to be down.
    pub fn is_usable(&self) -> bool {
        self.cluster().servers.iter().any(|server| server.is_usable())
    }

    /// The servers, in the order in which they were given.
    pub fn servers(&self) -> Vec<ServerHandle> {
        self.cluster().handles()
    }

    /// The spare servers of [`Failover::Gutter`](crate::policy::Failover::Gutter).
    pub fn spare_servers(&self) -> Vec<ServerHandle> {
        self.cluster().spares().map(Cluster::handles).unwrap_or_default()
    }

    /// Returns the state changes of the servers as a stream: each change of a server's
    /// [`ConnectionState`](crate::health::ConnectionState), with its reason.
    ///
    /// It is the server that is spoken of, however many connections there are to it: it is down when one was lost and
    /// none is open, or when it has stopped answering, which one connection notices for all.
    ///
    /// ServerEvents begin with this call. A reader that falls more than 1,024 behind loses the oldest, and is
    /// the next event says how many.
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

    /// Returns the server of a key; `None` if no server holds it now.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidKey`](crate::error::ErrorKind::InvalidKey) if the key is invalid.
    pub fn locate(&self, key: impl AsRef<[u8]>) -> Result<Option<ServerHandle>, Error> {
        let key = [&self.config().namespace, key.as_ref()].concat();
        let key = Key::new(key)?;
        let cluster = self.cluster();
        Ok(cluster.locate(key.as_bytes()).and_then(|place| cluster.handle(place)))
    }

    /// Where keys are placed, the options of URLs considered.
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

    /// What stands before every key, the options of URLs considered.
    pub fn namespace(&self) -> &[u8] {
        &self.config().namespace
    }

    /// Ends the client in order: takes no more requests, and returns when every request in flight
    /// has its outcome, which is within their deadlines.
    ///
    /// # Cancellation
    /// The end goes on without being waited for.
    pub async fn close(&self) {
        let servers = self.cluster().all_servers();
        let begun = tokio::time::Instant::now();
        for server in &servers {
            server.close();
        }
        for server in &servers {
            server.wait_for_end(begun).await;
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
