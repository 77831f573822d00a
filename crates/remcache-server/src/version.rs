//! The emulated version, and the behaviours that newer versions introduced.

use remcache_proto::{Feature, ServerVersion};

/// The version that a server reports and emulates.
#[derive(Clone, Debug)]
pub(crate) struct Version {
    text: String,
    server_version: ServerVersion,
}

/// A behaviour that a version after 1.6.18 introduced, in addition to those that clients check for, which
/// [`Feature`] lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Behaviour {
    /// `watch deletions` exists.
    WatchDeletions,
    /// `me` reports the remaining time with the right sign.
    SignedDebugExpiry,
    /// A flush does not consume a CAS value.
    FlushWithoutCas,
    /// A refused `shutdown` is answered with `SERVER_ERROR` rather than `ERROR`.
    ShutdownServerError,
    /// The authentication token is a whole line, and its length is limited.
    WholeLineToken,
    /// Short lines before the authentication close the connection.
    ShortLinesClose,
    /// A quiet `ma` that creates the counter is not answered.
    QuietAutovivify,
}

/// The version that introduced each behaviour, or where that is not known, the first one in which it was observed
/// (docs/protocol.md 4.7).
const SINCE: &[(Behaviour, [u16; 3])] = &[
    (Behaviour::WatchDeletions, [1, 6, 20]),
    (Behaviour::SignedDebugExpiry, [1, 6, 24]),
    (Behaviour::FlushWithoutCas, [1, 6, 25]),
    (Behaviour::ShutdownServerError, [1, 6, 40]),
    (Behaviour::WholeLineToken, [1, 6, 42]),
    (Behaviour::ShortLinesClose, [1, 6, 44]),
    (Behaviour::QuietAutovivify, [1, 6, 45]),
];

impl Version {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        let text = text.into();
        let server_version = ServerVersion::parse(&text);
        Self { text, server_version }
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    pub(crate) fn server_version(&self) -> ServerVersion {
        self.server_version
    }

    /// Returns whether the version has a feature that clients check for.
    pub(crate) fn has_feature(&self, feature: Feature) -> bool {
        self.server_version.has(feature)
    }

    pub(crate) fn has(&self, behaviour: Behaviour) -> bool {
        SINCE.iter().any(|&(known, since)| known == behaviour && self.server_version.version() >= since)
    }
}
