//! The settings of a client, each with its default and the price of changing it.
pub(crate) mod credentials;
pub(crate) mod journal;
mod options;
mod preference;
pub(crate) mod protocol;
pub(crate) mod runtime;
mod url;

pub use crate::address::{Address, Endpoint};
pub use crate::server_list::{ManyAddresses, OneAddress, ServerList};
pub use credentials::{Credentials, CredentialsProvider, ProviderError, Providing};
pub use protocol::{ProtocolSetting, UnknownProtocolSetting};

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;

use crate::config::credentials::Source;
use crate::config::journal::JournalSettings;
use crate::config::preference::Preference;
use crate::config::runtime::ConnectionRuntime;
use crate::config::url::Target;
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
    pub(crate) size_checked_from: usize,
    pub(crate) journal: JournalSettings,
    pub(crate) keys_in_line: usize,
    pub(crate) busy_poll: Duration,
    pub(crate) overload: Overload,
    pub(crate) reconnect: Backoff,
    pub(crate) transport: TransportSettings,
    pub(crate) tls: Option<Tls>,
    pub(crate) credentials: Option<Source>,
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

/// What a call does when its connection's limits are reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Overload {
    /// It waits for room until its deadline, then it is `Overloaded`.
    #[default]
    Wait,
    /// It is `Overloaded` at once.
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
            size_checked_from: 128 << 10,
            journal: JournalSettings::default(),
            keys_in_line: 100,
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
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Settings and servers from a URL:
    /// `memcached://host,host:port,host:port:weight/namespace?timeout=250ms&distribution=ketama`.
    ///
    /// `memcacheds://` is the same over TLS, with the authorities that the system trusts, unless
    /// [`Config::tls`] says otherwise (feature `tls`). A user and a password for all servers stand
    /// before the hosts: `memcacheds://user:password@host`. TLS and credentials are the client's: one URL that has
    /// them gives them to all its servers, and no URL takes them away.
    ///
    /// In every part of a URL `%` and two hexadecimal digits stand for a byte. That is needed for `%`, `@`,
    /// `/` and `?` in user, password and namespace, and for `:` in the user. A Unix socket is
    /// `unix:///run/cache.sock?timeout=1s`, or a host with its slashes encoded:
    /// `memcached://%2Frun%2Fcache.sock/namespace`. `memcache://` is another name of `memcached://`.
    ///
    /// Options: `namespace`, `timeout`, `connect_timeout`, `connections`, `distribution`, `hash`, `hash_tag`, `protocol`, `max_value_size`,
    /// `max_in_flight`, `max_output`, `breaker`, `failover` (`none`, `next`, `gutter`), `gutter` (spare
    /// servers), `failover_ttl`, `retries`, `retry_timeout`, `replicas`, `hedge`, `prefer` (a part of the servers' names). Durations read `250ms`, `5s`, `2m`, `1h`.
    ///
    /// # Errors
    /// [`ErrorKind::Config`](crate::error::ErrorKind::Config) for a malformed URL, an unknown option or a
    /// value that does not fit.
    pub fn from_url(url: &str) -> Result<Self, Error> {
        Self::new().server(url)
    }

    /// Adds servers: an address, a comma list, or a URL whose options apply to the client.
    ///
    /// # Errors
    /// As [`Config::from_url`], and for a malformed address.
    pub fn server(mut self, text: &str) -> Result<Self, Error> {
        let Target { servers, namespace, options, tls, credentials } = Target::parse(text)?;
        self.servers.extend(servers);
        self.tls = self.tls.or(tls);
        self.credentials = credentials.map(Source::Fixed).or(self.credentials);
        if let Some(namespace) = namespace {
            self.namespace = namespace;
        }
        options::apply_all(self, options)
    }

    /// Which protocol to speak (default: [`ProtocolSetting::Auto`], the best that each server understands).
    ///
    /// Finding it out takes one round trip for each connection; a protocol that is given takes none.
    #[must_use]
    pub fn protocol(self, protocol: ProtocolSetting) -> Self {
        Self { protocol, ..self }
    }

    /// Where keys are placed (default: `ketama`, libmemcached's weighted ring).
    ///
    /// Clients that share servers must agree on it: otherwise nearly every key is a miss.
    /// [Which client is which distribution](https://github.com/remcache/remcache/blob/main/docs/placement.md).
    #[must_use]
    pub fn distribution(self, distribution: Distribution) -> Self {
        Self { distribution, ..self }
    }

    /// A prefix of every key (default: none). It counts against the 250 bytes of a key, and is
    /// placed with the key.
    #[must_use]
    pub fn namespace(self, namespace: impl Into<Vec<u8>>) -> Self {
        Self { namespace: namespace.into(), ..self }
    }

    /// How long a request may take: queueing, connecting, sending, the reply (default: 1 s).
    ///
    /// A multi-key call may take this long between two replies. A shorter time makes a slow server look
    /// like one that is away; a longer one makes callers wait for a server that hangs.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self.limits.overdue = timeout;
        self
    }

    /// How long connecting may take, name resolution included (default: 1 s).
    #[must_use]
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.transport.connect_timeout = timeout;
        self
    }

    /// How many connections each server has (default: 1).
    ///
    /// One carries what one core can handle, and shared by all callers it makes the fewest system
    /// calls. More help where single large values delay small ones.
    #[must_use]
    pub fn connections(self, connections: usize) -> Self {
        Self { connections, ..self }
    }

    /// The longest value, in bytes, in either direction (default: 1 MiB, as the server's).
    ///
    /// Raise it with the server's `-I`. A reply that announces more closes the connection.
    #[must_use]
    pub fn max_value_size(mut self, bytes: usize) -> Self {
        self.limits.value = bytes;
        self
    }

    /// The length, in bytes, from which a value is compared with the server's item size limit before it is sent
    /// (default: 128 KiB).
    ///
    /// memcached drops what is stored when it refuses a larger value for the key; a value that is refused before
    /// it is sent changes nothing. The limit is asked for once a connection (`stats settings`), by the first
    /// value of this length. Lower it for servers whose `-I` is below this; a client that has met a refusal of
    /// a shorter value does so by itself.
    #[must_use]
    pub fn size_checked_from(self, bytes: usize) -> Self {
        Self { size_checked_from: bytes, ..self }
    }

    /// How many keys per server are kept of deletes that failed, to be repeated before a new connection to the server
    /// is used (default: 0, none).
    ///
    /// A delete that fails may leave an outdated value: if the server returns with its memory, callers would read it
    /// again. With a journal no request is sent on a new connection before these deletes were answered. It holds
    /// deletes without a condition that timed out, were disconnected, overloaded or dropped, of single keys and of
    /// calls with many keys; not tombstones and other writes.
    ///
    /// It is in the memory of this process, and also in a file with [`delete_journal_file`](Config::delete_journal_file).
    /// Deletes beyond this number are lost; [`dropped_deletes`](crate::server::ServerHandle::dropped_deletes) counts
    /// them. A repeated delete may remove a value that is newer. Each key takes about 100 bytes and its length.
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

    /// Keeps the [journal of deletes](Config::delete_journal) in a file too, from which the next process goes on
    /// (default: none). The keys of servers that are not in the list stay in the file.
    ///
    /// The file is created if it is missing, readable by its owner only, and written before the error of the delete is
    /// returned. It survives the end of the process, not a loss of power. Each client needs a file of its own. Creating
    /// a client fails if the file is damaged, of another kind or in use; it is left as it is then.
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

    /// How many requests may be unanswered on a connection (default: 16,384).
    #[must_use]
    pub fn max_in_flight(mut self, requests: usize) -> Self {
        self.limits.in_flight = requests;
        self
    }

    /// How many bytes may wait to be written on a connection (default: 8 MiB).
    #[must_use]
    pub fn max_output(mut self, bytes: usize) -> Self {
        self.limits.output = bytes;
        self
    }

    /// How many plain gets in a row may leave as one line, on the meta and text protocols (default: 100).
    ///
    /// memcached executes such a line at once and answers it in one write, which makes a get two to
    /// three times cheaper for it than any other. With 1 each get is a command of its own: on the
    /// meta protocol each miss is then a reply of its own instead of being implied by the end of the line. To
    /// proxies, whose servers fail one by one, gets always go each by itself.
    #[must_use]
    pub fn keys_in_line(self, keys: usize) -> Self {
        Self { keys_in_line: keys, ..self }
    }

    /// The longest time for which a connection shared by at most 32 callers polls its socket for
    /// expected replies before it sleeps (default: zero, no busy polling). 100 microseconds suit a
    /// server on the same host or in the same rack.
    ///
    /// Sleeping and being woken takes about as long as a nearby server needs for a reply, so polling
    /// halves the latency of a single caller. The price is CPU time: up to a tenth more for a small get
    /// and 40 % more for a call with a hundred keys, and more where client and server share a core. Other
    /// tasks run between two polls, and a server that answers later is polled less and less often, down
    /// to once in a thousand requests.
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

    /// What a call does when these limits are reached (default: it waits until its deadline).
    #[must_use]
    pub fn overload(self, overload: Overload) -> Self {
        Self { overload, ..self }
    }

    /// How long to wait before connecting again (default: 50 ms and 5 s).
    ///
    /// The first attempt comes within `first`, for a connection may be lost and its server well. The next comes at a
    /// random moment of a third of `cap`, so that the clients of a server that was away do not come back together;
    /// two more follow as far apart. From then on the waits are random, from a third of `cap` up to it.
    #[must_use]
    pub fn reconnect_delay(self, first: Duration, cap: Duration) -> Self {
        Self { reconnect: Backoff { first, cap }, ..self }
    }

    /// When a no-op asks an idle server whether it is there, and when a connection without a byte
    /// is given up while something is outstanding (default: 5 s and 15 s).
    #[must_use]
    pub fn keepalive(mut self, idle: Duration, silence: Duration) -> Self {
        self.limits.keepalive = idle;
        self.limits.silence = silence;
        self
    }

    /// The socket's send and receive buffers in bytes (default: the system's, which it adapts).
    ///
    /// With megabytes in a row on one connection, buffers that Linux adapts were seen to stall a
    /// transfer for 50 ms now and then, and fixed ones of 1 to 2 MiB not. The system caps them
    /// (`net.core.rmem_max` and `wmem_max`, often 208 KiB, which is too little for a long way).
    #[must_use]
    pub fn socket_buffers(mut self, bytes: usize) -> Self {
        self.transport.socket_buffers = Some(bytes);
        self
    }

    /// Encrypts every connection (default: none is), with these authorities and certificates.
    ///
    /// The handshake is part of connecting, and takes two round trips or so.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn tls(self, tls: Tls) -> Self {
        Self { tls: Some(tls), ..self }
    }

    /// The user and the password for every server (default: none): SASL's PLAIN mechanism.
    ///
    /// A server that refuses them is not asked again: requests end at once, as
    /// [`ErrorKind::Auth`](crate::error::ErrorKind::Auth). Without TLS the password is sent as it is.
    #[must_use]
    pub fn credentials(self, credentials: Credentials) -> Self {
        Self { credentials: Some(Source::Fixed(credentials)), ..self }
    }

    /// Credentials provider, called on every connect (default: none), within the time that
    /// connecting may take.
    ///
    /// After a refusal the server is asked again when the provider has others.
    #[must_use]
    pub fn credentials_provider(self, provider: impl CredentialsProvider) -> Self {
        Self { credentials: Some(Source::Provider(Arc::new(provider))), ..self }
    }

    /// What opens connections (default: TCP and Unix sockets); for tests and unusual networks.
    #[must_use]
    pub fn connector(self, connector: impl Connect) -> Self {
        Self { connector: Arc::new(connector), has_sockets: false, ..self }
    }

    /// The tokio runtime on which connections live (default: the one of the first request).
    ///
    /// Connections need a runtime that runs: one that a thread drives, and whose threads are not blocked. The
    /// runtime of the first request is the fastest one for a program that has one runtime for its whole life.
    /// Give a handle where there are several (a runtime for each worker, as actix-web has), where runtimes come
    /// and go, or where the client is also called from elsewhere. Requests from other threads than the
    /// runtime's own pay for waking it, some microseconds each.
    ///
    /// Whatever runs the connections, calls end by their deadlines.
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

    /// Gives the connections a thread of the client's own (default: they live on the
    /// [runtime](Config::runtime) of the first request).
    ///
    /// The thread starts with the first request, and ends with the client's last connection. No runtime
    /// of the program can then hold up the connections, or end them: this is the choice for a client in a
    /// `static` that many runtimes share, for `#[tokio::test]`s, for programs that call
    /// `block_on` now and then, and for executors other than tokio's. The price is one thread, and that
    /// each request of a single caller wakes it: some microseconds more.
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

    /// The same, unless a runtime was given.
    #[cfg(feature = "blocking")]
    pub(crate) fn dedicated_thread_by_default(self) -> Self {
        match self.runtime {
            ConnectionRuntime::OfFirstRequest => self.dedicated_thread(),
            _ => self,
        }
    }

    /// The seed of all jitter (default: random); for tests that are to repeat.
    #[must_use]
    pub fn seed(self, seed: u64) -> Self {
        Self { seed: Some(seed), ..self }
    }

    /// Refuses servers that were given with other credentials than a client has, or with TLS where
    /// it has none: they would be spoken to without.
    pub(crate) fn check_security_is_that_of(&self, running: &Self) -> Result<(), Error> {
        if self.tls.is_some() && running.tls.is_none() {
            return Err(Error::config("TLS cannot be turned on in a running client: make another client"));
        }
        match (&self.credentials, &running.credentials) {
            (Some(Source::Fixed(new)), Some(Source::Fixed(old))) if new == old => Ok(()),
            (Some(Source::Provider(_)), Some(Source::Provider(_))) | (None, None) => Ok(()),
            _ => Err(Error::config(
                "credentials cannot be changed in a running client: make another client, or use Config::credentials_provider",
            )),
        }
    }

    /// After how many timeouts in a row a server is given up (default: 3; 0 for never): of all its
    /// connections together, or of one of them alone, which then is replaced.
    ///
    /// The server must also have been silent for the [`timeout`](Config::timeout), so that one caller
    /// with shorter deadlines spoils nothing, and what a stall of the program itself made late does not
    /// count. From then on requests fail at once, until the server has answered a no-op: one that
    /// accepts connections and does not answer is not back. Fewer: a short pause of the server costs its
    /// requests; more: more callers wait for a dead one.
    #[must_use]
    pub fn breaker(self, timeouts: u32) -> Self {
        Self { breaker: timeouts, ..self }
    }

    /// What the keys of a server get that is known to be down (default: [`Failover::None`], they fail).
    ///
    /// With failover the cache stays useful while a server is down, and values can be stale: when
    /// the server is back it may still have what it had (if it was unreachable and not restarted), and
    /// what was stored elsewhere is not seen. When it fails again within the cap of the time
    /// to live, what was stored elsewhere is seen again, although the server may have had a newer
    /// value; deletes go to both places. A delete fails if the server itself could not be asked, for
    /// then its value may come back. Requests with a CAS value fail as well: it is one server's own.
    #[must_use]
    pub fn failover(self, failover: Failover) -> Self {
        Self { failover, ..self }
    }

    /// What is sent again after a failure (default: [`Retries::none`]).
    ///
    /// No value becomes stale by it, but an opted-in set or delete that is repeated may undo what
    /// another writer did between. Calls with many keys are not repeated at the same server.
    #[must_use]
    pub fn retries(self, retries: Retries) -> Self {
        Self { retries, ..self }
    }

    /// How many servers hold each key (default: 1): its own and the next ones of the ring.
    ///
    /// Sets, touches and deletes go to all of them; reads ask the first, and the next one if that has
    /// nothing or fails. What is made from an item's old value (counters, appends, conditions) is done
    /// at the first, and the other copies are deleted. Each copy costs its memory and a write. A value
    /// can be stale where a copy missed a change because it was away: it is read when those before it
    /// are away or have lost the key. A set succeeds if one copy has it; a delete fails if one could
    /// not be asked.
    #[must_use]
    pub fn replicas(self, copies: usize) -> Self {
        Self { replicas: copies, ..self }
    }

    /// When a read that was not answered yet is asked of the next copy as well (default: never).
    ///
    /// It needs [`replicas`](Config::replicas), and is as stale as they are: the second copy may
    /// answer although the first has a newer value. Calls with many keys are not hedged.
    #[must_use]
    pub fn hedge(self, hedge: Hedge) -> Self {
        Self { hedge: Some(hedge), ..self }
    }

    /// Which servers reads ask first among the copies of a key, such as those of the own zone (default: none, the first
    /// copy of the ring).
    ///
    /// It needs [`replicas`](Config::replicas). While a preferred copy is up and has the key, no other is asked; if it
    /// is down or has nothing, the others follow in the order of the ring. Writes and deletes go to all copies as
    /// without it. A value read has the CAS value of the server that was asked: compare and swap with
    /// [`update`](crate::Client::update), which asks the key's primary server.
    ///
    /// ```
    /// use remcache::Config;
    ///
    /// let config = Config::new().replicas(2).prefer(|server| server.name.contains(".eu-west-1a."));
    /// ```
    #[must_use]
    pub fn prefer(self, is_preferred: impl Fn(&Endpoint) -> bool + Send + Sync + 'static) -> Self {
        Self { preference: Some(Preference::new(is_preferred)), ..self }
    }

    /// Adds an observer, which receives reports of every operation and of the state changes of connections and servers
    /// (default: none). Several may be added; see [`observe`](crate::observe).
    ///
    /// Without an observer operations pay one comparison.
    #[must_use]
    pub fn observer(mut self, observer: impl Observer) -> Self {
        self.observers = self.observers.with(observer);
        self
    }

    /// Whether a request may go to more than one server, or to one more than once.
    pub(crate) fn is_routed(&self) -> bool {
        self.failover != Failover::None || self.retries.attempts > 0 || self.replicas > 1
    }

    fn check_policies(&self) -> Result<(), Error> {
        let copies = self.replicas;
        let problem = match (&self.failover, self.hedge, self.retries.attempt_timeout) {
            (Failover::Gutter { servers, .. }, ..) if servers.is_empty() => {
                "failover to a gutter pool without servers: name them, in a URL by gutter=host,host"
            }
            (failover, ..) if failover.cap().is_some_and(|cap| cap < Duration::from_secs(1)) => {
                "failover's ttl_cap is below 1 s, which is the shortest time to live"
            }
            (_, Some(hedge), _) if hedge.delay.is_zero() => "hedge's delay is zero: give it a duration such as 10ms",
            (_, Some(_), _) if copies < 2 => "hedge needs a second copy to ask: set replicas to 2 or more",
            (_, _, Some(timeout)) if timeout.is_zero() => {
                "retries' attempt_timeout is zero: give it a duration such as 100ms"
            }
            _ if self.preference.is_some() && copies < 2 => {
                "prefer needs a choice of copies: set replicas to 2 or more"
            }
            _ if copies == 0 => "replicas is zero: it must be at least 1",
            _ => return Ok(()),
        };
        Err(Error::config(problem))
    }

    /// Refuses what cannot work.
    pub(crate) fn check(self) -> Result<Self, Error> {
        self.check_policies()?;
        let durations = [
            ("timeout", self.timeout),
            ("connect_timeout", self.transport.connect_timeout),
            ("keepalive", self.limits.keepalive),
            ("silence", self.limits.silence),
            ("reconnect_delay's first", self.reconnect.first),
            ("reconnect_delay's cap", self.reconnect.cap),
        ];
        for (name, duration) in durations {
            if duration.is_zero() {
                return Err(Error::config(format!("{name} is zero: give it a duration such as 1s")));
            }
        }
        if self.reconnect.first > self.reconnect.cap {
            return Err(Error::config("reconnect_delay's first wait is longer than its cap"));
        }
        let counts = [
            ("connections", self.connections),
            ("max_value_size", self.limits.value),
            ("max_in_flight", self.limits.in_flight),
            ("max_output", self.limits.output),
            ("keys_in_line", self.keys_in_line),
        ];
        if self.journal.path.is_some() && self.journal.capacity == 0 {
            return Err(Error::config("delete_journal_file needs a number of keys: set delete_journal, too"));
        }
        for (name, count) in counts {
            if count == 0 {
                return Err(Error::config(format!("{name} is zero: it must be at least 1")));
            }
        }
        if let Some(Err(what)) = self.tls.as_ref().map(Tls::check) {
            return Err(Error::config(what));
        }
        if let Some(Source::Fixed(credentials)) = &self.credentials {
            credentials.check().map_err(Error::config)?;
        }
        if self.namespace.len() >= crate::proto::Key::MAX_LEN {
            return Err(Error::config("the namespace leaves no room for a key: a key has at most 250 bytes"));
        }
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invalid_settings_are_refused_by_name() {
        let cases = [
            (Config::new().timeout(Duration::ZERO), "timeout"),
            (Config::new().connections(0), "connections"),
            (Config::new().max_value_size(0), "max_value_size"),
            (Config::new().keys_in_line(0), "keys_in_line"),
            (Config::new().namespace("x".repeat(250)), "namespace"),
            (Config::new().replicas(0), "replicas"),
            (Config::new().hedge(Hedge::after(Duration::from_millis(1))), "replicas"),
            (Config::new().replicas(2).hedge(Hedge::after(Duration::ZERO)), "hedge"),
            (Config::new().failover(Failover::next().ttl_cap(Duration::from_millis(999))), "ttl_cap"),
            (Config::new().prefer(|_| true), "replicas"),
            (Config::new().delete_journal_file("deletes"), "delete_journal"),
            (Config::new().failover(Failover::gutter([""; 0])), "gutter"),
            (Config::new().retries(Retries::up_to(1).attempt_timeout(Duration::ZERO)), "attempt_timeout"),
        ];
        for (config, name) in cases {
            assert!(config.check().unwrap_err().to_string().contains(name), "{name}");
        }
    }
}
