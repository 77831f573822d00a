//! Server addresses.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use crate::distribution::Node;
use crate::error::Error;
use crate::percent_encoding::decoded_text;

/// The port of an address that does not specify one.
const DEFAULT_PORT: u16 = 11211;

/// A configured server. Its name, not the address that it resolves to, is its identity in the ring.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Endpoint {
    /// The address as shown in errors and lists: `host:port`, `[v6]:port` or a path.
    pub name: Arc<str>,
    /// The address to connect to.
    pub address: Address,
    /// The server's share of the keys, relative to the other servers.
    pub weight: u32,
    /// The name that the ring hashes instead of the address, if configured.
    pub ring_name: Option<Arc<str>>,
    /// The IP address that some rings hash in addition to the name; connections still resolve the name.
    pub ip: Option<IpAddr>,
}

/// The address of a server.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Address {
    /// A host, as a name or IP address, and a port.
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
    /// An IPv6 address without brackets cannot have a port. A number after the last colon of a socket path is a weight;
    /// in a `unix://` URL, colons in the path are written as `%3A`.
    ///
    /// A name for the ring precedes the address, as in `name=host:port`; an IP address that the ring hashes in addition
    /// to the host follows the host, as in `host/10.0.0.1:port`: see [`Node`].
    ///
    /// # Errors
    /// [`ErrorKind::Config`](crate::error::ErrorKind::Config), whose message names the address and the problem.
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
            // The form used in other clients' settings.
            (None, Some(path)) => unix(path, false),
            _ if ["/", "./", "../"].iter().any(|start| text.starts_with(start)) => unix(text, false),
            _ => tcp(text.strip_prefix("tcp://").unwrap_or(text)),
        };
        endpoint.map_err(|what| bad(&what))
    }
}

/// Parses a socket path and optional weight; in a URL the path is percent-encoded.
pub(crate) fn unix(text: &str, is_url: bool) -> Result<Endpoint, String> {
    if !cfg!(unix) {
        return Err("Unix sockets are not supported on this system; expected host:port".into());
    }
    let (path, weight) = match text.rsplit_once(':') {
        Some((path, weight)) if is_number(weight) => (path, parse_weight(weight)?),
        _ => (text, 1),
    };
    let path = if is_url { decoded_text(path)? } else { path.to_owned() };
    match path.starts_with('/') {
        true => Ok(Endpoint::new(Address::Unix(path.into()), weight)),
        false => Err("the path of a Unix socket begins with /; write it in full: /run/memcached.sock".into()),
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

/// Rejects host names that can never resolve, so that a typo is an error and not a server that is always down.
///
/// Underscores are accepted because container names have them, and other scripts for internationalized names.
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
    // A trailing dot marks a fully qualified name.
    let name = host.strip_suffix('.').unwrap_or(host);
    if name.split('.').any(str::is_empty) {
        return refused("it has an empty label");
    }
    // For other scripts the limit applies to the encoded form.
    let is_too_long = |label: &str| label.is_ascii() && label.len() > MAX_LABEL;
    match host.len() > MAX_HOST || name.split('.').any(is_too_long) {
        true => refused("it is too long"),
        false => Ok(()),
    }
}

/// Returns the text if it is an IPv6 address, which may have a zone, as in `fe80::1%eth0`.
fn ipv6(text: &str) -> Option<&str> {
    let (address, zone) = text.split_once('%').map_or((text, None), |(address, zone)| (address, Some(zone)));
    let is_zone = |zone: &str| !zone.is_empty() && zone.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
    let is_valid = address.parse::<std::net::Ipv6Addr>().is_ok() && zone.is_none_or(is_zone);
    is_valid.then_some(text)
}

/// The limits of DNS.
const MAX_HOST: usize = 253;
const MAX_LABEL: usize = 63;

/// Parses a host with its IP address: `host/ip:port`, as Java prints it.
fn tcp_with_ip(host: &str, text: &str) -> Result<Endpoint, String> {
    let (ip, rest) = split_host(text)?;
    let ip: IpAddr = ip.parse().map_err(|_| {
        format!("invalid IP address {ip:?}: expected host/ip:port; a Unix socket is written unix:/path or /path")
    })?;
    let endpoint = tcp(&[&[host][..], &rest].concat().join(":"))?;
    Ok(Endpoint { ip: Some(ip), ..endpoint })
}

/// Splits an address into the host and the colon-separated parts after it.
fn split_host(text: &str) -> Result<(&str, Vec<&str>), String> {
    if let Some(inner) = text.strip_prefix('[') {
        let (host, rest) = inner.split_once(']').ok_or("the bracket is not closed")?;
        ipv6(host).ok_or_else(|| format!("invalid IPv6 address {host:?}"))?;
        return match rest.strip_prefix(':') {
            Some(rest) => Ok((host, rest.split(':').collect())),
            None if rest.is_empty() => Ok((host, Vec::new())),
            None => Err(format!("{rest:?} after the bracket; expected :port")),
        };
    }
    // An IPv6 address cannot be mistaken for a host with a port and a weight.
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
    /// Converts a configured server to a node of a ring.
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

/// Returns whether an address that is not a URL contains credentials; such an address is never shown.
fn has_credentials(address: &str) -> bool {
    let address = address.trim();
    let is_path = address.starts_with('/') || address.starts_with("unix://");
    address.contains('@') && !is_path
}

fn misplaced_credentials() -> Error {
    Error::config("a user and a password belong into a URL: memcached://user:password@host, or memcacheds:// for TLS")
}

/// Parses a comma-separated list of addresses.
pub(crate) fn list(text: &str) -> Result<Vec<Endpoint>, Error> {
    if text.split(',').any(has_credentials) {
        return Err(misplaced_credentials());
    }
    text.split(',').map(Endpoint::parse).collect()
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
            ("fe80::1:2:3", "[fe80::1:2:3]:11211", 1),
            ("tcp://cache1:7", "cache1:7", 1),
        ];
        for (text, name, weight) in cases {
            let endpoint = Endpoint::parse(text).unwrap();
            assert_eq!((&*endpoint.name, endpoint.weight), (name, weight), "{text}");
        }
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

    #[cfg(unix)]
    #[test]
    fn common_forms_of_socket_addresses() {
        let cases = [
            ("unix:/p.sock", "/p.sock", 1),
            ("unix:/p.sock:3", "/p.sock", 3),
            ("/run/a:b.sock", "/run/a:b.sock", 1),
            ("/run/100%.sock", "/run/100%.sock", 1),
            ("unix:///run/a%3A7", "/run/a:7", 1),
            ("unix:///run/a%3a7:2", "/run/a:7", 2),
            ("/run/cache.sock", "/run/cache.sock", 1),
            ("unix:///run/cache.sock:2", "/run/cache.sock", 2),
        ];
        for (text, name, weight) in cases {
            let endpoint = Endpoint::parse(text).unwrap();
            assert_eq!((&*endpoint.name, endpoint.weight), (name, weight), "{text}");
        }
    }

    #[cfg(not(unix))]
    #[test]
    fn sockets_are_configuration_errors_on_this_system() {
        for text in ["unix:/p.sock", "unix:///p.sock", "/p.sock"] {
            let error = Endpoint::parse(text).unwrap_err();
            assert_eq!(error.kind(), crate::error::ErrorKind::Config, "{text}");
            assert!(error.to_string().contains("not supported on this system"), "{text}: {error}");
        }
    }

    #[test]
    fn an_invalid_address_is_named() {
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
            ("./relative", "write it in full"),
            ("../relative", "write it in full"),
            ("run/relative.sock", "a Unix socket is written"),
            ("unix:///run/%zz", "two hexadecimal digits"),
            ("[::1", "bracket"),
            ("[nonsense]:1", "IPv6"),
            ("unix://relative", "begins with /"),
            ("a,,b", "empty"),
        ];
        for (text, word) in cases {
            let error = list(text).unwrap_err();
            assert!(error.to_string().contains(word), "{text:?}: {error}");
        }
    }
}
