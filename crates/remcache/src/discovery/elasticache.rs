//! The configuration endpoint of ElastiCache, and of services that speak like it, as a source.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::cluster_config::{ClusterConfig, Decoded, ITEM, decode};
use super::{Discover, Failure};
use crate::config::Config;
use crate::config::address::Endpoint;
use crate::error::Error;
use crate::transport::TransportSettings;
use crate::transport::{Connect, Stream};

/// The configuration endpoint of an ElastiCache or Memorystore cluster: the address with `.cfg.` in it.
///
/// It is asked `config get cluster` in text (docs/protocol.md 5.3), each time on a connection of its
/// own, so that the endpoint's name is resolved anew. Engines before 1.4.14 are asked for the item
/// `AmazonElastiCache:cluster` instead. A node's identity is its host name, whatever address the
/// endpoint tells beside it.
///
/// The endpoint numbers its lists. A list with a lower number than one seen before is not used: it is
/// a node's that has not heard of the change yet, and the look counts as failed.
///
/// ```no_run
/// use remcache::{Config, discovery};
///
/// # async fn f() -> Result<(), Box<dyn std::error::Error>> {
/// let source = discovery::ElastiCache::new("fleet.x1y2z3.cfg.use1.cache.amazonaws.com:11211")?;
/// let (client, _following) = discovery::connect(source, Config::new()).await?;
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct ElastiCache {
    endpoint: Endpoint,
    interval: Duration,
    timeout: Duration,
    connector: Arc<dyn Connect>,
    settings: TransportSettings,
    /// The highest version seen.
    version: u64,
}

impl ElastiCache {
    /// A source of this endpoint: `host` or `host:port`.
    ///
    /// # Errors
    /// [`ErrorKind::Config`](crate::error::ErrorKind::Config) if the address is malformed.
    pub fn new(endpoint: &str) -> Result<Self, Error> {
        let Config { connector, transport: settings, .. } = Config::new();
        Ok(Self {
            endpoint: Endpoint::parse(endpoint)?,
            interval: Duration::from_secs(60),
            timeout: Duration::from_secs(5),
            connector,
            settings,
            version: 0,
        })
    }

    /// How often the endpoint is asked (default: every 60 s), a tenth more or less.
    #[must_use]
    pub fn interval(self, interval: Duration) -> Self {
        Self { interval, ..self }
    }

    /// How long an answer may take, connecting included (default: 5 s).
    #[must_use]
    pub fn timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    /// What opens the connection (default: TCP and Unix sockets).
    #[must_use]
    pub fn connector(self, connector: impl Connect) -> Self {
        Self { connector: Arc::new(connector), ..self }
    }

    async fn ask(&self) -> Result<ClusterConfig, Failure> {
        let mut stream = self.connector.connect(&self.endpoint.address, &self.settings).await?;
        let answer = match exchange(&mut stream, "config get cluster").await? {
            Decoded::Unknown => exchange(&mut stream, &format!("get {ITEM}")).await?,
            other => other,
        };
        match answer {
            Decoded::Config(config) => Ok(config),
            _ => Err(format!(
                "it is no configuration endpoint: it knows neither `config get cluster` nor the item {ITEM}; \
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
        self.interval.max(LEAST_INTERVAL)
    }

    async fn look(&mut self) -> Result<Option<Vec<String>>, Failure> {
        let limit = self.timeout;
        let config = timeout(limit, self.ask()).await.map_err(|_| format!("no answer within {limit:?}"))??;
        if config.version < self.version {
            return Err(
                format!("its list has version {}, older than {} seen before", config.version, self.version).into()
            );
        }
        if !config.addresses.is_empty() {
            self.version = config.version;
        }
        Ok(Some(config.addresses))
    }
}

/// One command and its answer, which `decode` bounds.
async fn exchange(stream: &mut Box<dyn Stream>, command: &str) -> Result<Decoded, Failure> {
    stream.write_all(format!("{command}\r\n").as_bytes()).await?;
    stream.flush().await?;
    let mut input = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        let length = stream.read(&mut chunk).await?;
        if length == 0 {
            return Err("it closed the connection before its answer was whole".into());
        }
        input.extend_from_slice(&chunk[..length]);
        match decode(&input)? {
            Decoded::Partial => {}
            decoded => return Ok(decoded),
        }
    }
}

/// Below this the endpoint would be asked all the time.
const LEAST_INTERVAL: Duration = Duration::from_millis(10);
