//! Builds the service.

use std::time::Duration;

use opendal_core::raw::{normalize_root, signed_duration_to_duration};
use opendal_core::{Builder, Error, ErrorKind, Result};
use remcache::config::Credentials;
use remcache::recipes::OnUnavailable;
use remcache::{Client, Config};

use crate::MemcachedConfig;
use crate::core::{Core, configuration_error};
use crate::service::MemcachedService;

/// Builds a memcached service for an [`Operator`](opendal_core::Operator).
///
/// See the [crate] for what happens while the cache is unavailable.
#[derive(Clone, Debug)]
pub struct Memcached {
    config: MemcachedConfig,
    client: Option<Client>,
    on_unavailable: OnUnavailable,
}

impl Default for Memcached {
    fn default() -> Self {
        Self::with_config(MemcachedConfig::default())
    }
}

impl Memcached {
    /// Creates a builder without servers: see [`endpoint`](Memcached::endpoint) and [`client`](Memcached::client).
    pub fn new() -> Self {
        Self::default()
    }

    pub(crate) fn with_config(config: MemcachedConfig) -> Self {
        Self { config, client: None, on_unavailable: OnUnavailable::FailClosed }
    }

    /// Sets the servers: `host:port`, a comma-separated list, or a URL of [`remcache::Config::from_url`], such as
    /// `memcacheds://cache1,cache2/?timeout=250ms`. `tcp://`, `tls://` and `unix://` are accepted too.
    #[must_use]
    pub fn endpoint(mut self, endpoint: impl Into<String>) -> Self {
        self.config.endpoint = Some(endpoint.into());
        self
    }

    /// Uses a client instead of an endpoint, for settings that have no option here, or to share its connections.
    #[must_use]
    pub fn client(self, client: &Client) -> Self {
        Self { client: Some(client.clone()), ..self }
    }

    /// Sets the working directory (default: `/`).
    #[must_use]
    pub fn root(mut self, root: impl Into<String>) -> Self {
        self.config.root = Some(root.into());
        self
    }

    /// Sets user and password, for servers that require them. Without TLS they are sent unencrypted.
    #[must_use]
    pub fn credentials(mut self, username: impl Into<String>, password: impl Into<String>) -> Self {
        self.config.username = Some(username.into());
        self.config.password = Some(password.into());
        self
    }

    /// Sets the TTL of objects (default: until they are evicted).
    #[must_use]
    pub fn default_ttl(mut self, ttl: Duration) -> Self {
        self.config.default_ttl = ttl.try_into().ok();
        self
    }

    /// Sets the time limit of an operation (default: 1 s); for an object in several chunks, the time between two
    /// chunks.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.config.timeout = timeout.try_into().ok();
        self
    }

    /// Sets the length, in bytes, from which objects are stored in several items (default: 512 KiB). It must be some
    /// hundred bytes below the item size limit of the servers.
    #[must_use]
    pub fn chunk_size(mut self, bytes: usize) -> Self {
        self.config.chunk_size = Some(bytes);
        self
    }

    /// Sets a PEM file with the certificate authorities for TLS (default: those of the system).
    #[must_use]
    pub fn ca_file(mut self, path: impl Into<String>) -> Self {
        self.config.ca_file = Some(path.into());
        self
    }

    /// Sets the behaviour while the cache is unavailable (default: [`FailClosed`](OnUnavailable::FailClosed),
    /// operations fail with a temporary error).
    ///
    /// With [`FailOpen`](OnUnavailable::FailOpen) nothing is found, and writes and deletes are dropped.
    #[must_use]
    pub fn on_unavailable(self, on_unavailable: OnUnavailable) -> Self {
        Self { on_unavailable, ..self }
    }
}

impl Builder for Memcached {
    type Config = MemcachedConfig;

    fn build(self) -> Result<impl opendal_core::raw::Service> {
        let ttl = self.config.default_ttl.map(signed_duration_to_duration).transpose()?;
        let root = normalize_root(self.config.root.as_deref().unwrap_or("/"));
        let chunk_size = self.config.chunk_size.unwrap_or(512 << 10);
        let client = match self.client {
            Some(client) => client,
            None => connect(self.config)?,
        };
        Ok(MemcachedService::new(Core::new(&client, ttl, chunk_size, self.on_unavailable), &root))
    }
}

/// Creates a client for the configured servers.
fn connect(config: MemcachedConfig) -> Result<Client> {
    let no_endpoint = || Error::new(ErrorKind::ConfigInvalid, "no endpoint: set the addresses of the servers");
    let endpoint = config.endpoint.filter(|endpoint| !endpoint.is_empty()).ok_or_else(no_endpoint)?;
    let mut settings = Config::new();
    if let Some(timeout) = config.timeout {
        let timeout = signed_duration_to_duration(timeout)?;
        settings = settings.timeout(timeout).connect_timeout(timeout);
    }
    settings = settings.server(&server_url(&endpoint)).map_err(configuration_error)?;
    match (config.username, config.password) {
        (Some(username), Some(password)) => settings = settings.credentials(Credentials::new(username, password)),
        (None, None) => {}
        _ => {
            let text = "username and password belong together: set both, or neither";
            return Err(Error::new(ErrorKind::ConfigInvalid, text));
        }
    }
    if let Some(file) = config.ca_file {
        settings = with_ca_file(settings, file)?;
    }
    Client::from_config(settings).map_err(configuration_error)
}

/// Translates an endpoint of OpenDAL's own service to a URL of remcache.
fn server_url(endpoint: &str) -> String {
    match endpoint.split_once("://") {
        Some(("tcp", servers)) => servers.to_owned(),
        Some(("tls", servers)) => format!("memcacheds://{servers}"),
        _ => endpoint.to_owned(),
    }
}

#[cfg(feature = "tls")]
#[expect(clippy::unnecessary_wraps, reason = "without the feature it fails")]
fn with_ca_file(settings: Config, file: String) -> Result<Config> {
    Ok(settings.tls(remcache::transport::Tls::with_roots_file(file)))
}

#[cfg(not(feature = "tls"))]
fn with_ca_file(_: Config, _: String) -> Result<Config> {
    Err(Error::new(ErrorKind::ConfigInvalid, "ca_file needs remcache-opendal's feature `tls`"))
}
