//! Source that polls the configuration endpoint of ElastiCache and compatible services.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::cluster_config::{ClusterConfig, Decoded, ITEM, decode};
use super::{Discover, DiscoverError};
use crate::address::Endpoint;
use crate::config::Config;
use crate::error::Error;
use crate::transport::tls::Tls;
use crate::transport::{Connect, Stream, TransportSettings};

/// Source for the configuration endpoint of an ElastiCache or Memorystore cluster: the address with `.cfg.` in it.
///
/// Sends `config get cluster` (docs/protocol.md 4.10) on a new connection each time, so that the endpoint's name is
/// resolved again. On engines before 1.4.14 the item `AmazonElastiCache:cluster` is fetched instead. A node is
/// identified by its host name. The IP address that the endpoint reports is used by placements that [hash
/// it](crate::distribution::Distribution::needs_ip), such as those of Java clients, and ignored by others.
///
/// Connections to the endpoint use the client's TLS, connector and socket settings.
///
/// The endpoint numbers its configurations. A lower number than before comes from a node that has not received the
/// latest change; such a configuration is not used, and the lookup fails.
///
/// ```
/// use remcache::{Config, discovery};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # use remcache_server::{ClusterNode, Server};
/// # let server = Server::start().await?;
/// # server.set_cluster(1, [ClusterNode::new("", "127.0.0.1", server.port())]);
/// # let endpoint = server.address();
/// // For example fleet.x1y2z3.cfg.use1.cache.amazonaws.com:11211.
/// let source = discovery::ElastiCache::new(&endpoint)?;
/// let (client, _subscription) = discovery::connect(source, Config::new()).await?;
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct ElastiCache {
    endpoint: Endpoint,
    interval: Duration,
    timeout: Duration,
    /// The connector, if it is not the client's.
    connector: Option<Arc<dyn Connect>>,
    client: ClientSettings,
    /// The highest version seen.
    version: u64,
}

/// The settings of the client that the source uses.
#[derive(Clone, Debug)]
struct ClientSettings {
    connector: Arc<dyn Connect>,
    transport: TransportSettings,
    tls: Option<Tls>,
    needs_ip: bool,
}

impl From<&Config> for ClientSettings {
    fn from(config: &Config) -> Self {
        Self {
            connector: Arc::clone(&config.connector),
            transport: config.transport,
            tls: config.tls.clone(),
            needs_ip: config.distribution.needs_ip(),
        }
    }
}

impl ElastiCache {
    /// Creates a source for this endpoint: `host` or `host:port`.
    ///
    /// # Errors
    /// [`ErrorKind::Config`](crate::error::ErrorKind::Config) if the address is malformed.
    pub fn new(endpoint: &str) -> Result<Self, Error> {
        Ok(Self {
            endpoint: Endpoint::parse(endpoint)?,
            interval: Duration::from_secs(60),
            timeout: Duration::from_secs(5),
            connector: None,
            client: ClientSettings::from(&Config::new()),
            version: 0,
        })
    }

    /// Sets the polling interval (default: 60 s), with 10 % jitter.
    #[must_use]
    pub fn interval(self, interval: Duration) -> Self {
        Self { interval, ..self }
    }

    /// Sets the time limit of a lookup, including the connect (default: 5 s).
    #[must_use]
    pub fn timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    /// Sets the connector (default: the client's).
    #[must_use]
    pub fn connector(self, connector: impl Connect) -> Self {
        Self { connector: Some(Arc::new(connector)), ..self }
    }

    async fn open(&self) -> Result<Box<dyn Stream>, DiscoverError> {
        let connector = self.connector.as_ref().unwrap_or(&self.client.connector);
        let stream = connector.connect(&self.endpoint.address, &self.client.transport).await?;
        match &self.client.tls {
            None => Ok(stream),
            Some(tls) => {
                Ok(tls.connect(stream, &self.endpoint.address).await.map_err(|failure| failure.reason().to_owned())?)
            }
        }
    }

    async fn request_config(&self) -> Result<ClusterConfig, DiscoverError> {
        let mut stream = self.open().await?;
        let answer = match exchange(&mut stream, "config get cluster").await? {
            Decoded::Unknown => exchange(&mut stream, &format!("get {ITEM}")).await?,
            other => other,
        };
        match answer {
            Decoded::Config(config) => Ok(config),
            _ => Err(format!(
                "not a configuration endpoint: it supports neither `config get cluster` nor the item {ITEM}; \
                 give the cluster's configuration endpoint, or list its nodes"
            )
            .into()),
        }
    }
}

impl Discover for ElastiCache {
    fn name(&self) -> String {
        format!("configuration endpoint {}", self.endpoint.name)
    }

    fn interval(&self) -> Duration {
        self.interval.max(MIN_INTERVAL)
    }

    fn configure(&mut self, config: &Config) {
        self.client = ClientSettings::from(config);
    }

    async fn fetch_servers(&mut self) -> Result<Option<Vec<String>>, DiscoverError> {
        let limit = self.timeout;
        let config =
            timeout(limit, self.request_config()).await.map_err(|_| format!("no reply within {limit:?}"))??;
        if config.version < self.version {
            return Err(
                format!("configuration version {} is older than {} seen before", config.version, self.version).into()
            );
        }
        if !config.nodes.is_empty() {
            self.version = config.version;
        }
        let needs_ip = self.client.needs_ip;
        Ok(Some(config.nodes.iter().map(|node| node.address(needs_ip)).collect()))
    }
}

/// Sends one command and reads its reply, which `decode` bounds.
async fn exchange(stream: &mut Box<dyn Stream>, command: &str) -> Result<Decoded, DiscoverError> {
    stream.write_all(format!("{command}\r\n").as_bytes()).await?;
    stream.flush().await?;
    let mut input = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        let length = stream.read(&mut chunk).await?;
        if length == 0 {
            return Err("connection closed before the reply was complete".into());
        }
        input.extend_from_slice(&chunk[..length]);
        match decode(&input)? {
            Decoded::Partial => {}
            decoded => return Ok(decoded),
        }
    }
}

/// Minimum polling interval.
const MIN_INTERVAL: Duration = Duration::from_millis(10);
