//! The protocols that memcached supports.

use std::fmt;
use std::str::FromStr;

/// A protocol.
///
/// The same [`Request`](crate::types::request::Request) has the same [`Reply`](crate::types::reply::Reply) on each;
/// requests that a protocol cannot express are refused before they are sent.
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
    /// The binary protocol: supported by every server since 1.4, but not by current proxies.
    #[default]
    Binary,
    /// The meta commands: supported by servers since 1.6.10, without defects since 1.6.18.
    Meta,
    /// The classic text commands: supported by every server and proxy.
    Text,
}

impl Protocol {
    /// All protocols.
    pub const ALL: [Self; 3] = [Self::Binary, Self::Meta, Self::Text];

    /// Returns the name used in settings and URLs.
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
        f.write_str("unknown protocol: use binary, meta or text")
    }
}

impl std::error::Error for UnknownProtocol {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_parsed_as_printed() {
        for protocol in Protocol::ALL {
            assert_eq!(protocol.to_string().parse(), Ok(protocol));
        }
        assert_eq!("ascii".parse::<Protocol>(), Err(UnknownProtocol));
    }
}
