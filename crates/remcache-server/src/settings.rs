//! The settings of a server.

use std::fmt;

use crate::clock::Clock;
use crate::cluster::ClusterConfig;
use crate::profile::Restrictions;
use crate::store::Limits;
use crate::version::Version;

/// The settings of a server, as the builder leaves them.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) limits: Limits,
    pub(crate) version: Version,
    pub(crate) clock: Clock,
    pub(crate) sasl_users: Vec<User>,
    pub(crate) text_users: Vec<User>,
    pub(crate) max_connections: usize,
    binding_protocol: BindingProtocol,
    pub(crate) permissions: Permissions,
    /// Whether `stats sizes` counts items by size.
    pub(crate) track_sizes: bool,
    pub(crate) cluster: Option<ClusterConfig>,
    pub(crate) restrictions: Restrictions,
    #[cfg(feature = "tls")]
    pub(crate) tls: Option<std::sync::Arc<tokio_rustls::rustls::ServerConfig>>,
}

/// The protocols that a server speaks, as memcached's `-B` option.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum BindingProtocol {
    /// The first byte of each connection selects the protocol: 0x80 is binary, anything else is text.
    #[default]
    Auto,
    /// The binary protocol only: a connection that starts with another byte is closed without a reply.
    Binary,
    /// The text protocol only, classic and meta commands: binary packets are read as invalid lines.
    Text,
}

/// Optional commands that text clients may use.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Permissions {
    pub(crate) shutdown: bool,
    pub(crate) dumps: bool,
    pub(crate) watch: bool,
    /// Whether `mgdump` exists, regardless of the version.
    pub(crate) mgdump: bool,
}

/// A user name with its password.
#[derive(Clone)]
pub(crate) struct User {
    pub(crate) name: String,
    pub(crate) password: String,
}

impl Default for Settings {
    /// Returns the settings of a memcached that was started without options.
    fn default() -> Self {
        let limits = Limits {
            memory: 64 << 20,
            item_size: 1 << 20,
            evictions: true,
            cas: true,
            flush: true,
            flush_consumes_cas: true,
        };
        Self {
            limits,
            version: Version::new("1.6.18"),
            clock: Clock::System,
            sasl_users: Vec::new(),
            text_users: Vec::new(),
            max_connections: 1024,
            binding_protocol: BindingProtocol::Auto,
            permissions: Permissions { shutdown: false, dumps: true, watch: true, mgdump: false },
            track_sizes: false,
            cluster: None,
            restrictions: Restrictions::default(),
            #[cfg(feature = "tls")]
            tls: None,
        }
    }
}

impl Settings {
    pub(crate) fn set_binding_protocol(&mut self, protocol: BindingProtocol) {
        self.binding_protocol = protocol;
    }

    /// Returns the protocols that are spoken. Authentication exists in one protocol only, so a server with users
    /// speaks no other.
    pub(crate) fn binding_protocol(&self) -> BindingProtocol {
        match (self.sasl_users.is_empty(), self.text_users.is_empty()) {
            (false, _) => BindingProtocol::Binary,
            (true, false) => BindingProtocol::Text,
            (true, true) => self.binding_protocol,
        }
    }
}

#[cfg(feature = "tls")]
impl Settings {
    pub(crate) fn has_tls(&self) -> bool {
        self.tls.is_some()
    }
}

#[cfg(not(feature = "tls"))]
impl Settings {
    #[expect(clippy::unused_self, reason = "as with the feature `tls`")]
    pub(crate) fn has_tls(&self) -> bool {
        false
    }
}

impl User {
    pub(crate) fn new(name: impl Into<String>, password: impl Into<String>) -> Self {
        Self { name: name.into(), password: password.into() }
    }

    pub(crate) fn has_credentials(&self, name: &[u8], password: &[u8]) -> bool {
        self.name.as_bytes() == name && self.password.as_bytes() == password
    }
}

impl fmt::Debug for User {
    // Passwords must not reach logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("User").field("name", &self.name).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_output_hides_passwords() {
        assert!(!format!("{:?}", User::new("bob", "secret")).contains("secret"));
    }
}
