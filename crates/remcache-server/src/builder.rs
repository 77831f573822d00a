//! The configuration of a server before it starts.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use crate::clock::{Clock, ManualClock};
use crate::cluster::{ClusterConfig, ClusterNode};
use crate::listener::Address;
use crate::profile::Profile;
use crate::settings::{BindingProtocol, Settings, User};
use crate::version::{Behaviour, Version};

/// Configures and starts a [`Server`](crate::Server); created by [`Server::builder`](crate::Server::builder).
///
/// The defaults are those of a memcached that is started without options, except for the address: a free port of the
/// loopback interface.
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until `start` is called"]
pub struct Builder {
    ip: IpAddr,
    port: u16,
    #[cfg(unix)]
    unix_path: Option<std::path::PathBuf>,
    listens: bool,
    settings: Settings,
}

/// memcached accepts the same range.
const ITEM_SIZES: std::ops::RangeInclusive<usize> = 1024..=1 << 30;

impl Builder {
    pub(crate) fn new() -> Self {
        Self {
            ip: Ipv4Addr::LOCALHOST.into(),
            port: 0,
            #[cfg(unix)]
            unix_path: None,
            listens: true,
            settings: Settings::default(),
        }
    }

    /// Sets the port to listen on. The default, 0, is a free port that the system chooses.
    pub fn port(self, port: u16) -> Self {
        Self { port, ..self }
    }

    /// Sets the address to listen on. The default is 127.0.0.1.
    pub fn ip(self, ip: impl Into<IpAddr>) -> Self {
        Self { ip: ip.into(), ..self }
    }

    /// Listens on a Unix socket instead of a port. An existing socket at this path is replaced.
    #[cfg(unix)]
    pub fn unix_path(self, path: impl Into<std::path::PathBuf>) -> Self {
        Self { unix_path: Some(path.into()), ..self }
    }

    /// Does not listen on any address: connections come from [`Server::serve`](crate::Server::serve) only. The server
    /// then needs no I/O driver and runs on a simulated network too.
    pub fn without_listener(self) -> Self {
        Self { listens: false, ..self }
    }

    /// Sets the memory for items, in bytes. The default is 64 MiB.
    ///
    /// Each item takes about 59 bytes in addition to its key and value. When the memory is full, the least recently
    /// used items are evicted.
    pub fn memory(mut self, bytes: usize) -> Self {
        self.settings.limits.memory = bytes;
        self
    }

    /// Sets the maximum size of an item, in bytes, counted as for [`Builder::memory`]. The default is 1 MiB
    /// (memcached's `-I`).
    pub fn item_size_max(mut self, bytes: usize) -> Self {
        self.settings.limits.item_size = bytes;
        self
    }

    /// Sets whether items are evicted to make room for new ones. The default is `true`. If disabled, storing fails
    /// when the memory is full (memcached's `-M`).
    pub fn evictions(mut self, enabled: bool) -> Self {
        self.settings.limits.evictions = enabled;
        self
    }

    /// Sets whether items have CAS values. The default is `true`. If disabled, all CAS values are 0 (memcached's
    /// `-C`).
    pub fn cas(mut self, enabled: bool) -> Self {
        self.settings.limits.cas = enabled;
        self
    }

    /// Sets whether clients may flush. The default is `true`; memcached's `-F` disables it.
    pub fn allow_flush(mut self, allowed: bool) -> Self {
        self.settings.limits.flush = allowed;
        self
    }

    /// Sets the version that the server reports and emulates. The default is 1.6.18.
    ///
    /// Changes that clients can observe are emulated from the version that introduced them, up to 1.6.45: meta flags,
    /// dumps, replies to deletes and counters, and how malformed lines are refused. Versions below 1.6.18 behave like
    /// 1.6.18.
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
        self.settings.limits.flush_consumes_cas = !self.settings.version.has(Behaviour::FlushWithoutCas);
        self
    }

    /// Sets the clock that expires items and delayed flushes. The default is the system clock.
    pub fn clock(mut self, clock: &ManualClock) -> Self {
        self.settings.clock = Clock::Manual(clock.clone());
        self
    }

    /// Sets the protocols that the server speaks (memcached's `-B`). The default is all of them.
    ///
    /// A [`sasl_user`](Builder::sasl_user) implies binary only, a [`text_user`](Builder::text_user) text only.
    pub fn binding_protocol(mut self, protocol: BindingProtocol) -> Self {
        self.settings.set_binding_protocol(protocol);
        self
    }

    /// Adds a SASL user. With at least one, clients must authenticate with the PLAIN mechanism (memcached's `-S`), and
    /// the server speaks the binary protocol only.
    pub fn sasl_user(mut self, name: impl Into<String>, password: impl Into<String>) -> Self {
        self.settings.sasl_users.push(User::new(name, password));
        self
    }

    /// Adds a user of the text protocol. With at least one, the first command of a connection must be a `set` whose
    /// value is the name, a space and the password (memcached's `-Y`), and the server speaks the text protocol only.
    pub fn text_user(mut self, name: impl Into<String>, password: impl Into<String>) -> Self {
        self.settings.text_users.push(User::new(name, password));
        self
    }

    /// Makes the server a cluster configuration endpoint, as ElastiCache has one: it answers `config get cluster` with
    /// these nodes. By default the command is unknown.
    ///
    /// [`Server::set_cluster`](crate::Server::set_cluster) changes the nodes while the server runs.
    ///
    /// ```
    /// use remcache_server::{ClusterNode, Server};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> std::io::Result<()> {
    /// let node = Server::start().await?;
    /// let nodes = [ClusterNode::new("localhost", "127.0.0.1", node.port())];
    /// let endpoint = Server::builder().cluster(1, nodes).start().await?;
    /// // A client that asks the endpoint finds the node …
    /// endpoint.set_cluster(2, []);
    /// // … until the node is removed from the configuration.
    /// # Ok(())
    /// # }
    /// ```
    pub fn cluster(mut self, version: u64, nodes: impl IntoIterator<Item = ClusterNode>) -> Self {
        self.settings.cluster = Some(ClusterConfig::new(version, nodes));
        self
    }

    /// Sets whether clients may stop the server with `shutdown` (memcached's `-A`). The default is `false`.
    /// [`Server::restart`](crate::Server::restart) starts it again.
    pub fn allow_shutdown(mut self, allowed: bool) -> Self {
        self.settings.permissions.shutdown = allowed;
        self
    }

    /// Sets whether clients may list keys with `lru_crawler metadump` and `stats cachedump`. The default is `true`;
    /// memcached's `-X` disables it.
    pub fn allow_dumps(mut self, allowed: bool) -> Self {
        self.settings.permissions.dumps = allowed;
        self
    }

    /// Sets whether clients may use `watch`. The default is `true`; memcached's `-W` disables it.
    pub fn allow_watch(mut self, allowed: bool) -> Self {
        self.settings.permissions.watch = allowed;
        self
    }

    /// Sets whether `lru_crawler mgdump` exists even if the [`version`](Builder::version) is below 1.6.19, which
    /// introduced it. The default is `false`.
    pub fn mgdump(mut self, enabled: bool) -> Self {
        self.settings.permissions.mgdump = enabled;
        self
    }

    /// Sets whether `stats sizes` counts items by size (memcached's `-o track_sizes`). The default is `false`.
    pub fn track_sizes(mut self, enabled: bool) -> Self {
        self.settings.track_sizes = enabled;
        self
    }

    /// Sets the maximum number of open connections. The default is 1024. Connections beyond it get an error line, as
    /// from memcached, and are closed.
    pub fn max_connections(mut self, connections: usize) -> Self {
        self.settings.max_connections = connections;
        self
    }

    /// Sets a TLS configuration. The server then speaks TLS only (memcached's `-Z`).
    ///
    /// The configuration decides about the certificate, client certificates and session resumption; see
    /// [`rustls::ServerConfig`](tokio_rustls::rustls::ServerConfig).
    #[cfg(feature = "tls")]
    pub fn tls(mut self, config: impl Into<std::sync::Arc<tokio_rustls::rustls::ServerConfig>>) -> Self {
        self.settings.tls = Some(config.into());
        self
    }

    /// Emulates a managed service. The default is a plain memcached.
    ///
    /// This also sets the [`version`](Builder::version) that the service reports. Call `version` afterwards to change
    /// it.
    pub fn profile(mut self, profile: Profile) -> Self {
        self.settings.restrictions = profile.restrictions();
        self.version(profile.version())
    }

    /// Checks the settings and returns them with the address to listen on.
    pub(crate) fn build(self) -> io::Result<(Address, Settings)> {
        let size = self.settings.limits.item_size;
        if !ITEM_SIZES.contains(&size) {
            let (min, max) = (ITEM_SIZES.start(), ITEM_SIZES.end());
            return Err(invalid_input(format!("invalid item_size_max of {size} bytes: expected {min} to {max}")));
        }
        // Without a listener the caller may have wrapped the streams in TLS itself.
        if self.settings.restrictions.requires_tls && self.listens && !self.settings.has_tls() {
            let text = "this profile requires TLS: set a configuration with `Builder::tls` (feature `tls`)";
            return Err(invalid_input(text.to_owned()));
        }
        Ok((self.address(), self.settings))
    }

    fn address(&self) -> Address {
        if !self.listens {
            return Address::None;
        }
        #[cfg(unix)]
        if let Some(path) = &self.unix_path {
            return Address::Unix(path.clone());
        }
        Address::Tcp(SocketAddr::new(self.ip, self.port))
    }
}

fn invalid_input(text: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, text)
}
