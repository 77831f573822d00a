//! A server of a list: its address and its weight.

use std::fmt;

/// A server of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerSpec {
    /// The host name or IPv4 address.
    pub host: String,
    /// The port.
    pub port: u16,
    /// The weight, which is proportional to the server's share of the keys.
    pub weight: u32,
}

impl ServerSpec {
    /// Returns `host:port`, without the weight.
    #[must_use]
    pub fn address(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }
}

impl fmt::Display for ServerSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.host, self.port, self.weight)
    }
}
