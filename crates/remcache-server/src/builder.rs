//! How a server is ordered.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use crate::clock::{Clock, ManualClock};
use crate::door::Address;
use crate::login::User;
use crate::server::Server;
use crate::state::Settings;
use crate::store::Limits;

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
        let limits = Limits { memory: 64 << 20, item_size: 1 << 20, evicts: true, cas: true, flush: true };
        Self {
            ip: Ipv4Addr::LOCALHOST.into(),
            port: 0,
            #[cfg(unix)]
            unix_path: None,
            settings: Settings {
                limits,
                version: "1.6.18".to_owned(),
                clock: Clock::System,
                users: Vec::new(),
                max_connections: 1024,
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

    /// The version that the server tells; 1.6.18 by default, because it behaves like that one.
    pub fn version(mut self, version: impl Into<String>) -> Self {
        self.settings.version = version.into();
        self
    }

    /// The clock by which items expire and later flushes happen; the system's by default.
    pub fn clock(mut self, clock: &ManualClock) -> Self {
        self.settings.clock = Clock::Manual(clock.clone());
        self
    }

    /// A user. With at least one, clients have to authenticate by SASL's PLAIN mechanism, as with
    /// memcached's `-S`.
    pub fn user(mut self, name: impl Into<String>, password: impl Into<String>) -> Self {
        self.settings.users.push(User { name: name.into(), password: password.into() });
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
