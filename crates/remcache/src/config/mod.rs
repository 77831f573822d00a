//! The settings of a client, each with its default and the cost of changing it.
mod availability;
pub(crate) mod credentials;
pub(crate) mod journal;
mod options;
mod preferred_servers;
pub(crate) mod protocol;
pub(crate) mod runtime;
mod url;
mod validate;

pub use crate::address::{Address, Endpoint};
pub use crate::server_list::{ManyAddresses, OneAddress, ServerList};
pub use credentials::{Credentials, CredentialsFuture, CredentialsProvider, ProviderError};
pub use protocol::{ProtocolSetting, UnknownProtocolSetting};

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;

use crate::config::credentials::CredentialsSource;
use crate::config::journal::JournalSettings;
use crate::config::preferred_servers::Preference;
use crate::config::runtime::ConnectionRuntime;
use crate::config::url::ParsedUrl;
use crate::distribution::Distribution;
use crate::error::Error;
use crate::observe::{Observer, Observers};
use crate::policy::{Backoff, Failover, Hedge, Retries};
use crate::proto::Limits;
use crate::transport::TransportSettings;
use crate::transport::tls::Tls;
use crate::transport::{Connect, SocketConnector};

/// The settings of a [`Client`](crate::client::Client).
///
/// ```
/// use std::time::Duration;
/// use remcache::Config;
///
/// let config = Config::new().timeout(Duration::from_millis(250)).connections(2);
/// let from_url = Config::from_url("memcached://cache1,cache2:11212/?timeout=250ms&connections=2")?;
/// # Ok::<(), remcache::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Config {
    pub(crate) servers: Vec<Endpoint>,
    pub(crate) protocol: ProtocolSetting,
    pub(crate) distribution: Distribution,
    pub(crate) namespace: Vec<u8>,
    pub(crate) timeout: Duration,
    pub(crate) connections: usize,
    pub(crate) limits: Limits,
    pub(crate) check_item_size_from: usize,
    pub(crate) journal: JournalSettings,
    pub(crate) max_keys_per_multiget: usize,
    pub(crate) busy_poll: Duration,
    pub(crate) overload: Overload,
    pub(crate) reconnect: Backoff,
    pub(crate) transport: TransportSettings,
    pub(crate) tls: Option<Tls>,
    pub(crate) credentials: Option<CredentialsSource>,
    pub(crate) connector: Arc<dyn Connect>,
    /// Whether the connector opens sockets, which need a runtime with I/O.
    pub(crate) has_sockets: bool,
    pub(crate) runtime: ConnectionRuntime,
    pub(crate) seed: Option<u64>,
    pub(crate) breaker: u32,
    pub(crate) failover: Failover,
    pub(crate) retries: Retries,
    pub(crate) replicas: usize,
    pub(crate) hedge: Option<Hedge>,
    pub(crate) preference: Option<Preference>,
    pub(crate) observers: Observers,
}

/// The behaviour of a call when its connection's limits are reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Overload {
    /// Waits for capacity until the deadline, then fails as `Overloaded`.
    #[default]
    Wait,
    /// Fails as `Overloaded` immediately.
    Fail,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            servers: Vec::new(),
            protocol: ProtocolSetting::default(),
            distribution: Distribution::default(),
            namespace: Vec::new(),
            timeout: Duration::from_secs(1),
            connections: 1,
            limits: Limits::default(),
            check_item_size_from: 128 << 10,
            journal: JournalSettings::default(),
            max_keys_per_multiget: 100,
            busy_poll: Duration::ZERO,
            overload: Overload::default(),
            reconnect: Backoff { first: Duration::from_millis(50), cap: Duration::from_secs(5) },
            transport: TransportSettings {
                connect_timeout: Duration::from_secs(1),
                user_timeout: Duration::from_secs(5),
                socket_buffers: None,
            },
            tls: None,
            credentials: None,
            connector: Arc::new(SocketConnector),
            has_sockets: true,
            runtime: ConnectionRuntime::default(),
            seed: None,
            breaker: 3,
            failover: Failover::None,
            retries: Retries::none(),
            replicas: 1,
            hedge: None,
            preference: None,
            observers: Observers::default(),
        }
    }
}

impl Config {
    /// Creates the default settings.
    pub fn new() -> Self {
        Self::default()
    }

    /// Parses settings and servers from a URL:
    /// `memcached://host,host:port,host:port:weight/namespace?timeout=250ms&distribution=ketama`.
    ///
    /// `memcacheds://` is the same over TLS, with the system's trusted authorities unless [`Config::tls`] is set
    /// (feature `tls`). A user and a password for all servers precede the hosts: `memcacheds://user:password@host`. TLS
    /// and credentials apply to the whole client: one URL sets them for all servers, and another does not remove them.
    ///
    /// Bytes in any part of a URL may be percent-encoded. This is required for `%`, `@`, `/` and `?` in user, password
    /// and namespace, and for `:` in the user. A Unix socket is `unix:///run/cache.sock?timeout=1s`, or a host with
    /// encoded slashes: `memcached://%2Frun%2Fcache.sock/namespace`. `memcache://` is an alias of `memcached://`.
    ///
    /// Options: `namespace`, `timeout`, `connect_timeout`, `connections`, `distribution`, `hash`, `hash_tag`,
    /// `protocol`, `max_value_size`, `max_in_flight`, `max_output`, `breaker`, `failover` (`none`, `next`, `gutter`),
    /// `gutter` (spare servers), `failover_ttl`, `retries`, `retry_timeout`, `replicas`, `hedge`, `prefer` (a part of
    /// the servers' names). Durations are written as `250ms`, `5s`, `2m`, `1h`.
    ///
    /// # Errors
    /// [`ErrorKind::Config`](crate::error::ErrorKind::Config) for a malformed URL, an unknown option or an invalid
    /// value.
    pub fn from_url(url: &str) -> Result<Self, Error> {
        Self::new().server(url)
    }

    /// Adds servers: an address, a comma-separated list, or a URL whose options apply to the client.
    ///
    /// # Errors
    /// Same as [`Config::from_url`], and if an address is malformed.
    pub fn server(mut self, text: &str) -> Result<Self, Error> {
        let ParsedUrl { servers, namespace, options, tls, credentials } = ParsedUrl::parse(text)?;
        self.servers.extend(servers);
        self.tls = self.tls.or(tls);
        self.credentials = credentials.map(CredentialsSource::Fixed).or(self.credentials);
        if let Some(namespace) = namespace {
            self.namespace = namespace;
        }
        options::apply_all(self, options)
    }

    /// Sets the protocol (default: [`ProtocolSetting::Auto`], the best that each server supports).
    ///
    /// Negotiation takes one round trip per connection; a fixed protocol takes none.
    #[must_use]
    pub fn protocol(self, protocol: ProtocolSetting) -> Self {
        Self { protocol, ..self }
    }

    /// Sets the placement of keys (default: `ketama`, libmemcached's weighted ring).
    ///
    /// Clients that share servers must use the same distribution, otherwise nearly every key is a miss. See the
    /// [distributions of other clients](https://github.com/remcache/remcache/blob/main/docs/placement.md).
    #[must_use]
    pub fn distribution(self, distribution: Distribution) -> Self {
        Self { distribution, ..self }
    }

    /// Sets a prefix for every key (default: none). It counts towards the 250 bytes of a key, and the ring hashes it
    /// with the key.
    #[must_use]
    pub fn namespace(self, namespace: impl Into<Vec<u8>>) -> Self {
        Self { namespace: namespace.into(), ..self }
    }

    /// Sets the timeout of requests, which covers queueing, connecting, sending and the reply (default: 1 s).
    ///
    /// For a multi-key call it is the time between two replies. With a shorter timeout a slow server looks unavailable;
    /// with a longer one callers wait for a server that hangs.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self.limits.max_overdue = timeout;
        self
    }

    /// Sets the timeout for connecting, including name resolution (default: 1 s).
    #[must_use]
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.transport.connect_timeout = timeout;
        self
    }

    /// Sets the number of connections per server (default: 1).
    ///
    /// A single connection carries as much as one core can process, and needs the fewest system calls. More connections
    /// help if large values delay small ones.
    #[must_use]
    pub fn connections(self, connections: usize) -> Self {
        Self { connections, ..self }
    }

    /// Sets the maximum value length in bytes, for values sent and received (default: 1 MiB, as on the server).
    ///
    /// Raise it together with the server's `-I`. A reply that announces a longer value closes the connection.
    #[must_use]
    pub fn max_value_size(mut self, bytes: usize) -> Self {
        self.limits.max_value_size = bytes;
        self
    }

    /// Sets the value length in bytes from which values are compared with the server's item size limit before they are
    /// sent (default: 128 KiB).
    ///
    /// memcached deletes the stored item when it refuses a larger one for the same key
    /// ([docs/protocol.md](https://github.com/remcache/remcache/blob/main/docs/protocol.md), 2.1); a value that the
    /// client refuses changes nothing. The first value of at least this length on each connection requests the limit
    /// (`stats settings`). Lower the setting for servers whose `-I` is below it; the client does so by itself after a
    /// server has refused a shorter value.
    #[must_use]
    pub fn check_item_size_from(self, bytes: usize) -> Self {
        Self { check_item_size_from: bytes, ..self }
    }

    /// Enables the delete journal, with a capacity of `keys` per server (default: 0, no journal): it records failed
    /// deletes and repeats them before a new connection to their server is used.
    ///
    /// A failed delete may leave an outdated value: if the server comes back with its memory intact, callers would read
    /// that value again. With a journal, no other request is sent on a new connection before these deletes are
    /// answered. It records unconditional deletes, of one key or many, that timed out, lost their connection, were
    /// refused as overloaded or were dropped; it does not record tombstones or other writes.
    ///
    /// The journal is in the memory of this process, and with [`delete_journal_file`](Config::delete_journal_file) also
    /// in a file. Deletes beyond the capacity are lost and counted by
    /// [`dropped_deletes`](crate::server::ServerHandle::dropped_deletes). A repeated delete may remove a newer value.
    /// Each key takes about 100 bytes plus its length.
    ///
    /// ```
    /// use remcache::{Client, Config};
    ///
    /// let client = Client::with_config(["localhost"], Config::new().delete_journal(100_000))?;
    /// # Ok::<(), remcache::Error>(())
    /// ```
    #[must_use]
    pub fn delete_journal(mut self, keys: usize) -> Self {
        self.journal.capacity = keys;
        self
    }

    /// Stores the [delete journal](Config::delete_journal) in a file too, from which the next process continues
    /// (default: no file). Keys of servers that are not in the list stay in the file.
    ///
    /// The file is created if it is missing, readable by its owner only, and written before the delete's error is
    /// returned. It survives the end of the process, but not a power failure. Each client needs its own file. Creating
    /// a client fails if the file is damaged, is not a delete journal or is in use; the file is then not changed.
    ///
    /// ```
    /// use remcache::{Client, Config};
    ///
    /// # let directory = tempfile::tempdir()?;
    /// # let path = directory.path().join("deletes");
    /// let config = Config::new().delete_journal(100_000).delete_journal_file(path);
    /// let client = Client::with_config(["localhost"], config)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn delete_journal_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.journal.path = Some(path.into());
        self
    }

    /// Sets the maximum number of unanswered requests per connection (default: 16,384).
    #[must_use]
    pub fn max_in_flight(mut self, requests: usize) -> Self {
        self.limits.max_in_flight = requests;
        self
    }

    /// Sets the maximum number of unwritten bytes per connection (default: 8 MiB).
    #[must_use]
    pub fn max_output(mut self, bytes: usize) -> Self {
        self.limits.max_output = bytes;
        self
    }

    /// Sets the maximum number of consecutive gets that are coalesced into one multiget, on the meta and text protocols
    /// (default: 100).
    ///
    /// memcached answers a multiget with one write, but writes after every single `get` of the text protocol and after
    /// every 20 commands of the meta protocol
    /// ([docs/protocol.md](https://github.com/remcache/remcache/blob/main/docs/protocol.md), 4.8), so a multiget costs
    /// the server the least. With 1 each get is a separate command: on the meta protocol each miss is then a separate
    /// reply instead of being implied by the end of the multiget. For proxies, whose servers can be down individually,
    /// gets are never coalesced.
    #[must_use]
    pub fn max_keys_per_multiget(self, keys: usize) -> Self {
        Self { max_keys_per_multiget: keys, ..self }
    }

    /// Sets how long a connection polls its socket for expected replies before it sleeps (default: zero, no busy
    /// polling). It applies to connections shared by at most 32 callers; 100 microseconds suit a server on the same
    /// host or in the same rack.
    ///
    /// Sleeping and waking up takes about as long as a nearby server needs for a reply, so polling lowers the latency
    /// of a single caller by a quarter to a half. The cost is CPU time: the core is busy while a reply is expected,
    /// which is worst if the server shares it. Other tasks run between two polls. Polling for a server that answers
    /// later becomes rarer, down to once in a thousand requests.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let config = remcache::Config::new().busy_poll(Duration::from_micros(100));
    /// ```
    #[must_use]
    pub fn busy_poll(self, limit: Duration) -> Self {
        Self { busy_poll: limit, ..self }
    }

    /// Sets what a call does when its connection has reached [`max_in_flight`](Config::max_in_flight) or
    /// [`max_output`](Config::max_output) (default: it waits until its deadline).
    #[must_use]
    pub fn overload(self, overload: Overload) -> Self {
        Self { overload, ..self }
    }

    /// Sets the reconnect backoff (default: 50 ms and 5 s).
    ///
    /// The first attempt is made within `first`, because only the connection may have been lost. The second is made at
    /// a random time within a third of `cap`, so that the clients of a server that was down do not all reconnect at
    /// once; two more follow at that interval. Later delays are random, between a third of `cap` and `cap`.
    #[must_use]
    pub fn reconnect_delay(self, first: Duration, cap: Duration) -> Self {
        Self { reconnect: Backoff { first, cap }, ..self }
    }

    /// Sets the idle time after which a connection is checked with a no-op, and the time without a received byte after
    /// which a connection with unanswered requests is closed (default: 5 s and 15 s).
    #[must_use]
    pub fn keepalive(mut self, interval: Duration, timeout: Duration) -> Self {
        self.limits.keepalive_interval = interval;
        self.limits.keepalive_timeout = timeout;
        self
    }

    /// Sets the size of the socket's send and receive buffers in bytes (default: tuned by the system).
    ///
    /// When megabytes are transferred on one connection, Linux's autotuning occasionally stalls the transfer for 50 ms;
    /// fixed buffers of 1 to 2 MiB avoid this. The system limits them (`net.core.rmem_max` and `wmem_max`, often 208
    /// KiB, which is too little for connections with a high latency).
    #[must_use]
    pub fn socket_buffers(mut self, bytes: usize) -> Self {
        self.transport.socket_buffers = Some(bytes);
        self
    }

    /// Enables TLS for every connection (default: no TLS).
    ///
    /// The handshake is part of connecting, and takes one round trip (two with TLS 1.2).
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn tls(self, tls: Tls) -> Self {
        Self { tls: Some(tls), ..self }
    }

    /// Sets the user and the password for every server (default: none): SASL's PLAIN mechanism.
    ///
    /// They are not sent again to a server that refuses them: requests fail immediately as
    /// [`ErrorKind::Auth`](crate::error::ErrorKind::Auth). Without TLS the password is sent unencrypted.
    #[must_use]
    pub fn credentials(self, credentials: Credentials) -> Self {
        Self { credentials: Some(CredentialsSource::Fixed(credentials)), ..self }
    }

    /// Sets the credentials provider, which is called on every connect and is subject to the connect timeout (default:
    /// none).
    ///
    /// After a refusal, connecting is retried when the provider returns other credentials.
    #[must_use]
    pub fn credentials_provider(self, provider: impl CredentialsProvider) -> Self {
        Self { credentials: Some(CredentialsSource::Provider(Arc::new(provider))), ..self }
    }

    /// Sets the connector (default: TCP and Unix sockets); for tests and unusual networks.
    #[must_use]
    pub fn connector(self, connector: impl Connect) -> Self {
        Self { connector: Arc::new(connector), has_sockets: false, ..self }
    }

    /// Sets the Tokio runtime on which connections run (default: that of the first request).
    ///
    /// Connections need a runtime that is driven by a thread and not blocked. The runtime of the first request is the
    /// fastest for a program with a single runtime. Set a handle if there are several (one for each worker, as in
    /// actix-web), if runtimes are short-lived, or if the client is also called from elsewhere. Each request from a
    /// thread outside the runtime costs some microseconds for waking it.
    ///
    /// Calls complete by their deadlines on any runtime.
    ///
    /// ```
    /// use remcache::{Client, Config};
    ///
    /// # let runtime = tokio::runtime::Runtime::new()?;
    /// let config = Config::new().runtime(runtime.handle().clone());
    /// let client = Client::with_config(["localhost"], config)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn runtime(self, runtime: Handle) -> Self {
        Self { runtime: ConnectionRuntime::Given(runtime), ..self }
    }

    /// Runs the connections on a dedicated thread of the client (default: on the [runtime](Config::runtime) of the
    /// first request).
    ///
    /// The thread starts with the first request, and ends with the client's last connection. The program's runtimes
    /// then cannot block or end the connections: this is recommended for a client in a `static` that several runtimes
    /// share, for `#[tokio::test]`s, for programs with occasional `block_on`, and for executors other than Tokio. The
    /// cost is one thread, and some microseconds for waking it with each request of a single caller.
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
    #[must_use]
    pub fn dedicated_thread(self) -> Self {
        Self { runtime: ConnectionRuntime::dedicated(), ..self }
    }

    /// Runs the connections on a dedicated thread, unless a runtime was set.
    #[cfg(feature = "blocking")]
    pub(crate) fn dedicated_thread_by_default(self) -> Self {
        match self.runtime {
            ConnectionRuntime::OfFirstRequest => self.dedicated_thread(),
            _ => self,
        }
    }

    /// Sets the seed of all jitter (default: random); for reproducible tests.
    #[must_use]
    pub fn seed(self, seed: u64) -> Self {
        Self { seed: Some(seed), ..self }
    }

    /// Rejects servers whose credentials or TLS settings differ from those of the running client, because they would
    /// not apply.
    pub(crate) fn check_security_is_that_of(&self, running: &Self) -> Result<(), Error> {
        if self.tls.is_some() && running.tls.is_none() {
            return Err(Error::config("TLS cannot be turned on in a running client: make another client"));
        }
        match (&self.credentials, &running.credentials) {
            (Some(CredentialsSource::Fixed(new)), Some(CredentialsSource::Fixed(old))) if new == old => Ok(()),
            (Some(CredentialsSource::Provider(_)), Some(CredentialsSource::Provider(_))) | (None, None) => Ok(()),
            _ => Err(Error::config(
                "credentials cannot be changed in a running client: make another client, or use Config::credentials_provider",
            )),
        }
    }
    /// Adds an observer, which is notified of every operation and of every state change of connections and servers
    /// (default: none). Several may be added.
    ///
    /// Without an observer, an operation pays one comparison. See [`observe`](crate::observe) for what observers
    /// receive and what they must not do.
    #[must_use]
    pub fn observer(mut self, observer: impl Observer) -> Self {
        self.observers = self.observers.with(observer);
        self
    }
}
