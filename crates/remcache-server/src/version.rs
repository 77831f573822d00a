//! What a server's version says, and what came with it.

use remcache_proto::Dialect;

/// A version as it is told, and as it is understood.
#[derive(Clone, Debug)]
pub(crate) struct Version {
    text: String,
    dialect: Dialect,
}

/// What a newer memcached does otherwise than 1.6.18, beside what
/// [`Feature`](remcache_proto::Feature) knows because clients ask for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Novelty {
    /// `watch deletions`.
    WatchDeletions,
    /// `me` tells the time left with the right sign.
    DebugWithSign,
    /// A flush takes no CAS value.
    FlushWithoutCas,
    /// A refused `shutdown` is the server's error.
    ServerErrorForShutdown,
    /// The token of an authentication is all of its line, and its length has a limit.
    TokenIsALine,
    /// Before the authentication short lines close the connection.
    ShortLinesClose,
    /// A quiet counter that is made is not told of.
    QuietVivifying,
}

/// Since when, as far as that is known; else the version in which it was seen (docs/protocol.md 4.7).
const SINCE: &[(Novelty, [u16; 3])] = &[
    (Novelty::WatchDeletions, [1, 6, 20]),
    (Novelty::DebugWithSign, [1, 6, 24]),
    (Novelty::FlushWithoutCas, [1, 6, 25]),
    (Novelty::ServerErrorForShutdown, [1, 6, 40]),
    (Novelty::TokenIsALine, [1, 6, 42]),
    (Novelty::ShortLinesClose, [1, 6, 44]),
    (Novelty::QuietVivifying, [1, 6, 45]),
];

impl Version {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        let text = text.into();
        let dialect = Dialect::from_version(&text);
        Self { text, dialect }
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    pub(crate) fn dialect(&self) -> Dialect {
        self.dialect
    }

    pub(crate) fn has(&self, novelty: Novelty) -> bool {
        SINCE.iter().any(|&(known, since)| known == novelty && self.dialect.version() >= since)
    }
}
