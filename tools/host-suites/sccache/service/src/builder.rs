//! The builder, with the methods that sccache calls.

use std::time::Duration;

use opendal_core::raw::Service;
use opendal_core::{Builder, Configurator, Error, ErrorKind, OperatorUri, Result};
use opendal_core_059::Operator;
use serde::{Deserialize, Serialize};

use crate::service::MemcachedService;

/// The configuration, for the registry of services; sccache uses the [builder](Memcached) alone.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct MemcachedConfig {}

impl Configurator for MemcachedConfig {
    type Builder = Memcached;

    fn from_uri(_: &OperatorUri) -> Result<Self> {
        Err(Error::new(ErrorKind::Unsupported, "configure the service with its builder"))
    }

    fn into_builder(self) -> Memcached {
        Memcached::default()
    }
}

/// Builds the service.
#[derive(Clone, Debug, Default)]
pub struct Memcached {
    inner: remcache_opendal::Memcached,
    root: String,
    username: String,
}

impl Memcached {
    /// Sets the servers.
    #[must_use]
    pub fn endpoint(self, endpoint: &str) -> Self {
        Self { inner: self.inner.endpoint(endpoint), ..self }
    }

    /// Sets the working directory.
    #[must_use]
    pub fn root(self, root: &str) -> Self {
        Self { inner: self.inner.root(root), root: root.to_owned(), ..self }
    }

    /// Sets the user; the password follows.
    #[must_use]
    pub fn username(self, username: &str) -> Self {
        Self { username: username.to_owned(), ..self }
    }

    /// Sets the password of the user.
    #[must_use]
    pub fn password(self, password: &str) -> Self {
        Self { inner: self.inner.credentials(&self.username, password), ..self }
    }

    /// Sets how long written contents are kept; for sccache, zero means forever.
    #[must_use]
    pub fn default_ttl(self, ttl: Duration) -> Self {
        if ttl.is_zero() { self } else { Self { inner: self.inner.default_ttl(ttl), ..self } }
    }
}

impl Builder for Memcached {
    type Config = MemcachedConfig;

    fn build(self) -> Result<impl Service> {
        let operator =
            Operator::new(self.inner).map_err(|error| Error::new(ErrorKind::ConfigInvalid, error.to_string()))?;
        Ok(MemcachedService::new(operator, &self.root))
    }
}
