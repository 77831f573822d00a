//! Errors of encoding and decoding values.

use std::fmt;

use super::{ClientFormat, Compression, Format};
use crate::reason::Reason;

/// An error of encoding or decoding a value.
///
/// No variant contains the value, which may be a secret and end up in a log.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ValueError {
    /// The flags are not remcache's: another program stored the item.
    UnknownFlags(u32),
    /// The flags are not those of the expected client format.
    ForeignFlags(ClientFormat, u32),
    /// The value is chunked, but was decoded as a single item.
    Chunked,
    /// The value has another format than the codec's.
    WrongFormat {
        /// The codec's format.
        expected: Format,
        /// The format in the flags.
        found: Format,
    },
    /// The compression's feature is not compiled in.
    NotCompiledIn(Compression),
    /// The client format does not support this compression.
    UnsupportedCompression(ClientFormat, Compression),
    /// The decompressed value exceeds the limit, in bytes.
    TooLarge {
        /// The limit of the codec.
        limit: usize,
    },
    /// The compressed bytes are invalid or damaged.
    Corrupt(Compression, Reason),
    /// The bytes do not match the flags.
    Malformed {
        /// The expected format.
        format: &'static str,
        /// The problem.
        reason: Reason,
    },
    /// The value cannot be encoded in this format.
    Unwritable {
        /// The format or client format.
        format: &'static str,
        /// The reason.
        reason: Reason,
    },
}

impl ValueError {
    pub(crate) fn malformed(format: &'static str, reason: impl Into<Reason>) -> Self {
        Self::Malformed { format, reason: reason.into() }
    }

    pub(crate) fn unwritable(format: &'static str, reason: impl Into<Reason>) -> Self {
        Self::Unwritable { format, reason: reason.into() }
    }

    pub(crate) fn corrupt(compression: Compression, reason: impl Into<Reason>) -> Self {
        Self::Corrupt(compression, reason.into())
    }
}

impl fmt::Display for ValueError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownFlags(flags) => write!(
                f,
                "the flags {flags:#010x} are not remcache's: another client wrote the item; read it in its client format"
            ),
            Self::ForeignFlags(client_format, flags) => {
                write!(f, "{client_format} does not write the flags {flags:#010x}")
            }
            Self::Chunked => f.write_str("the value is in chunks: read it through a `Cache`"),
            Self::WrongFormat { expected, found } => {
                write!(f, "the value is {found}, and {expected} was expected")
            }
            Self::NotCompiledIn(compression) => write!(
                f,
                "the value needs {compression}, which is not compiled in: turn on the feature `{}`",
                compression.feature()
            ),
            Self::UnsupportedCompression(client_format, compression) => {
                write!(f, "{client_format} does not read {compression}")
            }
            Self::TooLarge { limit } => write!(
                f,
                "the value has more than {limit} bytes once it is decompressed; raise the codec's limit if it may"
            ),
            Self::Corrupt(compression, reason) => write!(f, "the {compression} data is damaged: {reason}"),
            Self::Malformed { format, reason } => write!(f, "the value is not {format}: {reason}"),
            Self::Unwritable { format, reason } => write!(f, "the value cannot be written as {format}: {reason}"),
        }
    }
}

impl std::error::Error for ValueError {
    /// Returns the error of the library that encodes or decodes the format, for instance of serde_json.
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Corrupt(_, reason) | Self::Malformed { reason, .. } | Self::Unwritable { reason, .. } => {
                reason.source()
            }
            _ => None,
        }
    }
}
