//! Uncached DNS lookups that return records with their TTL.

use std::net::SocketAddr;
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig};
use hickory_resolver::lookup::Lookup;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::{Name, RecordType};
use tokio::time::timeout;

use super::DiscoverError;

/// DNS lookup settings: name server, time limit and polling bounds.
#[derive(Clone, Debug)]
pub(crate) struct ResolverSettings {
    pub(crate) nameserver: Option<SocketAddr>,
    pub(crate) timeout: Duration,
    pub(crate) interval: (Duration, Duration),
}

impl Default for ResolverSettings {
    fn default() -> Self {
        Self {
            nameserver: None,
            timeout: Duration::from_secs(5),
            interval: (Duration::from_secs(5), Duration::from_secs(60)),
        }
    }
}

impl ResolverSettings {
    /// Returns the polling interval for records with this TTL.
    pub(crate) fn interval_of(&self, ttl: Option<Duration>) -> Duration {
        let (least, most) = self.interval;
        ttl.unwrap_or(most).min(most).max(least).max(MIN_INTERVAL)
    }

    /// Runs queries within the time limit.
    pub(crate) async fn query<T>(
        &self,
        questions: impl AsyncFnOnce(&TokioResolver) -> Result<T, DiscoverError>,
    ) -> Result<T, DiscoverError> {
        let resolver = self.resolver()?;
        let limit = self.timeout;
        timeout(limit, questions(&resolver)).await.map_err(|_| format!("no reply within {limit:?}"))?
    }

    /// Creates a resolver without a cache from the current system settings.
    fn resolver(&self) -> Result<TokioResolver, DiscoverError> {
        let mut builder = match self.nameserver {
            None => TokioResolver::builder_tokio()?,
            Some(address) => {
                let mut connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()];
                connections.iter_mut().for_each(|connection| connection.port = address.port());
                let server = NameServerConfig::new(address.ip(), true, connections.to_vec());
                let config = ResolverConfig::from_parts(None, Vec::new(), vec![server]);
                TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
            }
        };
        let options = builder.options_mut();
        // Two tries fit into the time limit.
        options.timeout = options.timeout.min(self.timeout / 2);
        Ok(builder.build()?)
    }
}

/// Returns the records of a name, or `None` if the name server reports that none exist.
///
/// Everything else is a failure: a missing reply must not look like an empty one.
pub(crate) async fn records(
    resolver: &TokioResolver,
    name: &Name,
    kind: RecordType,
) -> Result<Option<Lookup>, DiscoverError> {
    match resolver.lookup(name.clone(), kind).await {
        Ok(lookup) => Ok(Some(lookup)),
        Err(error) if error.is_no_records_found() => Ok(None),
        Err(error) => Err(format!("{kind} records: {error}").into()),
    }
}

/// Returns the minimum TTL of a reply.
pub(crate) fn ttl(lookup: &Lookup) -> Option<Duration> {
    lookup.answers().iter().map(|record| Duration::from_secs(record.ttl.into())).min()
}

/// Minimum polling interval.
const MIN_INTERVAL: Duration = Duration::from_millis(10);
