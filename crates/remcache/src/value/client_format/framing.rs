//! Framings that clients use for compressed values.

use std::borrow::Cow;

use crate::value::{Compression, ValueError};

/// A framing for compressed bytes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Packing {
    /// The compressed bytes and nothing else.
    Plain(Compression),
    /// zlib or gzip, distinguished by the first byte; this one is written.
    ZlibOrGzip(Compression),
    /// A frame of Zstandard without the four bytes that mark one.
    ZstdWithoutMagic,
    /// Preceded by the uncompressed length in 32 bits, in the byte order of the writer.
    BehindLength(Compression),
}

impl Packing {
    /// Decompresses at most `limit` bytes.
    pub(crate) fn unpack(self, bytes: &[u8], limit: usize) -> Result<Vec<u8>, ValueError> {
        match self {
            Self::Plain(compression) => compression.decompress(bytes, limit),
            Self::ZlibOrGzip(_) if bytes.starts_with(GZIP) => Compression::Gzip.decompress(bytes, limit),
            Self::ZlibOrGzip(_) => Compression::Zlib.decompress(bytes, limit),
            Self::ZstdWithoutMagic => Compression::Zstd.decompress(&with_magic(bytes), limit),
            Self::BehindLength(compression) => {
                let corrupt = |reason| ValueError::corrupt(compression, reason);
                let (length, rest) = bytes.split_first_chunk().ok_or_else(|| corrupt("the length is cut off"))?;
                let value = compression.decompress(rest, limit)?;
                let announced = [u32::from_le_bytes(*length), u32::from_be_bytes(*length)];
                match announced.iter().any(|length| usize::try_from(*length) == Ok(value.len())) {
                    true => Ok(value),
                    false => Err(corrupt("the value has another length than is written before it")),
                }
            }
        }
    }

    /// Returns whether this compression uses the framing.
    pub(crate) fn writes(self, compression: Compression) -> bool {
        match self {
            Self::Plain(known) | Self::ZlibOrGzip(known) | Self::BehindLength(known) => known == compression,
            Self::ZstdWithoutMagic => compression == Compression::Zstd,
        }
    }

    /// Compresses bytes with this framing.
    pub(crate) fn pack(self, bytes: &[u8], compression: Compression) -> Result<Vec<u8>, ValueError> {
        let packed = compression.compress(bytes)?;
        match self {
            Self::Plain(_) | Self::ZlibOrGzip(_) => Ok(packed),
            Self::ZstdWithoutMagic => Ok(packed.strip_prefix(ZSTD).map(<[u8]>::to_vec).unwrap_or(packed)),
            Self::BehindLength(_) => {
                let length = u32::try_from(bytes.len());
                let length = length.map_err(|_| ValueError::unwritable("php-memcached", "it is longer than 4 GiB"))?;
                // Little-endian, like nearly all machines that run PHP.
                Ok([&length.to_le_bytes()[..], &packed].concat())
            }
        }
    }
}

fn with_magic(bytes: &[u8]) -> Cow<'_, [u8]> {
    match bytes.starts_with(ZSTD) {
        true => bytes.into(),
        false => [ZSTD, bytes].concat().into(),
    }
}

/// The first bytes of a gzip member (RFC 1952, 2.3.1).
const GZIP: &[u8] = &[0x1f, 0x8b];
/// The first bytes of a Zstandard frame (RFC 8878, 3.1.1).
const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];
