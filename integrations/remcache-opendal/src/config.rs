//! The serializable configuration.

use std::fmt;

use opendal_core::raw::SignedDuration;
use opendal_core::{Configurator, OperatorUri, Result};
use serde::{Deserialize, Serialize};

use crate::Memcached;

/// Configuration of the service, for maps, files and URIs. [`Memcached`] has the same options as methods.
#[derive(Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
#[non_exhaustive]
pub struct MemcachedConfig {
    /// Servers: see [`Memcached::endpoint`].
    pub endpoint: Option<String>,
    /// Working directory (default: `/`).
    pub root: Option<String>,
    /// User, for servers that require one.
    pub username: Option<String>,
    /// Password of the user.
    pub password: Option<String>,
    /// TTL of objects, as in `1h` (default: until they are evicted).
    pub default_ttl: Option<SignedDuration>,
    /// Time limit of an operation, as in `250ms` (default: 1 s).
    pub timeout: Option<SignedDuration>,
    /// Length, in bytes, from which objects are stored in several items (default: 512 KiB).
    pub chunk_size: Option<usize>,
    /// PEM file with the certificate authorities for TLS (default: those of the system).
    pub ca_file: Option<String>,
}

impl Configurator for MemcachedConfig {
    type Builder = Memcached;

    fn from_uri(uri: &OperatorUri) -> Result<Self> {
        let mut options = uri.options().clone();
        if let Some(authority) = uri.authority() {
            options.insert("endpoint".to_owned(), authority.to_owned());
        }
        if let Some(root) = uri.root().filter(|root| !root.is_empty()) {
            options.insert("root".to_owned(), root.to_owned());
        }
        Self::from_iter(options)
    }

    fn into_builder(self) -> Memcached {
        Memcached::with_config(self)
    }
}

impl fmt::Debug for MemcachedConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The endpoint may contain a password.
        f.debug_struct("MemcachedConfig")
            .field("root", &self.root)
            .field("username", &self.username)
            .field("default_ttl", &self.default_ttl)
            .field("timeout", &self.timeout)
            .field("chunk_size", &self.chunk_size)
            .field("ca_file", &self.ca_file)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uri_has_servers_root_and_options() {
        let options = [("timeout".to_owned(), "250ms".to_owned()), ("chunk_size".to_owned(), "1000".to_owned())];
        let uri = OperatorUri::new("memcached://cache1:11211/app/builds", options).unwrap();
        let config = MemcachedConfig::from_uri(&uri).unwrap();
        assert_eq!(config.endpoint.as_deref(), Some("cache1:11211"));
        assert_eq!(config.root.as_deref(), Some("app/builds"));
        assert_eq!((config.timeout, config.chunk_size), (Some(SignedDuration::from_millis(250)), Some(1000)));
    }

    #[test]
    fn passwords_are_not_printed() {
        let config = MemcachedConfig {
            endpoint: Some("memcached://user:secret@cache1".to_owned()),
            password: Some("secret".to_owned()),
            ..MemcachedConfig::default()
        };
        assert!(!format!("{config:?} {:?}", config.clone().into_builder()).contains("secret"));
    }
}
