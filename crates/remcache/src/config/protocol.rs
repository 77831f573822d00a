//! Which protocol a client speaks: one that is given, or the best that each server understands.

use std::fmt;
use std::str::FromStr;

use crate::proto::Protocol;

/// Which protocol a client speaks.
///
/// All have the same operations, with the same meaning; what a protocol cannot do is
/// [`Unsupported`](crate::error::ErrorKind::Unsupported) before anything is sent.
///
/// | setting | choose it |
/// |---|---|
/// | `Auto` | the default: servers may differ, be exchanged, or hide behind proxies; each connection begins with a question |
/// | `Binary` | for the least bytes and work a request, servers with SASL, and keys of 187 to 250 bytes with spaces or control bytes; memcached's authors have deprecated it |
/// | `Meta` | for servers that are known to be 1.6.18 or newer, and services that refuse the binary protocol |
/// | `Text` | for proxies such as nutcracker and mcrouter, and servers that know nothing else |
///
/// The question of `Auto` takes one round trip, together with the authentication if there is one. What
/// a server understood is remembered and tried first with its next connection. A first guess that was
/// wrong costs a connection: servers of the binary protocol alone close one that begins with text.
/// Requests wait during negotiation, with their deadlines and within the limits of the connection, and what the
/// protocol cannot do is refused as soon as it is known, before it is sent.
/// [What each protocol can do](https://github.com/remcache/remcache/blob/main/docs/protocols.md) is in a table.
///
/// ```
/// use remcache::Config;
/// use remcache::config::ProtocolSetting;
///
/// let config = Config::new().protocol(ProtocolSetting::Meta);
/// assert_eq!("text".parse(), Ok(ProtocolSetting::Text));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ProtocolSetting {
    /// What each server understands, found out when a connection is opened: meta where the version has
    /// it (1.6.18), else binary, else text.
    #[default]
    Auto,
    /// The binary protocol.
    Binary,
    /// The meta commands.
    Meta,
    /// The classic text commands.
    Text,
}

impl ProtocolSetting {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Auto, Self::Binary, Self::Meta, Self::Text];

    /// The protocol, if it is given.
    pub fn forced(self) -> Option<Protocol> {
        match self {
            Self::Auto => None,
            Self::Binary => Some(Protocol::Binary),
            Self::Meta => Some(Protocol::Meta),
            Self::Text => Some(Protocol::Text),
        }
    }

    /// The name, as settings and URLs say it.
    pub fn name(self) -> &'static str {
        self.forced().map_or("auto", Protocol::name)
    }
}

impl fmt::Display for ProtocolSetting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// An unknown protocol name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownProtocolSetting(String);

impl fmt::Display for UnknownProtocolSetting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unknown protocol {:?}; known are auto, binary, meta and text", self.0)
    }
}

impl std::error::Error for UnknownProtocolSetting {}

impl FromStr for ProtocolSetting {
    type Err = UnknownProtocolSetting;

    fn from_str(name: &str) -> Result<Self, UnknownProtocolSetting> {
        let found = Self::ALL.into_iter().find(|protocol| protocol.name() == name);
        found.ok_or_else(|| UnknownProtocolSetting(name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written() {
        for protocol in ProtocolSetting::ALL {
            assert_eq!(protocol.to_string().parse(), Ok(protocol));
        }
        assert!("ascii".parse::<ProtocolSetting>().unwrap_err().to_string().contains("auto, binary, meta and text"));
    }
}
