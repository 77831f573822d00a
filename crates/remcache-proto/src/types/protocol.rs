//! The three protocols that memcached speaks, by name.

use std::fmt;
use std::str::FromStr;

/// How requests and replies look as bytes.
///
/// The same [`Request`](crate::types::request::Request) gives the same [`Reply`](crate::types::reply::Reply) on each; what a protocol
/// cannot say is refused before it is sent.
///
/// ```
/// use remcache_proto::Protocol;
///
/// assert_eq!("meta".parse(), Ok(Protocol::Meta));
/// assert_eq!(Protocol::Binary.to_string(), "binary");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "memcached has these three")]
pub enum Protocol {
    /// Packets with a header of 24 bytes: every server since 1.4, but no proxy of today.
    #[default]
    Binary,
    /// Text commands of two letters: servers since 1.6.10, clean since 1.6.18.
    Meta,
    /// The classic text commands: every server and proxy.
    Text,
}

impl Protocol {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Binary, Self::Meta, Self::Text];

    /// The name, as settings and URLs say it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Binary => "binary",
            Self::Meta => "meta",
            Self::Text => "text",
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Protocol {
    type Err = UnknownProtocol;

    fn from_str(name: &str) -> Result<Self, UnknownProtocol> {
        Self::ALL.into_iter().find(|protocol| protocol.name() == name).ok_or(UnknownProtocol)
    }
}

/// An unknown protocol name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct UnknownProtocol;

impl fmt::Display for UnknownProtocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no such protocol: it is binary, meta or text")
    }
}

impl std::error::Error for UnknownProtocol {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written() {
        for protocol in Protocol::ALL {
            assert_eq!(protocol.to_string().parse(), Ok(protocol));
        }
        assert_eq!("ascii".parse::<Protocol>(), Err(UnknownProtocol));
    }
}
