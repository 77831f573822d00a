//! A server as a distribution sees it: a name, a port, a weight.

use std::net::IpAddr;

/// A server of the list, by what was configured: a ring knows no resolved address.
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
    /// An IPv6 address is hashed as it stands here, with or without brackets; libmemcached's list parser
    /// (`memcached_servers_parse`) keeps the brackets of `[::1]:11212`, its `memcached_server_add` takes either.
    pub name: String,
    /// The port, or `None` for a Unix socket.
    ///
    /// libmemcached gives a socket the port 0 (`memcached_server_add_unix_socket`, list and configuration strings), so
    /// does this crate.
    /// Clients that pass a path to `memcached_server_add` give it the port 11211: `Some(11211)` describes such a server.
    pub port: Option<u16>,
    /// The share of keys relative to the other servers, 1 if nothing was configured; 0 is refused.
    pub weight: u32,
    /// What is hashed in place of name and port, if anything else is.
    ///
    /// twemproxy's configuration can give a server such a name behind its address; servers behind other addresses than
    /// their other clients see can be given the text that those hash.
    pub ring_name: Option<String>,
    /// The address, for the distributions that hash it in addition to the name: see
    /// [`needs_ip`](crate::Distribution::needs_ip).
    ///
    /// It is configured and never resolved: what a name resolves to may change, and keys must not move.
    pub ip: Option<IpAddr>,
}

impl Node {
    /// A server reached over TCP, with the weight 1.
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

    /// A server reached through a Unix socket, with the weight 1.
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

    /// The same server with this weight.
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

    /// The same server, hashed by this text instead of its name and port.
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

    /// The same server with this address, for the distributions that hash it.
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
