//! How a server is ordered.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use crate::clock::{Clock, ManualClock};
use crate::cluster::{Cluster, ClusterNode};
use crate::door::Address;
use crate::login::User;
use crate::server::Server;
use crate::state::{Permits, Settings, Wires};
use crate::store::Limits;
use crate::version::{Novelty, Version};

/// An order for a [`Server`], made by [`Server::builder`].
///
/// What is not said is as with a memcached that was started without options, but for the address:
/// a free port of the loopback interface.
#[derive(Clone, Debug)]
#[must_use = "nothing is started until `start`"]
pub struct Builder {
    ip: IpAddr,
    port: u16,
    #[cfg(unix)]
    unix_path: Option<std::path::PathBuf>,
    settings: Settings,
}

/// Nothing smaller is of use, and nothing larger is taken by memcached.
const ITEM_SIZES: std::ops::RangeInclusive<usize> = 1024..=1 << 30;

impl Builder {
    pub(crate) fn new() -> Self {
        let limits = Limits {
            memory: 64 << 20,
            item_size: 1 << 20,
            evicts: true,
            cas: true,
            flush: true,
            flush_takes_cas: true,
        };
        Self {
            ip: Ipv4Addr::LOCALHOST.into(),
            port: 0,
            #[cfg(unix)]
            unix_path: None,
            settings: Settings {
                limits,
                version: Version::new("1.6.18"),
                clock: Clock::System,
                users: Vec::new(),
                text_users: Vec::new(),
                max_connections: 1024,
                wires: Wires::Any,
                permits: Permits { shutdown: false, dumps: true, watches: true, mgdump: false },
                sizes: false,
                cluster: None,
            },
        }
    }

    /// Listens on this port; 0, the default, is a free one.
    pub fn port(self, port: u16) -> Self {
        Self { port, ..self }
    }

    /// Listens on this address; 127.0.0.1 by default.
    pub fn ip(self, ip: impl Into<IpAddr>) -> Self {
        Self { ip: ip.into(), ..self }
    }

    /// Listens on this Unix socket, and on no port. A socket that is there already is replaced.
    #[cfg(unix)]
    pub fn unix_path(self, path: impl Into<std::path::PathBuf>) -> Self {
        Self { unix_path: Some(path.into()), ..self }
    }

    /// How many bytes the items may take, with about 59 bytes for each beside its key and value;
    /// 64 MiB by default. When there is no more, the items that were not used for longest are
    /// evicted.
    pub fn memory(mut self, bytes: usize) -> Self {
        self.settings.limits.memory = bytes;
        self
    }

    /// How many bytes one item may take, counted like [`Builder::memory`]; 1 MiB by default, as
    /// memcached's `-I`.
    pub fn item_size_max(mut self, bytes: usize) -> Self {
        self.settings.limits.item_size = bytes;
        self
    }

    /// Whether items are evicted to make room for others; if not, storing fails when the memory is
    /// full, as with memcached's `-M`.
    pub fn evictions(mut self, evictions: bool) -> Self {
        self.settings.limits.evicts = evictions;
        self
    }

    /// Whether items have CAS values; if not, as with memcached's `-C`, all are 0.
    pub fn cas(mut self, cas: bool) -> Self {
        self.settings.limits.cas = cas;
        self
    }

    /// Whether clients may flush; if not, as with memcached's `-F`, they are refused.
    pub fn flush(mut self, flush: bool) -> Self {
        self.settings.limits.flush = flush;
        self
    }

    /// The version that the server tells, and behaves like as far as a client can see; 1.6.18 by
    /// default.
    ///
    /// What came between it and 1.6.45 is there from its version on: meta flags, dumps, what deletes
    /// and counters answer, how malformed lines are refused. An older one behaves like 1.6.18.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> std::io::Result<()> {
    /// let newest = remcache_server::Server::builder().version("1.6.45").start().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn version(mut self, version: impl Into<String>) -> Self {
        self.settings.version = Version::new(version);
        self.settings.limits.flush_takes_cas = !self.settings.version.has(Novelty::FlushWithoutCas);
        self
    }

    /// The clock by which items expire and later flushes happen; the system's by default.
    pub fn clock(mut self, clock: &ManualClock) -> Self {
        self.settings.clock = Clock::Manual(clock.clone());
        self
    }

    /// Which wires the server speaks; any by default. With a [`Builder::user`] it is binary in any
    /// case, with a [`Builder::text_user`] text.
    pub fn wire(mut self, wires: Wires) -> Self {
        self.settings.wires = wires;
        self
    }

    /// A user. With at least one, clients have to authenticate by SASL's PLAIN mechanism, as with
    /// memcached's `-S`, and only the binary wire is spoken.
    pub fn user(mut self, name: impl Into<String>, password: impl Into<String>) -> Self {
        self.settings.users.push(User { name: name.into(), password: password.into() });
        self
    }

    /// A user of the text wire. With at least one, the first command of a connection has to be a
    /// `set` with the name, a space and the password as its value, as with memcached's `-Y`, and
    /// only the text wire is spoken.
    pub fn text_user(mut self, name: impl Into<String>, password: impl Into<String>) -> Self {
        self.settings.text_users.push(User { name: name.into(), password: password.into() });
        self
    }

    /// The configuration of a cluster that `config get cluster` tells, as ElastiCache's
    /// configuration endpoint does; without it the command is unknown.
    /// [`Server::set_cluster`] changes it while the server runs.
    ///
    /// ```
    /// use remcache_server::{ClusterNode, Server};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> std::io::Result<()> {
    /// let node = Server::start().await?;
    /// let nodes = [ClusterNode::new("localhost", "127.0.0.1", node.port())];
    /// let endpoint = Server::builder().cluster(1, nodes).start().await?;
    /// // … a client asks the endpoint and finds the node …
    /// endpoint.set_cluster(2, []);
    /// // … and now it has none.
    /// # Ok(())
    /// # }
    /// ```
    pub fn cluster(mut self, version: u64, nodes: impl IntoIterator<Item = ClusterNode>) -> Self {
        self.settings.cluster = Some(Cluster::new(version, nodes));
        self
    }

    /// Whether a client may stop the server by `shutdown`, as with memcached's `-A`; by default it
    /// may not. [`Server::restart`] starts it again.
    pub fn shutdown(mut self, shutdown: bool) -> Self {
        self.settings.permits.shutdown = shutdown;
        self
    }

    /// Whether clients may list keys by `lru_crawler metadump` and `stats cachedump`; if not, as
    /// with memcached's `-X`, they are refused.
    pub fn dumps(mut self, dumps: bool) -> Self {
        self.settings.permits.dumps = dumps;
        self
    }

    /// Whether `lru_crawler mgdump` is known, which came with memcached 1.6.19; by default as the
    /// [`version`](Builder::version) has it.
    pub fn mgdump(mut self, mgdump: bool) -> Self {
        self.settings.permits.mgdump = mgdump;
        self
    }

    /// Whether clients may `watch`; if not, as with memcached's `-W`, they are refused.
    pub fn watches(mut self, watches: bool) -> Self {
        self.settings.permits.watches = watches;
        self
    }

    /// Whether `stats sizes` tells how many items there are of each size, as with memcached's
    /// `-o track_sizes`; by default it does not.
    pub fn track_sizes(mut self, sizes: bool) -> Self {
        self.settings.sizes = sizes;
        self
    }

    /// How many connections are served at a time; 1024 by default. Others are told so in text, as
    /// memcached does, and closed.
    pub fn max_connections(mut self, connections: usize) -> Self {
        self.settings.max_connections = connections;
        self
    }

    /// Starts the server on tokio's current runtime.
    ///
    /// # Errors
    /// When it cannot listen there, or when the item size is not between 1 KiB and 1 GiB.
    ///
    /// # Panics
    /// Outside of a tokio runtime that has I/O and time.
    #[expect(clippy::unused_async, reason = "it says that a runtime is needed, and may come to wait")]
    pub async fn start(self) -> io::Result<Server> {
        let size = self.settings.limits.item_size;
        if !ITEM_SIZES.contains(&size) {
            let text = format!("an item size of {size} bytes: expected {} to {}", ITEM_SIZES.start(), ITEM_SIZES.end());
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        Server::begin(self.address(), self.settings)
    }

    fn address(&self) -> Address {
        #[cfg(unix)]
        if let Some(path) = &self.unix_path {
            return Address::Unix(path.clone());
        }
        Address::Tcp(SocketAddr::new(self.ip, self.port))
    }
}
