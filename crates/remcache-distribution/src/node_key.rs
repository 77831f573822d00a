//! The text of a server that is hashed: one format for each family of clients.

use std::net::{IpAddr, Ipv6Addr};

use crate::Node;

/// The format of a server's text, without the number of a point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NodeKeyFormat {
    /// `host` on port 11211, or else `host:port`; a Unix socket has the port 0: `path:0`.
    Libmemcached,
    /// `/host:port`.
    LibmemcachedSpy,
    /// As libmemcached, but a Unix socket is `path:`.
    Twemproxy,
    /// `host:port`, or the path.
    HostPort,
    /// `host:port` with brackets around an IPv6 address, or the path.
    HostPortBrackets,
    /// `host` on port 11211, or else `host:port`, or the path.
    HostUnlessDefault,
    /// Java's `InetSocketAddress` without a leading slash: `host/ip:port` or `ip:port`.
    JavaAddress,
    /// Java's `InetSocketAddress`: `host/ip:port` or `/ip:port`.
    JavaAddressSlash,
    /// `host/ip:11211`, whatever the port.
    EvCache,
    /// `host/host:port`, as memcached's proxy imitates EVCache.
    ProxyEvCache,
    /// `ip:port`, as .NET's `IPEndPoint` prints it.
    IpPort,
    /// `ip` on port 11211, or else `ip:port`.
    IpUnlessDefault,
}

impl NodeKeyFormat {
    /// Returns whether the IP address is part of the text.
    pub(crate) const fn needs_ip(self) -> bool {
        matches!(
            self,
            Self::JavaAddress | Self::JavaAddressSlash | Self::EvCache | Self::IpPort | Self::IpUnlessDefault
        )
    }

    /// Formats the text of a server; `None` if it needs an address that was not configured.
    pub(crate) fn write(self, node: &Node) -> Option<String> {
        if let Some(name) = &node.ring_name {
            return Some(name.clone());
        }
        let name = &node.name;
        let Some(port) = node.port else {
            return Some(match self {
                Self::Libmemcached => format!("{name}:0"),
                Self::LibmemcachedSpy => format!("/{name}:0"),
                Self::Twemproxy => format!("{name}:"),
                _ => name.clone(),
            });
        };
        Some(match self {
            Self::Libmemcached | Self::Twemproxy | Self::HostUnlessDefault => unless_default(name, port),
            Self::LibmemcachedSpy => format!("/{name}:{port}"),
            Self::HostPort => format!("{name}:{port}"),
            Self::HostPortBrackets => format!("{}:{port}", bracketed(name)),
            Self::ProxyEvCache => format!("{name}/{name}:{port}"),
            Self::JavaAddress => java(node, ip(node)?, port, ""),
            Self::JavaAddressSlash => java(node, ip(node)?, port, "/"),
            Self::EvCache => format!("{name}/{}:11211", java_ip(ip(node)?)),
            Self::IpPort => format!("{}:{port}", bracketed(&ip(node)?.to_string())),
            Self::IpUnlessDefault => unless_default(&java_ip(ip(node)?), port),
        })
    }
}

/// Returns the configured address, or the name if it is an address.
fn ip(node: &Node) -> Option<IpAddr> {
    node.ip.or_else(|| literal(&node.name))
}

fn literal(name: &str) -> Option<IpAddr> {
    name.trim_start_matches('[').trim_end_matches(']').parse().ok()
}

fn unless_default(host: &str, port: u16) -> String {
    match port {
        DEFAULT_PORT => host.to_owned(),
        port => format!("{host}:{port}"),
    }
}

fn bracketed(host: &str) -> String {
    if host.contains(':') && !host.starts_with('[') { format!("[{host}]") } else { host.to_owned() }
}

/// Formats an address as `InetSocketAddress.toString` does, since Java 14 with brackets; `nameless` is the prefix of an
/// address without a name.
fn java(node: &Node, ip: IpAddr, port: u16, nameless: &str) -> String {
    let address = bracketed(&java_ip(ip));
    match literal(&node.name) {
        Some(_) => format!("{nameless}{address}:{port}"),
        None => format!("{}/{address}:{port}", node.name),
    }
}

/// Formats an IP address as Java does: all eight groups of an IPv6 address, without leading zeros.
fn java_ip(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => eight_groups(ip),
    }
}

fn eight_groups(ip: Ipv6Addr) -> String {
    ip.segments().map(|group| format!("{group:x}")).join(":")
}

const DEFAULT_PORT: u16 = 11211;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_formatted_for_each_client() {
        use NodeKeyFormat::*;
        let host = |port| Node::tcp("cache-a", port).with_ip([10, 0, 1, 1]);
        let literal = |port| Node::tcp("10.0.1.1", port);
        let socket = || Node::unix("/tmp/a.sock");
        for (format, node, text) in [
            (Libmemcached, literal(11211), "10.0.1.1"),
            (Libmemcached, literal(11212), "10.0.1.1:11212"),
            (Libmemcached, Node::tcp("::1", 11211), "::1"),
            (Libmemcached, Node::tcp("[::1]", 11212), "[::1]:11212"),
            (Libmemcached, socket(), "/tmp/a.sock:0"),
            (Libmemcached, Node::tcp("/tmp/a.sock", 11211), "/tmp/a.sock"),
            (LibmemcachedSpy, literal(11211), "/10.0.1.1:11211"),
            (Twemproxy, host(11211), "cache-a"),
            (Twemproxy, host(11212), "cache-a:11212"),
            (Twemproxy, socket(), "/tmp/a.sock:"),
            (Twemproxy, host(11212).with_ring_name("alpha"), "alpha"),
            (HostPort, host(11211), "cache-a:11211"),
            (HostPort, socket(), "/tmp/a.sock"),
            (HostPort, Node::tcp("::1", 1), "::1:1"),
            (HostPortBrackets, Node::tcp("::1", 1), "[::1]:1"),
            (HostPortBrackets, host(1), "cache-a:1"),
            (HostUnlessDefault, host(11211), "cache-a"),
            (HostUnlessDefault, socket(), "/tmp/a.sock"),
            (JavaAddress, host(11211), "cache-a/10.0.1.1:11211"),
            (JavaAddress, literal(11211), "10.0.1.1:11211"),
            (JavaAddress, Node::tcp("::1", 11211), "[0:0:0:0:0:0:0:1]:11211"),
            (JavaAddressSlash, host(11211), "cache-a/10.0.1.1:11211"),
            (JavaAddressSlash, literal(11211), "/10.0.1.1:11211"),
            (EvCache, host(11212), "cache-a/10.0.1.1:11211"),
            (ProxyEvCache, literal(11212), "10.0.1.1/10.0.1.1:11212"),
            (IpPort, host(11211), "10.0.1.1:11211"),
            (IpPort, Node::tcp("::1", 11211), "[::1]:11211"),
            (IpUnlessDefault, host(11211), "10.0.1.1"),
            (IpUnlessDefault, host(11212), "10.0.1.1:11212"),
        ] {
            assert_eq!(format.write(&node).as_deref(), Some(text), "{format:?}");
        }
    }

    #[test]
    fn an_address_is_never_guessed() {
        let unknown = Node::tcp("cache-a", 11211);
        for format in [
            NodeKeyFormat::JavaAddress,
            NodeKeyFormat::JavaAddressSlash,
            NodeKeyFormat::EvCache,
            NodeKeyFormat::IpPort,
            NodeKeyFormat::IpUnlessDefault,
        ] {
            assert!(format.needs_ip());
            assert_eq!(format.write(&unknown), None);
            assert_eq!(format.write(&unknown.clone().with_ring_name("x")).as_deref(), Some("x"));
        }
    }
}
