//! The three wires that memcached speaks, by name.

use std::fmt;
use std::str::FromStr;

/// How requests and replies look as bytes.
///
/// The same [`Request`](crate::types::request::Request) gives the same [`Reply`](crate::types::reply::Reply) on each; what a wire
/// cannot say is refused before it is sent.
///
/// ```
/// use remcache_proto::Wire;
///
/// assert_eq!("meta".parse(), Ok(Wire::Meta));
/// assert_eq!(Wire::Binary.to_string(), "binary");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "memcached has these three")]
pub enum Wire {
    /// Packets with a header of 24 bytes: every server since 1.4, but no proxy of today.
    #[default]
    Binary,
    /// Text commands of two letters: servers since 1.6.10, clean since 1.6.18.
    Meta,
    /// The classic text commands: every server and proxy.
    Text,
}

impl Wire {
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

impl fmt::Display for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Wire {
    type Err = UnknownWire;

    fn from_str(name: &str) -> Result<Self, UnknownWire> {
        Self::ALL.into_iter().find(|wire| wire.name() == name).ok_or(UnknownWire)
    }
}

/// A name that is no wire's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct UnknownWire;

impl fmt::Display for UnknownWire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no such wire: it is binary, meta or text")
    }
}

impl std::error::Error for UnknownWire {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written() {
        for wire in Wire::ALL {
            assert_eq!(wire.to_string().parse(), Ok(wire));
        }
        assert_eq!("ascii".parse::<Wire>(), Err(UnknownWire));
    }
}
