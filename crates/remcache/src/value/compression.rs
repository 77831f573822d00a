//! Compression, and decompression within a limit.

use std::fmt;
#[cfg(any(feature = "zstd", feature = "deflate"))]
use std::io::{BufRead, Read};

use super::ValueError;
#[cfg(any(feature = "zstd", feature = "lz4", feature = "deflate"))]
use crate::reason::Reason;

/// Compression algorithm of a value.
///
/// Each needs the feature of the same name (`deflate` for zlib and gzip). Decoding a value whose compression is not
/// compiled in is an error that names the feature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Compression {
    /// Zstandard, a frame of level 3: small and fast; the best choice if no other client reads the value.
    Zstd,
    /// LZ4, one block preceded by its length in 32 bits, little-endian: less compact, and the fastest.
    Lz4,
    /// zlib, which most other clients write.
    Zlib,
    /// gzip, which Java clients write.
    Gzip,
    /// FastLZ, which php-memcached writes: decompression only (feature `deflate`).
    FastLz,
}

/// Default maximum decompressed length of a value, in bytes.
pub const DEFAULT_MAX_DECOMPRESSED_SIZE: usize = 16 << 20;

impl Compression {
    /// All compressions.
    pub const ALL: &[Self] = &[Self::Zstd, Self::Lz4, Self::Zlib, Self::Gzip, Self::FastLz];

    /// Returns the feature that this compression needs.
    pub fn feature(self) -> &'static str {
        match self {
            Self::Zstd => "zstd",
            Self::Lz4 => "lz4",
            Self::Zlib | Self::Gzip | Self::FastLz => "deflate",
        }
    }

    /// Compresses bytes.
    ///
    /// # Errors
    /// [`ValueError::NotCompiledIn`] without its feature, [`ValueError::Unwritable`] for
    /// [`FastLz`](Self::FastLz).
    pub fn compress(self, bytes: &[u8]) -> Result<Vec<u8>, ValueError> {
        match self {
            #[cfg(feature = "zstd")]
            Self::Zstd => zstd::bulk::compress(bytes, ZSTD_LEVEL)
                .map_err(|error| ValueError::unwritable("zstd", Reason::caused_by(error))),
            #[cfg(feature = "lz4")]
            Self::Lz4 => Ok(lz4_flex::block::compress_prepend_size(bytes)),
            #[cfg(feature = "deflate")]
            Self::Zlib => read_all(flate2::bufread::ZlibEncoder::new(bytes, flate2::Compression::default())),
            #[cfg(feature = "deflate")]
            Self::Gzip => read_all(flate2::bufread::GzEncoder::new(bytes, flate2::Compression::default())),
            #[cfg(feature = "deflate")]
            Self::FastLz => {
                Err(ValueError::unwritable("FastLZ", "it is read only; write zlib, which its readers know too"))
            }
            #[cfg(not(all(feature = "zstd", feature = "lz4", feature = "deflate")))]
            _ => {
                let _ = bytes;
                Err(ValueError::NotCompiledIn(self))
            }
        }
    }

    /// Decompresses bytes, up to `limit`.
    ///
    /// Memory grows with the output, not with an announced length.
    ///
    /// # Errors
    /// [`ValueError::TooLarge`] if the output exceeds `limit` bytes, [`ValueError::Corrupt`] if the bytes are damaged
    /// or have trailing data, [`ValueError::NotCompiledIn`] without its feature.
    pub fn decompress(self, bytes: &[u8], limit: usize) -> Result<Vec<u8>, ValueError> {
        match self {
            #[cfg(feature = "zstd")]
            Self::Zstd => unzstd(bytes, limit),
            #[cfg(feature = "lz4")]
            Self::Lz4 => unlz4(bytes, limit),
            #[cfg(feature = "deflate")]
            Self::Zlib => {
                let mut reader = flate2::bufread::ZlibDecoder::new(bytes);
                let value = read_bounded(self, &mut reader, limit)?;
                ensure_end(self, reader.into_inner()).map(|()| value)
            }
            #[cfg(feature = "deflate")]
            Self::Gzip => {
                let mut reader = flate2::bufread::GzDecoder::new(bytes);
                let value = read_bounded(self, &mut reader, limit)?;
                ensure_end(self, reader.into_inner()).map(|()| value)
            }
            #[cfg(feature = "deflate")]
            Self::FastLz => super::fastlz::decompress(bytes, limit),
            #[cfg(not(all(feature = "zstd", feature = "lz4", feature = "deflate")))]
            _ => {
                let _ = (bytes, limit);
                Err(ValueError::NotCompiledIn(self))
            }
        }
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Zstd => "zstd",
            Self::Lz4 => "lz4",
            Self::Zlib => "zlib",
            Self::Gzip => "gzip",
            Self::FastLz => "FastLZ",
        })
    }
}

/// Decompresses a frame of Zstandard.
///
/// The library allocates its window by the frame's header: up to the limit, but at least 8 MiB, which RFC 8878
/// (3.1.1.1.2) requires every decoder to accept.
#[cfg(feature = "zstd")]
fn unzstd(bytes: &[u8], limit: usize) -> Result<Vec<u8>, ValueError> {
    let corrupt = |error| ValueError::corrupt(Compression::Zstd, Reason::caused_by(error));
    let mut reader = zstd::stream::read::Decoder::with_buffer(bytes).map_err(corrupt)?.single_frame();
    let window = usize::BITS.saturating_sub(limit.leading_zeros()).clamp(23, 31);
    reader.window_log_max(window).map_err(corrupt)?;
    let value = read_bounded(Compression::Zstd, &mut reader, limit)?;
    ensure_end(Compression::Zstd, reader.finish()).map(|()| value)
}

/// Decompresses a block of LZ4 preceded by its length.
///
/// The length determines the allocation, so it is checked against the limit and against the maximum that this
/// many bytes can expand to: LZ4 expands a byte to at most 255.
#[cfg(feature = "lz4")]
fn unlz4(bytes: &[u8], limit: usize) -> Result<Vec<u8>, ValueError> {
    let corrupt = |reason| ValueError::corrupt(Compression::Lz4, reason);
    let (length, block) = bytes.split_first_chunk().ok_or_else(|| corrupt(Reason::from("the length is cut off")))?;
    let length = usize::try_from(u32::from_le_bytes(*length)).unwrap_or(usize::MAX);
    if length > block.len().saturating_mul(255) {
        return Err(corrupt(format!("{} bytes cannot become {length}", block.len()).into()));
    }
    if length > limit {
        return Err(ValueError::TooLarge { limit });
    }
    let value = lz4_flex::block::decompress(block, length).map_err(|error| corrupt(Reason::caused_by(error)))?;
    match value.len() == length {
        true => Ok(value),
        false => Err(corrupt(format!("{length} bytes were announced, and {} came", value.len()).into())),
    }
}

#[cfg(feature = "deflate")]
fn read_all(mut reader: impl Read) -> Result<Vec<u8>, ValueError> {
    let mut bytes = Vec::new();
    let result = reader.read_to_end(&mut bytes).map(|_| bytes);
    result.map_err(|error| ValueError::unwritable("zlib or gzip", Reason::caused_by(error)))
}

/// Reads to the end; fails after `limit` bytes.
#[cfg(any(feature = "zstd", feature = "deflate"))]
fn read_bounded(compression: Compression, reader: &mut impl Read, limit: usize) -> Result<Vec<u8>, ValueError> {
    let mut value = Vec::new();
    let mut chunk = [0; CHUNK];
    loop {
        let count =
            reader.read(&mut chunk).map_err(|error| ValueError::corrupt(compression, Reason::caused_by(error)))?;
        let read = chunk.get(..count).unwrap_or_default();
        if read.is_empty() {
            return Ok(value);
        }
        extend_bounded(&mut value, read, limit)?;
    }
}

/// Appends bytes; the capacity doubles as needed, up to the limit.
#[cfg(any(feature = "zstd", feature = "deflate"))]
pub(crate) fn extend_bounded(value: &mut Vec<u8>, bytes: &[u8], limit: usize) -> Result<(), ValueError> {
    let length = value.len().saturating_add(bytes.len());
    if length > limit {
        return Err(ValueError::TooLarge { limit });
    }
    if length > value.capacity() {
        let capacity = value.capacity().saturating_mul(2).clamp(length, limit);
        value.reserve_exact(capacity.saturating_sub(value.len()));
    }
    value.extend_from_slice(bytes);
    Ok(())
}

#[cfg(any(feature = "zstd", feature = "deflate"))]
fn ensure_end(compression: Compression, mut rest: impl BufRead) -> Result<(), ValueError> {
    match rest.fill_buf() {
        Ok([]) => Ok(()),
        _ => Err(ValueError::corrupt(compression, "there are bytes behind its end")),
    }
}

/// Chunk size of decompression, in bytes.
#[cfg(any(feature = "zstd", feature = "deflate"))]
const CHUNK: usize = 8 << 10;
/// Zstandard's own default.
#[cfg(feature = "zstd")]
const ZSTD_LEVEL: i32 = 3;

#[cfg(all(test, feature = "zstd", feature = "lz4", feature = "deflate"))]
mod tests {
    use super::*;

    const WRITTEN: [Compression; 4] = [Compression::Zstd, Compression::Lz4, Compression::Zlib, Compression::Gzip];

    #[test]
    fn bytes_come_back_up_to_the_limit_and_not_past_it() {
        for compression in WRITTEN {
            for length in [0, 1, 100, 8_191, 8_192, 8_193, 100_000] {
                let bytes: Vec<u8> = (0..length).map(|n| (n / 7 % 251) as u8).collect();
                let small = compression.compress(&bytes).unwrap();
                assert_eq!(compression.decompress(&small, length).unwrap(), bytes, "{compression} of {length}");
                if let Some(limit) = length.checked_sub(1) {
                    assert_eq!(compression.decompress(&small, limit), Err(ValueError::TooLarge { limit }));
                }
            }
        }
    }

    #[test]
    fn memory_stays_within_the_limit() {
        for compression in WRITTEN {
            let small = compression.compress(&[7; 100_000]).unwrap();
            let value = compression.decompress(&small, 100_001).unwrap();
            assert!(value.capacity() <= 100_001, "{compression}: {}", value.capacity());
        }
    }

    #[test]
    fn a_cut_or_a_tail_is_damage() {
        for compression in WRITTEN {
            let small = compression.compress(b"some text, some more text, and some more text").unwrap();
            for length in 0..small.len() {
                let result = compression.decompress(&small[..length], 1000);
                assert!(matches!(result, Err(ValueError::Corrupt(..))), "{compression}, {length} bytes: {result:?}");
            }
            let longer = [&small[..], b"x"].concat();
            assert!(compression.decompress(&longer, 1000).is_err(), "{compression}");
        }
    }

    #[test]
    fn an_announced_length_is_not_believed() {
        let block = Compression::Lz4.compress(&[7; 1000]).unwrap();
        for length in [999_u32, 1001, 2000, u32::MAX] {
            let lying = [&length.to_le_bytes(), &block[4..]].concat();
            assert!(Compression::Lz4.decompress(&lying, usize::MAX).is_err(), "{length}");
        }
    }
}
