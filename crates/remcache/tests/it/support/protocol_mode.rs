//! Protocol modes of a client: each protocol, and whether gets are coalesced into multigets.

use remcache::Config;
use remcache::config::ProtocolSetting;
use remcache::proto::Protocol;

/// A protocol and a batching setting that a client is restricted to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ProtocolMode {
    Binary,
    /// Gets that are ready at the same time are coalesced.
    Meta,
    /// Each get is a command with its own opaque.
    MetaUnbatched,
    /// Gets that are ready at the same time are coalesced.
    Text,
}

impl ProtocolMode {
    pub(crate) const ALL: [Self; 4] = [Self::Binary, Self::Meta, Self::MetaUnbatched, Self::Text];

    pub(crate) fn protocol(self) -> Protocol {
        match self {
            Self::Binary => Protocol::Binary,
            Self::Meta | Self::MetaUnbatched => Protocol::Meta,
            Self::Text => Protocol::Text,
        }
    }

    /// Returns the settings with this mode applied.
    pub(crate) fn config(self, config: Config) -> Config {
        let protocol = self.protocol();
        let setting = ProtocolSetting::ALL.into_iter().find(|setting| setting.forced() == Some(protocol));
        let config = config.protocol(setting.expect("every protocol has a setting"));
        if self == Self::MetaUnbatched { config.max_keys_per_multiget(1) } else { config }
    }
}

#[test]
fn every_protocol_has_a_mode() {
    assert!(Protocol::ALL.into_iter().all(|protocol| ProtocolMode::ALL.iter().any(|mode| mode.protocol() == protocol)));
}
