//! Server addresses and URLs, as people write them.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::Config;
use super::credentials::Credentials;
use crate::distribution::{Distribution, Node};
use crate::error::Error;
use crate::policy::{Failover, Hedge, Retries};
use crate::transport::tls::Tls;

/// The port of a server whose address names none.
const DEFAULT_PORT: u16 = 11211;

/// One server as it was configured. Its name is its identity in the ring, whatever it resolves to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Endpoint {
    /// The address as errors and lists show it: `host:port`, `[v6]:port` or a path.
    pub name: Arc<str>,
    /// How to reach it.
    pub address: Address,
    /// Its share of the keys, against those of the others.
    pub weight: u32,
    /// What the ring hashes in place of its address, if it was given a name there.
    pub ring_name: Option<Arc<str>>,
    /// The address that some rings hash in addition to the name; connections still resolve the name.
    pub ip: Option<IpAddr>,
}

/// How a server is reached.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Address {
    /// A host, by name or number, and a port.
    Tcp {
        /// The host; an IPv6 address without brackets.
        host: String,
        /// The port.
        port: u16,
    },
    /// A Unix socket.
    Unix(PathBuf),
}

impl Endpoint {
    fn new(address: Address, weight: u32) -> Self {
        Self { name: address.to_string().into(), address, weight, ring_name: None, ip: None }
    }

    /// Parses one address: `host`, `host:port`, `host:port:weight`, `[v6]:port`, `v6`, `/path/to.sock`,
    /// `unix:/path/to.sock`, `tcp://…`, `unix://…`.
    ///
    /// An IPv6 address without brackets has no port. What follows the last colon of a socket's path is
    /// a weight if it is a number; in a `unix://` URL such a colon is written `%3A`.
    ///
    /// A name for the ring stands before it, `name=host:port`; an address that the ring hashes in addition to the
    /// host stands behind the host, `host/10.0.0.1:port`: see
    /// [`Node`].
    ///
    /// # Errors
    /// [`ErrorKind::Config`](crate::error::ErrorKind::Config) that names the address and what is wrong.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let text = text.trim();
        if has_credentials(text) {
            return Err(misplaced_credentials());
        }
        let bad = |what: &str| Error::config(format!("server address {text:?}: {what}"));
        if text.is_empty() {
            return Err(bad("it is empty; expected host, host:port, [v6]:port or /path/to.sock"));
        }
        if let Some((name, address)) = text.split_once('=').filter(|(name, _)| !name.contains('/')) {
            let ring_name = Some(name.into());
            return match name {
                "" => Err(bad("the name before = is empty; expected name=host:port")),
                _ => Ok(Self { ring_name, ..Self::parse(address)? }),
            };
        }
        let endpoint = match (text.strip_prefix("unix://"), text.strip_prefix("unix:")) {
            (Some(url), _) => unix(url, true),
            // As other clients' settings have it.
            (None, Some(path)) => unix(path, false),
            _ if text.starts_with('/') => unix(text, false),
            _ => tcp(text.strip_prefix("tcp://").unwrap_or(text)),
        };
        endpoint.map_err(|what| bad(&what))
    }
}

/// A socket's path, with a weight behind it; in a URL the path is percent-encoded.
fn unix(text: &str, is_url: bool) -> Result<Endpoint, String> {
    let (path, weight) = match text.rsplit_once(':') {
        Some((path, weight)) if is_number(weight) => (path, parse_weight(weight)?),
        _ => (text, 1),
    };
    let path = if is_url { decoded_text(path)? } else { path.to_owned() };
    match path.starts_with('/') {
        true => Ok(Endpoint::new(Address::Unix(path.into()), weight)),
        false => Err("the path of a Unix socket begins with /".into()),
    }
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn tcp(text: &str) -> Result<Endpoint, String> {
    let (host, rest) = match text.split_once('/') {
        Some((host, text)) => return tcp_with_ip(host, text),
        None => split_host(text)?,
    };
    check_host(host)?;
    let mut parts = rest.iter().copied();
    let port = parts.next().map_or(Ok(DEFAULT_PORT), parse_port)?;
    let weight = parts.next().map_or(Ok(1), parse_weight)?;
    match parts.next() {
        Some(_) => Err("too many colons; write an IPv6 address in brackets: [::1]:11211".into()),
        None => Ok(Endpoint::new(Address::Tcp { host: host.to_owned(), port }, weight)),
    }
}

/// Refuses what no resolver knows: a typing error here would be a server that is always down.
///
/// Beyond letters, digits and hyphens there are names with an underscore, in the files of containers, and in
/// other scripts, which resolvers translate.
fn check_host(host: &str) -> Result<(), String> {
    if host.is_empty() {
        return Err("the host is empty".into());
    }
    if ipv6(host).is_some() {
        return Ok(());
    }
    let refused = |what: &str| Err(format!("invalid host name {host:?}: {what}"));
    let is_of_a_name = |c: char| match c.is_ascii() {
        true => c.is_ascii_alphanumeric() || "-_.".contains(c),
        false => !c.is_whitespace() && !c.is_control(),
    };
    if let Some(letter) = host.chars().find(|&c| !is_of_a_name(c)) {
        return refused(&format!("it has a {letter:?}"));
    }
    // A dot at the end marks a complete name.
    let name = host.strip_suffix('.').unwrap_or(host);
    if name.split('.').any(str::is_empty) {
        return refused("it has an empty label");
    }
    // In other scripts it is the translation that counts.
    let is_too_long = |label: &str| label.is_ascii() && label.len() > LONGEST_LABEL;
    match host.len() > LONGEST_HOST || name.split('.').any(is_too_long) {
        true => refused("it is too long"),
        false => Ok(()),
    }
}

/// The text, if it is an IPv6 address: with a zone perhaps, as in `fe80::1%eth0`.
fn ipv6(text: &str) -> Option<&str> {
    let (address, zone) = text.split_once('%').map_or((text, None), |(address, zone)| (address, Some(zone)));
    let is_zone = |zone: &str| !zone.is_empty() && zone.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
    let is_valid = address.parse::<std::net::Ipv6Addr>().is_ok() && zone.is_none_or(is_zone);
    is_valid.then_some(text)
}

/// What DNS has room for.
const LONGEST_HOST: usize = 253;
const LONGEST_LABEL: usize = 63;

/// A host with its address: `host/ip:port`, as Java prints them.
fn tcp_with_ip(host: &str, text: &str) -> Result<Endpoint, String> {
    let (ip, rest) = split_host(text)?;
    let ip: IpAddr = ip.parse().map_err(|_| {
        format!("invalid IP address {ip:?}: expected host/ip:port; a Unix socket is written unix:/path or /path")
    })?;
    let endpoint = tcp(&[&[host][..], &rest].concat().join(":"))?;
    Ok(Endpoint { ip: Some(ip), ..endpoint })
}

/// The host, and what stands behind it between colons.
fn split_host(text: &str) -> Result<(&str, Vec<&str>), String> {
    if let Some(inner) = text.strip_prefix('[') {
        let (host, rest) = inner.split_once(']').ok_or("the bracket is not closed")?;
        ipv6(host).ok_or_else(|| format!("invalid IPv6 address {host:?}"))?;
        return match rest.strip_prefix(':') {
            Some(rest) => Ok((host, rest.split(':').collect())),
            None if rest.is_empty() => Ok((host, Vec::new())),
            None => Err(format!("{rest:?} behind the bracket; expected :port")),
        };
    }
    // No host with a port and a weight is an IPv6 address as well.
    if let Some(host) = ipv6(text) {
        return Ok((host, Vec::new()));
    }
    if text.contains("::") {
        return Err("invalid IPv6 address; with a port write it in brackets: [::1]:11211".into());
    }
    let mut parts = text.split(':');
    let host = parts.next().unwrap_or_default();
    Ok((host, parts.collect()))
}

fn parse_port(text: &str) -> Result<u16, String> {
    match text.parse() {
        Ok(port) if port > 0 => Ok(port),
        _ => Err(format!("invalid port {text:?}: expected 1 to 65535")),
    }
}

fn parse_weight(text: &str) -> Result<u32, String> {
    match text.parse() {
        Ok(weight) if weight > 0 => Ok(weight),
        _ => Err(format!("invalid weight {text:?}: expected a number from 1")),
    }
}

impl From<&Endpoint> for Node {
    /// The server as a ring sees it.
    fn from(endpoint: &Endpoint) -> Self {
        let mut node = match &endpoint.address {
            Address::Tcp { host, port } => Self::tcp(host.clone(), *port),
            Address::Unix(path) => Self::unix(path.display().to_string()),
        };
        node.weight = endpoint.weight;
        node.ring_name = endpoint.ring_name.as_deref().map(str::to_owned);
        node.ip = endpoint.ip;
        node
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}

/// What one text may name: servers, and with a URL a namespace and options.
#[derive(Debug, Default)]
pub(crate) struct Target {
    pub(crate) servers: Vec<Endpoint>,
    pub(crate) namespace: Option<Vec<u8>>,
    pub(crate) options: Vec<(String, String)>,
    pub(crate) tls: Option<Tls>,
    pub(crate) credentials: Option<Credentials>,
}

impl Target {
    pub(crate) fn parse(text: &str) -> Result<Self, Error> {
        let text = text.trim();
        let Some((scheme, rest)) = text.split_once("://") else { return Self::parse_list(text) };
        match scheme {
            "memcached" | "memcache" => Self::parse_url(rest),
            "memcacheds" | "memcaches" => Ok(Self { tls: Some(system_tls()?), ..Self::parse_url(rest)? }),
            "tcp" | "unix" => match text.split_once('?') {
                Some((servers, query)) => Ok(Self { options: options(query)?, ..Self::parse_list(servers)? }),
                None => Self::parse_list(text),
            },
            // A list whose first address has no scheme.
            _ if scheme.contains([',', '=']) => Self::parse_list(text),
            _ => Err(Error::config(format!(
                "unknown scheme {scheme:?}: expected memcached, memcacheds, tcp or unix, or an address such as host:11211"
            ))),
        }
    }

    fn parse_list(text: &str) -> Result<Self, Error> {
        if text.split(',').any(has_credentials) {
            return Err(misplaced_credentials());
        }
        Ok(Self { servers: list(text)?, ..Self::default() })
    }

    fn parse_url(rest: &str) -> Result<Self, Error> {
        let (before, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, namespace) = before.split_once('/').unwrap_or((before, ""));
        // What follows is not quoted, as it may be a part of a password.
        if namespace.contains('@') || query.contains('@') {
            return Err(Error::config(
                "an @ behind the hosts of a URL: in a user or password write / as %2F, ? as %3F and @ as %40",
            ));
        }
        let (credentials, hosts) = match authority.rsplit_once('@') {
            Some((user_info, hosts)) => (Some(parse_user_info(user_info)?), hosts),
            None => (None, authority),
        };
        if hosts.is_empty() && !namespace.is_empty() {
            return Err(Error::config(
                "a URL without a host; for a Unix socket write unix:///path/to.sock?timeout=1s, or memcached://%2Fpath%2Fto.sock/namespace",
            ));
        }
        let in_namespace = |what| Error::config(format!("the namespace of the URL: {what}"));
        Ok(Self {
            servers: hosts.split(',').map(host_of_url).collect::<Result<_, _>>()?,
            namespace: match namespace {
                "" => None,
                encoded => Some(percent_decoded(encoded).ok_or_else(|| in_namespace(BAD_PERCENT))?),
            },
            options: options(query)?,
            tls: None,
            credentials,
        })
    }
}

/// A server in a URL: percent-encoded, so that a socket's path may stand there.
fn host_of_url(text: &str) -> Result<Endpoint, Error> {
    let decoded = decoded_text(text).map_err(|what| Error::config(format!("server address {text:?}: {what}")))?;
    match decoded.strip_prefix('/') {
        // In the path a colon is percent-encoded; the one before a weight is not.
        Some(_) => unix(text, true).map_err(|what| Error::config(format!("server address {text:?}: {what}"))),
        None => Endpoint::parse(&decoded),
    }
}

/// The options behind the `?` of a URL, percent-decoded.
fn options(query: &str) -> Result<Vec<(String, String)>, Error> {
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    let options = pairs.map(|pair| {
        let bad = |what: &str| Error::config(format!("URL option {pair:?}: {what}"));
        let (name, value) = pair.split_once('=').ok_or_else(|| bad("expected name=value"))?;
        Ok((decoded_text(name).map_err(|what| bad(&what))?, decoded_text(value).map_err(|what| bad(&what))?))
    });
    options.collect()
}

#[cfg(feature = "tls")]
#[expect(clippy::unnecessary_wraps, reason = "without the feature it cannot fail")]
fn system_tls() -> Result<Tls, Error> {
    Ok(Tls::with_system_roots())
}

#[cfg(not(feature = "tls"))]
fn system_tls() -> Result<Tls, Error> {
    Err(Error::config(
        "memcacheds:// is TLS, which this program was built without: turn on the feature `tls` of remcache",
    ))
}

/// Whether an address that is not a URL has a user before its host; such an address is never shown.
fn has_credentials(address: &str) -> bool {
    let address = address.trim();
    let is_path = address.starts_with('/') || address.starts_with("unix://");
    address.contains('@') && !is_path
}

fn misplaced_credentials() -> Error {
    Error::config("a user and a password belong into a URL: memcached://user:password@host, or memcacheds:// for TLS")
}

/// Reads `user:password`; errors do not show them.
fn parse_user_info(text: &str) -> Result<Credentials, Error> {
    let Some((user, password)) = text.split_once(':') else {
        return Err(Error::config("a user without a password in a URL: write user:password@host"));
    };
    if text.contains('@') {
        return Err(Error::config("a URL has one user and password, for all its servers: in them write @ as %40"));
    }
    match (percent_decoded(user), percent_decoded(password)) {
        (Some(user), Some(password)) => Ok(Credentials::new(user, password)),
        _ => Err(Error::config(format!("the user or password of the URL: {BAD_PERCENT}"))),
    }
}

const BAD_PERCENT: &str = "a % must be followed by two hexadecimal digits; write % itself as %25";

/// The text that percent-encoded text stands for.
fn decoded_text(text: &str) -> Result<String, String> {
    let decoded = percent_decoded(text).ok_or(BAD_PERCENT)?;
    String::from_utf8(decoded).map_err(|_| "the percent-encoded bytes are not UTF-8".into())
}

/// The bytes that a text stands for; `None` if a `%` has no two hexadecimal digits behind it.
fn percent_decoded(text: &str) -> Option<Vec<u8>> {
    // With its whole length from the start: what a growing vector leaves behind is not overwritten.
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'%' => hexadecimal(bytes.next()?)? << 4 | hexadecimal(bytes.next()?)?,
            byte => byte,
        });
    }
    Some(decoded)
}

fn hexadecimal(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

fn list(text: &str) -> Result<Vec<Endpoint>, Error> {
    text.split(',').map(Endpoint::parse).collect()
}

type Apply = fn(Config, &str) -> Result<Config, String>;

/// The options that a URL may have, each with what it sets.
const OPTIONS: &[(&str, Apply)] = &[
    ("namespace", |config, value| Ok(config.namespace(value))),
    ("timeout", |config, value| Ok(config.timeout(parse_duration(value)?))),
    ("connect_timeout", |config, value| Ok(config.connect_timeout(parse_duration(value)?))),
    ("connections", |config, value| Ok(config.connections(parse_count(value)?))),
    ("distribution", |config, value| {
        let chosen: Distribution = value.parse().map_err(|unknown| format!("{unknown}"))?;
        // In either order with the options that adjust it.
        let chosen = chosen.adjusted_as(config.distribution);
        Ok(config.distribution(chosen))
    }),
    ("hash", |config, value| {
        let chosen = config.distribution.hash(value.parse().map_err(|unknown| format!("{unknown}"))?);
        Ok(config.distribution(chosen))
    }),
    ("hash_tag", |config, value| {
        let tag = value.as_bytes().try_into().map_err(|_| "expected two characters such as {}")?;
        let chosen = config.distribution.hash_tag(tag);
        Ok(config.distribution(chosen))
    }),
    ("protocol", |config, value| Ok(config.protocol(value.parse().map_err(|unknown| format!("{unknown}"))?))),
    ("max_value_size", |config, value| Ok(config.max_value_size(parse_count(value)?))),
    ("max_in_flight", |config, value| Ok(config.max_in_flight(parse_count(value)?))),
    ("max_output", |config, value| Ok(config.max_output(parse_count(value)?))),
    ("breaker", |config, value| Ok(config.breaker(parse_number(value)?))),
    ("failover", |config, value| Ok(Config { failover: parse_failover(value)?, ..config })),
    ("gutter", |config, value| Ok(config.failover(Failover::gutter(parse_spares(value)?)))),
    ("failover_ttl", |config, value| {
        let cap = parse_duration(value)?;
        match config.failover {
            Failover::None => Err("there is no failover: add failover=next or gutter=host,host".into()),
            ref failover => Ok(Config { failover: failover.clone().ttl_cap(cap), ..config }),
        }
    }),
    ("retries", |config, value| {
        let attempts = parse_number(value)?;
        Ok(Config { retries: Retries { attempts, ..config.retries }, ..config })
    }),
    ("retry_timeout", |config, value| {
        let retries = config.retries.attempt_timeout(parse_duration(value)?);
        Ok(config.retries(retries))
    }),
    ("replicas", |config, value| Ok(config.replicas(parse_count(value)?))),
    ("hedge", |config, value| Ok(config.hedge(Hedge::after(parse_duration(value)?)))),
];

/// Applies the options of a URL, those first on which others depend.
pub(crate) fn apply_all(config: Config, mut options: Vec<(String, String)>) -> Result<Config, Error> {
    options.sort_by_key(|(name, _)| OPTIONS.iter().position(|(known, _)| known == name));
    options.into_iter().try_fold(config, |config, (name, value)| apply(config, &name, &value))
}

fn apply(config: Config, name: &str, value: &str) -> Result<Config, Error> {
    let Some((_, apply)) = OPTIONS.iter().find(|(known, _)| *known == name) else {
        let known: Vec<_> = OPTIONS.iter().map(|(known, _)| *known).collect();
        return Err(Error::config(format!("unknown URL option {name:?}; known are {}", known.join(", "))));
    };
    apply(config, value).map_err(|what| Error::config(format!("URL option {name}={value}: {what}")))
}

fn parse_failover(text: &str) -> Result<Failover, String> {
    match text {
        "none" => Ok(Failover::None),
        "next" => Ok(Failover::next()),
        "gutter" => Ok(Failover::gutter([""; 0])),
        _ => Err("expected none, next or gutter".into()),
    }
}

fn parse_spares(text: &str) -> Result<Vec<String>, String> {
    let spares = list(text).map_err(|error| error.to_string())?;
    Ok(spares.iter().map(|spare| format!("{}:{}", spare.name, spare.weight)).collect())
}

/// A number that may be 0, where that means never.
fn parse_number(text: &str) -> Result<u32, String> {
    text.parse().map_err(|_| "expected a number".into())
}

fn parse_count(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(count) if count > 0 => Ok(count),
        _ => Err("expected a number from 1".into()),
    }
}

/// Units of a duration, each with its nanoseconds.
const UNITS: &[(&str, f64)] =
    &[("ns", 1.0), ("us", 1e3), ("µs", 1e3), ("ms", 1e6), ("s", 1e9), ("m", 60e9), ("h", 3600e9), ("d", 86400e9)];

/// Reads `250ms`, `1.5s`, `2h`.
fn parse_duration(text: &str) -> Result<Duration, String> {
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let factor = UNITS.iter().find(|(known, _)| *known == unit).map(|(_, factor)| *factor);
    match (number.parse::<f64>(), factor) {
        (Ok(number), Some(factor)) if number > 0.0 && number * factor < 1e18 => {
            Ok(Duration::from_secs_f64(number * factor / 1e9))
        }
        (Ok(number), None) if number > 0.0 && unit.is_empty() => {
            Err(format!("a duration needs a unit: write {text}s for seconds or {text}ms for milliseconds"))
        }
        _ => Err("expected a duration above zero such as 250ms, 1.5s or 2h".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG_LABEL: &str = "a-name-of-more-than-63-bytes-for-which-dns-has-no-room-in-any-label.example";

    #[test]
    fn addresses_as_people_write_them() {
        let cases = [
            ("localhost", "localhost:11211", 1),
            (" cache1 ", "cache1:11211", 1),
            ("cache1:11212", "cache1:11212", 1),
            ("cache1:11212:5", "cache1:11212", 5),
            ("my_cache-1.prod.example.:1", "my_cache-1.prod.example.:1", 1),
            ("bücher.example:1", "bücher.example:1", 1),
            ("कैश.example", "कैश.example:11211", 1),
            ("xn--bcher-kva.example", "xn--bcher-kva.example:11211", 1),
            ("10.0.0.1:1", "10.0.0.1:1", 1),
            ("[::1]", "[::1]:11211", 1),
            ("[::1]:11212:3", "[::1]:11212", 3),
            ("::1", "[::1]:11211", 1),
            ("::", "[::]:11211", 1),
            ("1::2", "[1::2]:11211", 1),
            ("::ffff:10.0.0.1", "[::ffff:10.0.0.1]:11211", 1),
            ("fe80::1%eth0", "[fe80::1%eth0]:11211", 1),
            ("[fe80::1%eth0.7]:1", "[fe80::1%eth0.7]:1", 1),
            ("unix:/p.sock", "/p.sock", 1),
            ("unix:/p.sock:3", "/p.sock", 3),
            ("/run/a:b.sock", "/run/a:b.sock", 1),
            ("/run/100%.sock", "/run/100%.sock", 1),
            ("unix:///run/a%3A7", "/run/a:7", 1),
            ("unix:///run/a%3a7:2", "/run/a:7", 2),
            ("fe80::1:2:3", "[fe80::1:2:3]:11211", 1),
            ("tcp://cache1:7", "cache1:7", 1),
            ("/run/cache.sock", "/run/cache.sock", 1),
            ("unix:///run/cache.sock:2", "/run/cache.sock", 2),
        ];
        for (text, name, weight) in cases {
            let endpoint = Endpoint::parse(text).unwrap();
            assert_eq!((&*endpoint.name, endpoint.weight), (name, weight), "{text}");
        }
    }

    #[test]
    fn what_is_no_address_is_named() {
        let cases = [
            ("", "empty"),
            ("cache1:", "port"),
            ("cache1:0", "port"),
            ("cache1:65536", "port"),
            ("cache1:x", "port"),
            ("cache1:1:0", "weight"),
            ("cache1:1:2:3", "colons"),
            ("a b:1", "host"),
            (":11211", "host"),
            ("<html>", "it has a '<'"),
            ("<!DOCTYPE html>", "it has a '<'"),
            ("{\"servers\":[]}", "it has a"),
            ("$CACHE_HOST:11211", "it has a '$'"),
            ("cache1;cache2", "it has a ';'"),
            ("cache1\u{a0}:1", "it has a"),
            ("cache..example", "an empty label"),
            (".", "an empty label"),
            (LONG_LABEL, "too long"),
            ("=a:1", "name before ="),
            ("cache1/nonsense:1", "IP address"),
            ("::1:11211", "[::1]:11211"),
            ("fe80::1%", "IPv6"),
            ("fe80::1%eth 0", "IPv6"),
            ("[fe80::1%]:1", "IPv6"),
            ("unix:relative", "begins with /"),
            ("unix:///run/%zz", "two hexadecimal digits"),
            ("[::1", "bracket"),
            ("[nonsense]:1", "IPv6"),
            ("unix://relative", "begins with /"),
            ("http://cache1", "scheme"),
            ("a,,b", "empty"),
        ];
        for (text, word) in cases {
            let error = Target::parse(text).unwrap_err();
            assert!(error.to_string().contains(word), "{text:?}: {error}");
        }
    }

    #[test]
    fn a_url_with_a_user_and_a_password() {
        for (text, user, password, host) in [
            ("memcached://bob:secret@a", "bob", "secret", "a:11211"),
            ("memcached://b%6Fb:s%3a%40%2f%25@a:7/shop", "bob", "s:@/%", "a:7"),
            ("memcached://bob:with:colon,and%00@[::1]:7/?timeout=1s", "bob", "with:colon,and\0", "[::1]:7"),
            ("memcached://bob:@a", "bob", "", "a:11211"),
        ] {
            let target = Target::parse(text).unwrap();
            assert!(target.credentials == Some(Credentials::new(user, password)), "{text}");
            assert_eq!(&*target.servers[0].name, host, "{text}");
        }
    }

    #[test]
    fn everything_in_a_url_is_percent_decoded() {
        for (text, name, namespace, timeout) in [
            ("memcached://h/my%3Ans%3a", "h:11211", "my:ns:", 1000),
            ("memcached://h/%00%ff%2F%40?timeout=5s", "h:11211", "\0\u{fffd}/@", 5000),
            ("memcached://h/?time%6Fut=%32s", "h:11211", "", 2000),
            ("memcached://%2Frun%2Fcache.sock/shop?timeout=2s", "/run/cache.sock", "shop", 2000),
            ("memcached://%2Frun%2Fa%3A7:3", "/run/a:7", "", 1000),
            ("memcached://[fe80::1%25eth0]:7/x", "[fe80::1%eth0]:7", "x", 1000),
            ("memcache://h:7/x", "h:7", "x", 1000),
            ("unix:///run/a.sock?timeout=2s&namespace=my%20shop", "/run/a.sock", "my shop", 2000),
            ("unix:///run/a%3F.sock:2", "/run/a?.sock", "", 1000),
            ("tcp://h:7?timeout=2s", "h:7", "", 2000),
        ] {
            let config = Config::from_url(text).unwrap();
            assert_eq!(&*config.servers[0].name, name, "{text}");
            assert_eq!(String::from_utf8_lossy(&config.namespace), namespace, "{text}");
            assert_eq!(config.timeout, Duration::from_millis(timeout), "{text}");
        }
        let weighted = Config::from_url("memcached://%2Frun%2Fa%3A7:3,b").unwrap();
        assert_eq!((weighted.servers[0].weight, &*weighted.servers[1].name), (3, "b:11211"));
        let braces = Config::from_url("memcached://h/?hash_tag=%7B%7D").unwrap();
        assert_eq!(braces.distribution, Config::from_url("memcached://h/?hash_tag={}").unwrap().distribution);
    }

    #[test]
    fn what_is_not_percent_encoded_is_named() {
        for (text, word) in [
            ("memcached://h/50%", "%25"),
            ("memcached://h/?hash_tag=%7", "%25"),
            ("memcached://h/?hash_tag=%ff%ff", "UTF-8"),
            ("memcached://h%/", "%25"),
            ("memcached:///run/cache.sock?timeout=1s", "unix:///"),
        ] {
            let error = Config::from_url(text).unwrap_err().to_string();
            assert!(error.contains(word), "{text}: {error}");
        }
    }

    #[test]
    fn what_is_no_user_and_password_is_named() {
        for (text, word) in [
            ("bob:secret@a", "URL"),
            ("tcp://bob:secret@a", "URL"),
            ("memcached://bob@a", "password"),
            ("memcached://bob:secret@a,bob:secret@b", "%40"),
            ("memcached://bob:sec/ret@a", "%2F"),
            ("memcached://bob:sec?ret@a", "%3F"),
            ("memcached://bob:100%@a", "%25"),
            ("memcached://bob:%+1@a", "%25"),
        ] {
            let error = Target::parse(text).unwrap_err().to_string();
            assert!(error.contains(word) && !error.contains("ret"), "{text}: {error}");
        }
    }

    #[test]
    fn tls_is_on_or_the_feature_is_named() {
        match Target::parse("memcacheds://a,b") {
            Ok(target) => assert!(cfg!(feature = "tls") && target.tls.is_some() && target.servers.len() == 2),
            Err(error) => assert!(!cfg!(feature = "tls") && error.to_string().contains("feature `tls`"), "{error}"),
        }
    }

    #[test]
    fn a_url_says_all_at_once() {
        let config =
            Config::from_url("memcached://a,b:11212,[::1]:3:4/shop?timeout=250ms&distribution=remcached&connections=2");
        let config = config.unwrap();
        let names: Vec<_> = config.servers.iter().map(|server| &*server.name).collect();
        assert_eq!(names, ["a:11211", "b:11212", "[::1]:3"]);
        assert_eq!(config.namespace, b"shop");
        assert_eq!((config.timeout, config.connections), (Duration::from_millis(250), 2));
    }

    #[test]
    fn a_ring_can_be_told_names_and_addresses() {
        let parse = |text| Endpoint::parse(text).unwrap();
        let named = parse("alpha=10.0.0.1:11212:3");
        assert_eq!((named.ring_name.as_deref(), &*named.name, named.weight), (Some("alpha"), "10.0.0.1:11212", 3));
        let socket = parse("beta=/run/cache=1.sock");
        assert_eq!((socket.ring_name.as_deref(), &*socket.name), (Some("beta"), "/run/cache=1.sock"));
        assert_eq!(parse("/run/cache=1.sock").ring_name, None);
        let resolved = parse("cache-a.example/10.0.1.1:11212:2");
        assert_eq!((&*resolved.name, resolved.weight), ("cache-a.example:11212", 2));
        assert_eq!(resolved.ip, Some([10, 0, 1, 1].into()));
        assert_eq!(parse("cache-a/[::1]").ip, Some(std::net::Ipv6Addr::LOCALHOST.into()));
    }

    #[test]
    fn a_url_adjusts_the_distribution_in_any_order() {
        let expected = Distribution::TWEMPROXY.hash(crate::distribution::Hash::Murmur).hash_tag(*b"{}");
        for query in
            ["distribution=twemproxy&hash=murmur&hash_tag={}", "hash_tag={}&hash=murmur&distribution=twemproxy"]
        {
            let config = Config::from_url(&format!("memcached://a/?{query}")).unwrap();
            assert_eq!(config.distribution, expected, "{query}");
        }
    }

    #[test]
    fn a_url_says_what_to_do_about_failures() {
        let config = Config::from_url(
            "memcached://a,b/?failover_ttl=5s&gutter=c,[::1]:3:4&retries=2&retry_timeout=100ms&replicas=2&hedge=10ms&breaker=0",
        );
        let config = config.unwrap();
        let seconds = Duration::from_secs(5);
        assert_eq!(config.failover, Failover::gutter(["c:11211:1", "[::1]:3:4"]).ttl_cap(seconds));
        assert_eq!(config.retries, Retries::up_to(2).attempt_timeout(Duration::from_millis(100)));
        assert_eq!((config.replicas, config.breaker), (2, 0));
        assert_eq!(config.hedge, Some(Hedge::after(Duration::from_millis(10))));
        let next = Config::from_url("memcached://a,b/?failover_ttl=5s&failover=next").unwrap();
        assert_eq!(next.failover, Failover::next().ttl_cap(seconds));
        assert!(Config::from_url("memcached://a/?failover=gutter").unwrap().check().is_err());
    }

    #[test]
    fn url_options_that_do_not_fit_are_named() {
        for (query, word) in [
            ("tiemout=1s", "tiemout"),
            ("timeout=0s", "duration"),
            ("timeout=5", "duration"),
            ("timeout=10", "write 10s"),
            ("hedge=1.5", "1.5ms"),
            ("timeout", "name=value"),
            ("connections=0", "number"),
            ("distribution=nonsense", "nonsense"),
            ("hash=hsieh", "licence"),
            ("hash_tag={", "two characters"),
            ("failover=elsewhere", "none, next or gutter"),
            ("failover_ttl=5s", "failover=next"),
            ("gutter=a,,b", "empty"),
            ("breaker=often", "number"),
            ("retries=-1", "number"),
            ("retry_timeout=0s", "duration"),
            ("replicas=0", "number"),
            ("hedge=soon", "duration"),
        ] {
            let error = Config::from_url(&format!("memcached://a/?{query}")).unwrap_err();
            assert!(error.to_string().contains(word), "{query}: {error}");
        }
    }

    #[test]
    fn durations() {
        for (text, micros) in [("250ms", 250_000), ("1.5s", 1_500_000), ("2h", 7_200_000_000), ("80us", 80)] {
            assert_eq!(parse_duration(text), Ok(Duration::from_micros(micros)), "{text}");
        }
    }
}
