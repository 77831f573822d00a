//! Sources as URLs: `dns+…`, `dnssrv+…`, `elasticache+…`.

use std::time::Duration;

use super::list::List;
use super::watcher::fetch_list;
use super::{Discover, DiscoverError, ElastiCache, Subscription, connect, failed};
#[cfg(feature = "dns")]
use super::{Dns, Srv};
#[cfg(feature = "dns")]
use crate::address::Address;
use crate::address::Endpoint;
use crate::client::Client;
use crate::config::Config;
use crate::error::Error;

/// A source of server lists that a URL specifies.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum UrlSource {
    /// `dns+`: the addresses of a name.
    #[cfg(feature = "dns")]
    Dns(Dns),
    /// `dnssrv+`: the targets of a service.
    #[cfg(feature = "dns")]
    Srv(Srv),
    /// `elasticache+`: the nodes that a configuration endpoint lists.
    ElastiCache(ElastiCache),
}

impl UrlSource {
    /// Parses a URL whose scheme names a source; `None` if it names none.
    ///
    /// The rest of the URL is applied to the settings, and the server in it is the name to look up.
    ///
    /// # Errors
    /// Same as [`Config::server`], and [`ErrorKind::Config`](crate::error::ErrorKind::Config) if the URL does not have
    /// exactly one server.
    pub fn parse(url: &str, config: Config) -> Result<Option<(Self, Config)>, Error> {
        let Some((kind, rest)) = split(url) else { return Ok(None) };
        let others = config.servers.len();
        let mut config = config.server(rest)?;
        let added = config.servers.split_off(others);
        let [endpoint] = <[Endpoint; 1]>::try_from(added)
            .map_err(|_| Error::config(format!("{kind}+ looks up one name: expected {kind}+memcached://name:port")))?;
        Ok(Some((Self::new(kind, &endpoint)?, config)))
    }

    fn new(kind: &str, endpoint: &Endpoint) -> Result<Self, Error> {
        match kind {
            #[cfg(feature = "dns")]
            "dns" | "dnssrv" => match &endpoint.address {
                Address::Tcp { host, port } if kind == "dns" => Ok(Self::Dns(Dns::new(host, *port))),
                Address::Tcp { host, .. } => Ok(Self::Srv(Srv::new(host))),
                Address::Unix(path) => {
                    Err(Error::config(format!("{kind}+ looks up a name, and {} is a socket", path.display())))
                }
            },
            "elasticache" => Ok(Self::ElastiCache(ElastiCache::new(&endpoint.name)?)),
            _ => Err(Error::config(format!(
                "{kind}+ looks servers up by DNS, which this program was built without: turn on the feature `dns` of remcache"
            ))),
        }
    }
}

impl Discover for UrlSource {
    fn name(&self) -> String {
        match self {
            #[cfg(feature = "dns")]
            Self::Dns(source) => source.name(),
            #[cfg(feature = "dns")]
            Self::Srv(source) => source.name(),
            Self::ElastiCache(source) => source.name(),
        }
    }

    fn interval(&self) -> Duration {
        match self {
            #[cfg(feature = "dns")]
            Self::Dns(source) => source.interval(),
            #[cfg(feature = "dns")]
            Self::Srv(source) => source.interval(),
            Self::ElastiCache(source) => source.interval(),
        }
    }

    fn configure(&mut self, config: &Config) {
        match self {
            #[cfg(feature = "dns")]
            Self::Dns(source) => source.configure(config),
            #[cfg(feature = "dns")]
            Self::Srv(source) => source.configure(config),
            Self::ElastiCache(source) => source.configure(config),
        }
    }

    async fn fetch_servers(&mut self) -> Result<Option<Vec<String>>, DiscoverError> {
        match self {
            #[cfg(feature = "dns")]
            Self::Dns(source) => source.fetch_servers().await,
            #[cfg(feature = "dns")]
            Self::Srv(source) => source.fetch_servers().await,
            Self::ElastiCache(source) => source.fetch_servers().await,
        }
    }
}

/// Connects a client to the servers of a URL whose scheme names a source, and keeps it up to date.
///
/// The settings are the defaults with the options of the URL; to start from other settings, use [`UrlSource::parse`]
/// and [`connect`].
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # use remcache_server::{ClusterNode, Server};
/// # let server = Server::start().await?;
/// # server.set_cluster(1, [ClusterNode::new("", "127.0.0.1", server.port())]);
/// # let endpoint = server.address();
/// // An endpoint such as fleet.x1y2z3.cfg.use1.cache.amazonaws.com:11211.
/// let url = format!("elasticache+memcached://{endpoint}/?timeout=10s");
/// let (client, _subscription) = remcache::discovery::connect_url(&url).await?;
/// # Ok(()) }
/// ```
///
/// # Errors
/// Same as [`connect`], and [`ErrorKind::Config`](crate::error::ErrorKind::Config) if the URL names no source.
///
/// # Cancel safety
/// Same as [`connect`].
pub async fn connect_url(url: &str) -> Result<(Client, Subscription), Error> {
    match UrlSource::parse(url, Config::new())? {
        Some((source, config)) => connect(source, config).await,
        None => Err(Error::config("the URL names no source: expected dns+, dnssrv+ or elasticache+ before its scheme")),
    }
}

/// Looks up the servers of a URL once, and returns the URL with the servers in place of the name.
///
/// A URL without a source is returned unchanged. The settings and the URL's options apply to the connection to a
/// configuration endpoint.
///
/// # Errors
/// Same as [`connect_url`]; a failed lookup is not retried.
///
/// # Cancel safety
/// The lookup is cancelled.
pub async fn resolve_url(url: &str, config: Config) -> Result<String, Error> {
    let Some((mut source, config)) = UrlSource::parse(url, config)? else { return Ok(url.to_owned()) };
    source.configure(&config);
    let list = fetch_list(&mut source).await?.ok_or_else(|| failed(&source, "the source has no list"))?;
    Ok(with_servers(url, &list))
}

/// Returns the URL without its source, with these servers.
fn with_servers(url: &str, list: &List) -> String {
    let rest = split(url).map_or(url, |(_, rest)| rest);
    // A slash before an address would begin the namespace.
    let servers: Vec<String> = list.addresses.iter().map(|address| address.replace('/', "%2F")).collect();
    let servers = servers.join(",");
    let Some((scheme, rest)) = rest.split_once("://") else { return format!("memcached://{servers}") };
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let user_info = authority.rfind('@').map_or("", |at| authority.get(..=at).unwrap_or_default());
    format!("{scheme}://{user_info}{servers}{path}")
}

/// Returns the kind of source, and the rest of the URL.
fn split(url: &str) -> Option<(&str, &str)> {
    let (kind, rest) = url.trim().split_once('+')?;
    KINDS.contains(&kind).then_some((kind, rest))
}

const KINDS: &[&str] = &["dns", "dnssrv", "elasticache"];

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> Result<Option<(UrlSource, Config)>, Error> {
        UrlSource::parse(url, Config::new())
    }

    #[test]
    fn the_scheme_names_the_source_and_the_rest_the_settings() {
        let (source, config) =
            parse("elasticache+memcached://bob:secret@fleet.cfg:7/shop?timeout=2s").unwrap().unwrap();
        assert_eq!(source.name(), "configuration endpoint fleet.cfg:7");
        assert!(config.servers.is_empty() && config.credentials.is_some());
        assert_eq!((config.namespace.as_slice(), config.timeout), (&b"shop"[..], Duration::from_secs(2)));
        assert_eq!(parse("elasticache+fleet.cfg:7").unwrap().unwrap().0.name(), "configuration endpoint fleet.cfg:7");
        assert!(parse("memcached://bob:a+b@host").unwrap().is_none());
        assert!(parse("localhost").unwrap().is_none());
    }

    #[cfg(feature = "dns")]
    #[test]
    fn names_are_looked_up_by_dns() {
        let name = |url| parse(url).unwrap().unwrap().0.name();
        assert_eq!(name("dns+memcached://cache.example.:7/shop"), "DNS name cache.example.");
        assert_eq!(name("dns+cache.example:7"), "DNS name cache.example");
        assert_eq!(name("dnssrv+memcached://_memcache._tcp.example"), "DNS service _memcache._tcp.example");
        assert!(parse("dns+unix:///run/a.sock").unwrap_err().to_string().contains("socket"));
    }

    #[test]
    fn one_name_is_looked_up() {
        for url in ["elasticache+memcached://a,b", "elasticache+a,b"] {
            let error = parse(url).unwrap_err().to_string();
            assert!(error.contains("one name"), "{url}: {error}");
        }
    }

    #[cfg(not(feature = "dns"))]
    #[test]
    fn without_dns_the_feature_is_named() {
        assert!(parse("dns+memcached://a").unwrap_err().to_string().contains("feature `dns`"));
    }

    #[test]
    fn the_servers_replace_the_name() {
        let list = List::check(vec!["a:1".to_owned(), "b/10.0.0.2:2".to_owned()]).unwrap();
        for (url, expected) in [
            ("dns+memcached://name:7/shop?timeout=2s", "memcached://a:1,b%2F10.0.0.2:2/shop?timeout=2s"),
            (
                "elasticache+memcacheds://bob:s%40@name?timeout=2s",
                "memcacheds://bob:s%40@a:1,b%2F10.0.0.2:2?timeout=2s",
            ),
            ("dns+name:7", "memcached://a:1,b%2F10.0.0.2:2"),
        ] {
            let resolved = with_servers(url, &list);
            assert_eq!(resolved, expected, "{url}");
            if cfg!(feature = "tls") || !resolved.starts_with("memcacheds:") {
                assert_eq!(Config::from_url(&resolved).unwrap().servers, list.endpoints, "{url}");
            }
        }
    }
}
