//! A server of a list: where it is, and its weight.

use std::fmt;

/// A server of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    /// Its name or its IPv4 address, as both remcache and the client are given it.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Its share of the keys.
    pub weight: u32,
}

impl Location {
    /// The server without its weight, as clients tell it.
    #[must_use]
    pub fn address(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.host, self.port, self.weight)
    }
}
