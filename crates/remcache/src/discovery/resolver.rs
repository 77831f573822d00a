//! DNS records with their time to live, asked anew for each look.

use std::net::SocketAddr;
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig};
use hickory_resolver::lookup::Lookup;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::{Name, RecordType};
use tokio::time::timeout;

use super::Failure;

/// Whom to ask, how long to wait, how often to ask again.
#[derive(Clone, Debug)]
pub(crate) struct Terms {
    pub(crate) nameserver: Option<SocketAddr>,
    pub(crate) timeout: Duration,
    pub(crate) interval: (Duration, Duration),
}

impl Default for Terms {
    fn default() -> Self {
        Self {
            nameserver: None,
            timeout: Duration::from_secs(5),
            interval: (Duration::from_secs(5), Duration::from_secs(60)),
        }
    }
}

impl Terms {
    /// The interval that records of this time to live ask for.
    pub(crate) fn interval_of(&self, ttl: Option<Duration>) -> Duration {
        let (least, most) = self.interval;
        ttl.unwrap_or(most).min(most).max(least).max(LEAST_INTERVAL)
    }

    /// Asks within the time limit.
    pub(crate) async fn ask<T>(
        &self,
        questions: impl AsyncFnOnce(&TokioResolver) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let resolver = self.resolver()?;
        let limit = self.timeout;
        timeout(limit, questions(&resolver)).await.map_err(|_| format!("no answer within {limit:?}"))?
    }

    /// A resolver without memory: the settings of the system are read anew, and nothing is cached.
    fn resolver(&self) -> Result<TokioResolver, Failure> {
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

/// The records of a name, or `None` if the name server says that there are none.
///
/// Everything else is a failure: an answer that is not there must not look like one without records.
pub(crate) async fn records(
    resolver: &TokioResolver,
    name: &Name,
    kind: RecordType,
) -> Result<Option<Lookup>, Failure> {
    match resolver.lookup(name.clone(), kind).await {
        Ok(lookup) => Ok(Some(lookup)),
        Err(error) if error.is_no_records_found() => Ok(None),
        Err(error) => Err(format!("{kind} records: {error}").into()),
    }
}

/// The shortest time to live of an answer.
pub(crate) fn ttl(lookup: &Lookup) -> Option<Duration> {
    lookup.answers().iter().map(|record| Duration::from_secs(record.ttl.into())).min()
}

/// Below this the name server would be asked all the time.
const LEAST_INTERVAL: Duration = Duration::from_millis(10);
