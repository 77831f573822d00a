//! How clients speak: each wire, and whether gets share lines.

use remcache::Config;
use remcache::config::Protocol;
use remcache::proto::Wire;

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

    pub(crate) fn wire(self) -> Wire {
        match self {
            Self::Binary => Wire::Binary,
            Self::Meta | Self::MetaOneByOne => Wire::Meta,
            Self::Text => Wire::Text,
        }
    }

    /// The settings of a client that speaks so.
    pub(crate) fn config(self, config: Config) -> Config {
        let wire = self.wire();
        let protocol = Protocol::ALL.into_iter().find(|protocol| protocol.wire() == Some(wire));
        let config = config.protocol(protocol.expect("a wire has a name"));
        if self == Self::MetaOneByOne { config.keys_in_line(1) } else { config }
    }
}

#[test]
fn every_wire_is_spoken() {
    assert!(Wire::ALL.into_iter().all(|wire| Speech::ALL.iter().any(|speech| speech.wire() == wire)));
}
