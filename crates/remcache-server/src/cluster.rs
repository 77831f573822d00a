//! The configuration of a cluster, as ElastiCache's configuration endpoint reports it.

use std::fmt;

/// A node of a cluster, as a configuration endpoint reports it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClusterNode {
    /// The host name.
    pub host: String,
    /// The IP address. It may be empty.
    pub ip: String,
    /// The port.
    pub port: u16,
}

impl ClusterNode {
    /// Creates a node from a host name, an IP address, which may be empty, and a port.
    pub fn new(host: impl Into<String>, ip: impl Into<String>, port: u16) -> Self {
        Self { host: host.into(), ip: ip.into(), port }
    }
}

impl fmt::Display for ClusterNode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}|{}|{}", self.host, self.ip, self.port)
    }
}

/// The version and nodes of a cluster, in the format that clients receive (`docs/protocol.md` of remcache 4.10).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ClusterConfig {
    text: String,
}

/// The key that returns the configuration to clients that do not know the `config` command.
pub(crate) const LEGACY_KEY: &[u8] = b"AmazonElastiCache:cluster";

impl ClusterConfig {
    pub(crate) fn new(version: u64, nodes: impl IntoIterator<Item = ClusterNode>) -> Self {
        let nodes: Vec<String> = nodes.into_iter().map(|node| node.to_string()).collect();
        Self { text: format!("{version}\n{}\n", nodes.join(" ")) }
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Returns the reply to `config get cluster`.
    pub(crate) fn reply(&self) -> String {
        format!("CONFIG cluster 0 {}\r\n{}\r\nEND\r\n", self.text.len(), self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_are_listed_with_host_ip_and_port() {
        let nodes = [ClusterNode::new("a.example", "10.0.0.1", 11211), ClusterNode::new("b.example", "", 11212)];
        let text = "12\na.example|10.0.0.1|11211 b.example||11212\n";
        let cluster = ClusterConfig::new(12, nodes);
        assert_eq!(cluster.text(), text);
        assert_eq!(cluster.reply(), format!("CONFIG cluster 0 {}\r\n{text}\r\nEND\r\n", text.len()));
    }
}
