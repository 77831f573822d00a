//! The protocol setting: a fixed protocol, or the best that each server supports.

use std::fmt;
use std::str::FromStr;

use crate::proto::Protocol;

/// The protocol of a client's connections.
///
/// All protocols have the same operations with the same semantics; requests that a protocol cannot express fail with
/// [`Unsupported`](crate::error::ErrorKind::Unsupported) before anything is sent.
///
/// | setting | suits |
/// |---|---|
/// | `Auto` | the default: servers that differ, are replaced, or are behind proxies; each connection negotiates |
/// | `Binary` | the fewest bytes and the least work per request, servers with SASL, and keys of 187 to 250 bytes with spaces or control bytes; deprecated by memcached's authors |
/// | `Meta` | servers that are known to be 1.6.18 or newer, and services that refuse the binary protocol |
/// | `Text` | proxies such as nutcracker and mcrouter, and servers that support no other protocol |
///
/// Negotiation takes one round trip, including authentication if there is any. Its result is remembered and tried
/// first on the server's next connection. A wrong first attempt costs a connection: servers that support only the
/// binary protocol close one that begins with text. Requests wait during negotiation, subject to their deadlines and
/// the limits of the connection; those that the negotiated protocol cannot express fail before they are sent.
/// See the [table of protocol features](https://github.com/remcache/remcache/blob/main/docs/protocols.md).
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
    /// The best protocol that each server supports, negotiated on every connection: meta from memcached 1.6.18 on,
    /// otherwise binary, otherwise text.
    #[default]
    Auto,
    /// The binary protocol.
    Binary,
    /// The meta protocol.
    Meta,
    /// The classic text protocol.
    Text,
}

impl ProtocolSetting {
    /// All protocol settings.
    pub const ALL: [Self; 4] = [Self::Auto, Self::Binary, Self::Meta, Self::Text];

    /// Returns the fixed protocol; `None` for [`Auto`](Self::Auto).
    pub fn forced(self) -> Option<Protocol> {
        match self {
            Self::Auto => None,
            Self::Binary => Some(Protocol::Binary),
            Self::Meta => Some(Protocol::Meta),
            Self::Text => Some(Protocol::Text),
        }
    }

    /// Returns the name used in settings and URLs.
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
    fn names_are_parsed_as_printed() {
        for protocol in ProtocolSetting::ALL {
            assert_eq!(protocol.to_string().parse(), Ok(protocol));
        }
        assert!("ascii".parse::<ProtocolSetting>().unwrap_err().to_string().contains("auto, binary, meta and text"));
    }
}
