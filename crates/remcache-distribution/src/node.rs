//! Nodes: the properties of a server that placement depends on.

use std::net::IpAddr;

/// A server of the list, as configured: a ring does not use resolved addresses.
///
/// ```
/// use remcache_distribution::Node;
///
/// let node = Node::tcp("cache1.example", 11212).with_weight(3);
/// assert_eq!((node.name.as_str(), node.port, node.weight), ("cache1.example", Some(11212), 3));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Node {
    /// The host or the path of the socket, exactly as configured: it is hashed byte by byte.
    ///
    /// `Cache1`, `cache1` and `10.0.0.1` are three servers to a ring even if they are one machine.
    /// An IPv6 address is hashed as given, with or without brackets; libmemcached's list parser
    /// (`memcached_servers_parse`) keeps the brackets of `[::1]:11212`, its `memcached_server_add` accepts both forms.
    pub name: String,
    /// The port, or `None` for a Unix socket.
    ///
    /// libmemcached uses port 0 for a socket (`memcached_server_add_unix_socket`, list and configuration strings), and
    /// so does this crate.
    /// Clients that pass a path to `memcached_server_add` use port 11211: `Some(11211)` describes such a server.
    pub port: Option<u16>,
    /// The share of keys relative to the other servers (default: 1); 0 is refused.
    pub weight: u32,
    /// A text that is hashed instead of name and port.
    ///
    /// twemproxy's configuration has such a name after a server's address. It also serves servers that other clients
    /// reach by another address: it is the text that those clients hash.
    pub ring_name: Option<String>,
    /// The address, for the distributions that hash it in addition to the name: see
    /// [`needs_ip`](crate::Distribution::needs_ip).
    ///
    /// It is configured and never resolved: the result of a resolution may change, but keys must not move.
    pub ip: Option<IpAddr>,
}

impl Node {
    /// Creates a server reached over TCP, with weight 1.
    ///
    /// ```
    /// use remcache_distribution::Node;
    ///
    /// assert_eq!(Node::tcp("localhost", 11211).port, Some(11211));
    /// ```
    #[must_use]
    pub fn tcp(host: impl Into<String>, port: u16) -> Self {
        Self { name: host.into(), port: Some(port), weight: 1, ring_name: None, ip: None }
    }

    /// Creates a server reached through a Unix socket, with weight 1.
    ///
    /// ```
    /// use remcache_distribution::Node;
    ///
    /// assert_eq!(Node::unix("/run/memcached.sock").port, None);
    /// ```
    #[must_use]
    pub fn unix(path: impl Into<String>) -> Self {
        Self { name: path.into(), port: None, weight: 1, ring_name: None, ip: None }
    }

    /// Sets the weight.
    ///
    /// ```
    /// use remcache_distribution::Node;
    ///
    /// assert_eq!(Node::tcp("localhost", 11211).with_weight(5).weight, 5);
    /// ```
    #[must_use]
    pub fn with_weight(mut self, weight: u32) -> Self {
        self.weight = weight;
        self
    }

    /// Sets the text that is hashed instead of name and port.
    ///
    /// ```
    /// use remcache_distribution::{Distribution, Node};
    ///
    /// let node = Node::tcp("10.0.0.1", 11211).with_ring_name("alpha");
    /// let moved = Node::tcp("10.0.0.99", 11211).with_ring_name("alpha");
    /// let others = [Node::tcp("10.0.0.2", 11211), Node::tcp("10.0.0.3", 11211)];
    /// let place = |node: &Node| {
    ///     let ring = Distribution::KETAMA.ring(&[node.clone(), others[0].clone(), others[1].clone()])?;
    ///     Ok::<_, remcache_distribution::RingError>(ring.locate(b"Hello", |_| true))
    /// };
    /// assert_eq!(place(&node)?, place(&moved)?);
    /// # Ok::<(), remcache_distribution::RingError>(())
    /// ```
    #[must_use]
    pub fn with_ring_name(mut self, name: impl Into<String>) -> Self {
        self.ring_name = Some(name.into());
        self
    }

    /// Sets the IP address, for the distributions that hash it.
    ///
    /// ```
    /// use remcache_distribution::{Distribution, Node};
    ///
    /// let node = Node::tcp("cache-a.example", 11211).with_ip([10, 0, 1, 1]);
    /// assert!(Distribution::SPYMEMCACHED_KETAMA.ring(&[node]).is_ok());
    /// ```
    #[must_use]
    pub fn with_ip(mut self, ip: impl Into<IpAddr>) -> Self {
        self.ip = Some(ip.into());
        self
    }
}
