//! A server of a list: where it is, and its weight.

use std::fmt;
use std::net::SocketAddrV4;

/// A server of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    /// Where it listens; every client is given the address as text.
    pub address: SocketAddrV4,
    /// Its share of the keys.
    pub weight: u32,
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.address, self.weight)
    }
}
