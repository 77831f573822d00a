//! Server versions, and the features they imply.

use crate::types::protocol::Protocol;

/// A server's version, which determines its features.
///
/// ```
/// use remcache_proto::{ServerVersion, Feature, Protocol};
///
/// let debian = ServerVersion::parse("1.6.18");
/// assert_eq!(debian.protocol(), Protocol::Meta);
/// assert!(!debian.has(Feature::Mgdump));
/// assert_eq!(ServerVersion::parse("1.4.33-amazon").protocol(), Protocol::Binary);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ServerVersion {
    version: [u16; 3],
}

/// A feature that servers have since a certain version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Feature {
    /// Touch and get-and-touch on the binary protocol.
    BinaryTouch,
    /// `gat` and `gats` on the text protocol.
    TextGetAndTouch,
    /// The current meta commands.
    Meta,
    /// Meta replies without stray spaces, with key and opaque on misses too.
    CleanMeta,
    /// `lru_crawler mgdump`.
    Mgdump,
    /// Append and prepend that create the item (`ms` with N), and its size in the reply (`ms` with s).
    VivifyingAppend,
    /// `flags=` in the lines of a metadump.
    MetadumpFlags,
    /// CAS values chosen by the client (E).
    NewCas,
    /// Deletes that keep an empty item (`md` with x).
    RemoveValue,
    /// Fetches that omit a value with a known CAS value (`mg` with C).
    OmitValueIfCas,
    /// Lines with too few tokens are answered as malformed, not as unknown.
    StrictLines,
    /// A metadump that begins with `OK`.
    DumpBeginsWithOk,
}

/// The version that introduced each feature (docs/protocol.md 4.7).
const FEATURES: &[(Feature, [u16; 3])] = &[
    (Feature::BinaryTouch, [1, 4, 8]),
    (Feature::TextGetAndTouch, [1, 5, 3]),
    (Feature::Meta, [1, 6, 10]),
    (Feature::CleanMeta, [1, 6, 18]),
    (Feature::Mgdump, [1, 6, 19]),
    (Feature::VivifyingAppend, [1, 6, 20]),
    (Feature::MetadumpFlags, [1, 6, 24]),
    (Feature::NewCas, [1, 6, 27]),
    (Feature::RemoveValue, [1, 6, 27]),
    (Feature::OmitValueIfCas, [1, 6, 40]),
    (Feature::StrictLines, [1, 6, 40]),
    (Feature::DumpBeginsWithOk, [1, 6, 43]),
];

impl Default for ServerVersion {
    /// The oldest version with clean meta, which is assumed for servers of an unknown version.
    fn default() -> Self {
        Self { version: [1, 6, 18] }
    }
}

impl ServerVersion {
    /// Parses a version; parts that are not numbers count as 0, vendor suffixes are ignored.
    pub fn parse(text: &str) -> Self {
        let mut parts = text.trim().split('.').map(|part| {
            let digits = part.split(|character: char| !character.is_ascii_digit()).next();
            digits.and_then(|digits| digits.parse().ok()).unwrap_or(0)
        });
        Self { version: [(); 3].map(|()| parts.next().unwrap_or(0)) }
    }

    /// Returns the three numbers of the version.
    pub fn version(self) -> [u16; 3] {
        self.version
    }

    /// Returns whether servers of this version have a feature.
    pub fn has(self, feature: Feature) -> bool {
        FEATURES.iter().any(|&(known, since)| known == feature && self.version >= since)
    }

    /// Returns the best protocol for this version: meta if it is clean, otherwise binary.
    pub fn protocol(self) -> Protocol {
        if self.has(Feature::CleanMeta) { Protocol::Meta } else { Protocol::Binary }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_leniently() {
        for (text, version) in [
            ("1.6.18", [1, 6, 18]),
            ("1.6.45\r\n", [1, 6, 45]),
            ("1.4.33-amazon", [1, 4, 33]),
            ("1.5.6_beta3", [1, 5, 6]),
            ("1.6", [1, 6, 0]),
            ("2.0.0.1", [2, 0, 0]),
            ("unknown", [0, 0, 0]),
            ("", [0, 0, 0]),
            ("99999999.1", [0, 1, 0]),
        ] {
            assert_eq!(ServerVersion::parse(text).version(), version, "{text}");
        }
    }

    #[test]
    fn features_begin_with_their_version() {
        for &(feature, [major, minor, patch]) in FEATURES {
            let before = ServerVersion { version: [major, minor, patch.saturating_sub(1)] };
            assert!(!before.has(feature), "{feature:?}");
            for after in [[major, minor, patch], [major, minor.saturating_add(1), 0], [2, 0, 0]] {
                assert!(ServerVersion { version: after }.has(feature), "{feature:?} in {after:?}");
            }
        }
    }

    #[test]
    fn the_protocol_is_the_best_clean_one() {
        for (text, protocol) in [
            ("1.4.0", Protocol::Binary),
            ("1.6.9", Protocol::Binary),
            ("1.6.17", Protocol::Binary),
            ("1.6.18", Protocol::Meta),
            ("1.6.45", Protocol::Meta),
            ("1.7.0", Protocol::Meta),
        ] {
            assert_eq!(ServerVersion::parse(text).protocol(), protocol, "{text}");
        }
    }

    #[test]
    fn an_unknown_server_is_taken_for_the_oldest_clean_one() {
        assert!(ServerVersion::default().has(Feature::CleanMeta));
        assert!(!ServerVersion::default().has(Feature::Mgdump));
    }
}
