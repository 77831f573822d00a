//! How clients speak: each protocol, and whether gets share lines.

use remcache::Config;
use remcache::config::ProtocolSetting;
use remcache::proto::Protocol;

/// How a client speaks, and no other way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Speech {
    Binary,
    /// Gets that are ready together share a line.
    Meta,
    /// Each get is a command with an opaque of its own.
    MetaOneByOne,
    /// Gets that are ready together share a line.
    Text,
}

impl Speech {
    pub(crate) const ALL: [Self; 4] = [Self::Binary, Self::Meta, Self::MetaOneByOne, Self::Text];

    pub(crate) fn protocol(self) -> Protocol {
        match self {
            Self::Binary => Protocol::Binary,
            Self::Meta | Self::MetaOneByOne => Protocol::Meta,
            Self::Text => Protocol::Text,
        }
    }

    /// The settings of a client that speaks so.
    pub(crate) fn config(self, config: Config) -> Config {
        let protocol = self.protocol();
        let protocol = ProtocolSetting::ALL.into_iter().find(|setting| setting.forced() == Some(protocol));
        let config = config.protocol(protocol.expect("a protocol has a name"));
        if self == Self::MetaOneByOne { config.keys_in_line(1) } else { config }
    }
}

#[test]
fn every_protocol_is_spoken() {
    assert!(Protocol::ALL.into_iter().all(|protocol| Speech::ALL.iter().any(|speech| speech.protocol() == protocol)));
}
