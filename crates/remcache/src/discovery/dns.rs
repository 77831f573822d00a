//! DNS sources: address records and SRV records.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::lookup::Lookup;
use hickory_resolver::proto::rr::rdata::SRV;
use hickory_resolver::proto::rr::{Name, RData, RecordType};

use super::resolver::{ResolverSettings, records, ttl};
use super::{Discover, DiscoverError};

/// Source that lists the A and AAAA records of a name; each address is a server.
///
/// **The address is the server's identity in the ring.** A server that comes back as `10.0.0.9:11211` instead
/// of `10.0.0.7:11211` is a different server. Use [`Srv`] where servers have names that outlive their
/// addresses.
///
/// Both address families are queried. If one query fails, the lookup fails, because the list would be
/// incomplete. Addresses are sorted, because name servers rotate them.
///
/// ```
/// use remcache::{Config, discovery};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # use remcache_testkit::dns::{A, Answer, NameServer, addresses};
/// # let name_server = NameServer::start().await;
/// # name_server.answer(A, Answer::Records(addresses(&["127.0.0.1"])));
/// // The trailing dot prevents a search through the system's domains.
/// let source = discovery::Dns::new("memcached.service.local.", 11211);
/// # let source = source.nameserver(name_server.address());
/// let (client, _subscription) = discovery::connect(source, Config::new()).await?;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Dns {
    name: String,
    port: u16,
    resolver_settings: ResolverSettings,
    ttl: Option<Duration>,
}

/// Source that lists the SRV records of a service; each target is a server with its name, port and weight.
///
/// **The target's name is the server's identity in the ring**, so it keeps its keys when its address
/// changes. Only targets with the lowest priority number are used (RFC 2782): a ring has no concept of the
/// fallbacks. A weight of 0 counts as 1, and equal weights count as unweighted. Records are sorted,
/// because name servers rotate them.
///
/// ```
/// use remcache::{Config, discovery};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # use remcache_testkit::dns::{Answer, NameServer, SRV, service};
/// # let name_server = NameServer::start().await;
/// # name_server.answer(SRV, Answer::Records(vec![service(0, 1, 11211, "cache1.example.com")]));
/// let source = discovery::Srv::new("_memcache._tcp.example.com.");
/// # let source = source.nameserver(name_server.address());
/// let (client, _subscription) = discovery::connect(source, Config::new()).await?;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Srv {
    name: String,
    resolver_settings: ResolverSettings,
    ttl: Option<Duration>,
}

impl Dns {
    /// Creates a source of the addresses of this name, all with this port.
    pub fn new(name: impl Into<String>, port: u16) -> Self {
        Self { name: name.into(), port, resolver_settings: ResolverSettings::default(), ttl: None }
    }
}

impl Srv {
    /// Creates a source of the targets of this service, such as `_memcache._tcp.example.com.`.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), resolver_settings: ResolverSettings::default(), ttl: None }
    }
}

macro_rules! settings {
    ($($source:ident)*) => {$(
        impl $source {
            /// Sets the name server to query (default: those of the system, with its hosts file).
            #[must_use]
            pub fn nameserver(mut self, address: SocketAddr) -> Self {
                self.resolver_settings.nameserver = Some(address);
                self
            }

            /// Bounds the polling interval, which is the records' TTL (default: 5 s to 60 s).
            #[must_use]
            pub fn interval_between(mut self, least: Duration, most: Duration) -> Self {
                self.resolver_settings.interval = (least, most);
                self
            }

            /// Sets the time limit of a lookup, for all its queries together (default: 5 s).
            #[must_use]
            pub fn timeout(mut self, timeout: Duration) -> Self {
                self.resolver_settings.timeout = timeout;
                self
            }
        }

        impl fmt::Debug for $source {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_tuple(stringify!($source)).field(&self.name).finish()
            }
        }
    )*};
}

settings! { Dns Srv }

impl Discover for Dns {
    fn name(&self) -> String {
        format!("DNS name {}", self.name)
    }

    fn interval(&self) -> Duration {
        self.resolver_settings.interval_of(self.ttl)
    }

    async fn fetch_servers(&mut self) -> Result<Option<Vec<String>>, DiscoverError> {
        let name = Name::from_utf8(&self.name)?;
        let found = self.resolver_settings.query(async |resolver| both_families(resolver, name).await).await?;
        if found.is_empty() {
            return Err("no A or AAAA records".into());
        }
        self.ttl = found.iter().filter_map(ttl).min();
        let mut addresses: Vec<IpAddr> = found.iter().flat_map(addresses).collect();
        addresses.sort_unstable();
        Ok(Some(addresses.iter().map(|ip| SocketAddr::new(*ip, self.port).to_string()).collect()))
    }
}

impl Discover for Srv {
    fn name(&self) -> String {
        format!("DNS service {}", self.name)
    }

    fn interval(&self) -> Duration {
        self.resolver_settings.interval_of(self.ttl)
    }

    async fn fetch_servers(&mut self) -> Result<Option<Vec<String>>, DiscoverError> {
        let name = Name::from_utf8(&self.name)?;
        let found =
            self.resolver_settings.query(async |resolver| records(resolver, &name, RecordType::SRV).await).await?;
        let found = found.ok_or("no SRV records")?;
        self.ttl = ttl(&found);
        let services: Vec<&SRV> = found.answers().iter().filter_map(|record| service(&record.data)).collect();
        Ok(Some(targets(&services)?))
    }
}

/// Looks up the address records of a name, by the same fully qualified name in both families.
///
/// The search through the system's domains may find a name in one family and fail in the other: the name found
/// in one family is used for the other.
async fn both_families(resolver: &TokioResolver, name: Name) -> Result<Vec<Lookup>, DiscoverError> {
    let mut found: Vec<Lookup> = records(resolver, &name, RecordType::A).await?.into_iter().collect();
    let full = found.first().map_or(name, |lookup| lookup.query().name().clone());
    if let Some(v6) = records(resolver, &full, RecordType::AAAA).await? {
        if found.is_empty() {
            found.extend(records(resolver, v6.query().name(), RecordType::A).await?);
        }
        found.push(v6);
    }
    Ok(found)
}

fn addresses(lookup: &Lookup) -> impl Iterator<Item = IpAddr> {
    lookup.answers().iter().filter_map(|record| match record.data {
        RData::A(address) => Some(IpAddr::V4(address.0)),
        RData::AAAA(address) => Some(IpAddr::V6(address.0)),
        _ => None,
    })
}

fn service(data: &RData) -> Option<&SRV> {
    match data {
        RData::SRV(service) => Some(service),
        _ => None,
    }
}

/// Returns the targets with the lowest priority number as sorted addresses.
fn targets(services: &[&SRV]) -> Result<Vec<String>, DiscoverError> {
    let best = services.iter().map(|service| service.priority).min().ok_or("it has no SRV records")?;
    let mut best: Vec<&SRV> = services.iter().copied().filter(|service| service.priority == best).collect();
    if best.iter().any(|service| service.target.is_root()) {
        return Err("the target is the root domain: no such service".into());
    }
    best.sort_by_cached_key(|service| (host(service), service.port, service.weight));
    let first = best.first().map(|service| service.weight);
    let weighted = best.iter().any(|service| Some(service.weight) != first);
    Ok(best.iter().map(|service| address(service, weighted)).collect())
}

fn address(service: &SRV, weighted: bool) -> String {
    match weighted {
        true => format!("{}:{}:{}", host(service), service.port, service.weight.max(1)),
        false => format!("{}:{}", host(service), service.port),
    }
}

/// Normalizes a target's name for the ring: lower case, without the trailing dot.
fn host(service: &SRV) -> String {
    service.target.to_ascii().trim_end_matches('.').to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn targets_of(services: &[(u16, u16, u16, &str)]) -> Result<Vec<String>, DiscoverError> {
        let name = |text: &str| Name::from_utf8(text).unwrap();
        let services: Vec<SRV> = services.iter().map(|&(p, w, port, to)| SRV::new(p, w, port, name(to))).collect();
        targets(&services.iter().collect::<Vec<_>>())
    }

    #[test]
    fn targets_are_names_with_ports_and_weights_sorted() {
        let rotated = [(0, 2, 11212, "B.example."), (0, 0, 11211, "b.example."), (0, 1, 11211, "a.example.")];
        assert_eq!(targets_of(&rotated).unwrap(), ["a.example:11211:1", "b.example:11211:1", "b.example:11212:2"]);
    }

    #[test]
    fn equal_weights_are_none() {
        // Kubernetes divides 100 among the servers, so the weight changes with their number.
        assert_eq!(targets_of(&[(0, 33, 1, "b."), (0, 33, 1, "a.")]).unwrap(), ["a:1", "b:1"]);
        assert_eq!(targets_of(&[(0, 0, 1, "a.")]).unwrap(), ["a:1"]);
    }

    #[test]
    fn the_lowest_priority_number_counts() {
        assert_eq!(targets_of(&[(10, 0, 1, "spare."), (5, 0, 1, "a.")]).unwrap(), ["a:1"]);
    }

    #[test]
    fn no_service_is_a_failure() {
        assert!(targets_of(&[(0, 0, 0, ".")]).unwrap_err().to_string().contains("no such service"));
        assert!(targets_of(&[]).is_err());
    }

    #[test]
    fn the_interval_is_the_time_to_live_within_bounds() {
        let source = |ttl: Option<u64>| Dns { ttl: ttl.map(Duration::from_secs), ..Dns::new("a.", 1) };
        for (ttl, seconds) in [(None, 60), (Some(0), 5), (Some(30), 30), (Some(86_400), 60)] {
            assert_eq!(source(ttl).interval(), Duration::from_secs(seconds), "{ttl:?}");
        }
    }
}
