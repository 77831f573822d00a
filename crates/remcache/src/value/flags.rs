//! remcache's flags: magic number, compression and format.

use std::fmt;

use super::{Compression, ValueError};

/// Flags that remcache stores with a value.
///
/// | bits | meaning |
/// |---|---|
/// | 31 to 16 | magic number `0x7265`, "re"; flags of other clients are small numbers |
/// | 15 | the value is in chunks: see [`Cache::chunked`](crate::cache::Cache::chunked) |
/// | 14 | the format is the application's: see [`Format::Custom`] |
/// | 13 to 8 | the [`Compression`]: 0 none, 1 zstd, 2 lz4, 3 zlib, 4 gzip; with bit 14, 63: a [sentinel of `fetch`](crate::recipes#stored-items) |
/// | 7 to 0 | the [`Format`]: 0 bytes, 1 text, 2 integer, 3 JSON, 4 MessagePack, 5 postcard; with bit 14, 0 to 255: the application's |
///
/// Flags of 0, stored by clients without a format and by the server for a counter that it creates, are decoded only as
/// bytes, text or integers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Flags {
    /// The format of the value.
    pub format: Format,
    /// The compression, if the value is compressed.
    pub compression: Option<Compression>,
}

/// The format of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Format {
    /// Plain bytes.
    Bytes,
    /// Text in UTF-8.
    Text,
    /// An integer in decimal digits, like the server's counters.
    Integer,
    /// JSON.
    Json,
    /// MessagePack, with the names of fields.
    MessagePack,
    /// postcard.
    Postcard,
    /// A format of the application, with a number from 0 to 255.
    Custom(u8),
}

impl Flags {
    /// Creates flags for this format and compression.
    pub fn new(format: Format, compression: Option<Compression>) -> Self {
        Self { format, compression }
    }

    /// Encodes the flags as the stored number.
    ///
    /// ```
    /// use remcache::value::{Compression, Flags, Format};
    ///
    /// let flags = Flags::new(Format::Json, Some(Compression::Zstd));
    /// assert_eq!(flags.to_bits(), 0x7265_0103);
    /// assert_eq!(Flags::from_bits(0x7265_0103), Ok(flags));
    /// ```
    pub fn to_bits(self) -> u32 {
        let compression = COMPRESSIONS.iter().find(|(_, known)| self.compression == Some(*known));
        MARK | compression.map_or(0, |(number, _)| u32::from(*number) << 8) | self.format.bits()
    }

    /// Decodes a stored number.
    ///
    /// # Errors
    /// [`ValueError::UnknownFlags`] if they are not remcache's flags.
    pub fn from_bits(bits: u32) -> Result<Self, ValueError> {
        let [high, low, compression, format] = bits.to_be_bytes();
        let unknown = || ValueError::UnknownFlags(bits);
        if u32::from_be_bytes([high, low, 0, 0]) != MARK {
            return Err(unknown());
        }
        if compression & CHUNKED != 0 {
            return Err(ValueError::Chunked);
        }
        let is_custom = compression & CUSTOM != 0;
        let compression = match compression & !CUSTOM {
            0 => None,
            number => Some(COMPRESSIONS.iter().find(|(known, _)| *known == number).ok_or_else(unknown)?.1),
        };
        let format = if is_custom { Some(Format::Custom(format)) } else { Format::known(format) };
        Ok(Self { format: format.ok_or_else(unknown)?, compression })
    }
}

impl Format {
    /// Returns the bits of the flags that identify the format.
    fn bits(self) -> u32 {
        match self {
            Self::Custom(number) => u32::from(CUSTOM) << 8 | u32::from(number),
            // Every other format is in the table.
            known => FORMATS.iter().find(|row| row.1 == known).map_or(0, |row| u32::from(row.0)),
        }
    }

    /// Returns the built-in format with this number.
    fn known(number: u8) -> Option<Self> {
        FORMATS.iter().find(|row| row.0 == number).map(|row| row.1)
    }

    /// Returns the name of the format.
    pub fn name(self) -> &'static str {
        FORMATS.iter().find(|row| row.1 == self).map_or("the application's format", |row| row.2)
    }

    /// Returns whether values with flags of 0 may be decoded in this format.
    pub(crate) fn is_plain(self) -> bool {
        matches!(self, Self::Bytes | Self::Text | Self::Integer)
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Custom(number) => write!(f, "the application's format {number}"),
            _ => f.write_str(self.name()),
        }
    }
}

const MARK: u32 = 0x7265_0000;
/// The bit that marks a chunked value, in the byte of the compression.
const CHUNKED: u8 = 0x80;
/// The bit that marks an application's format, in the byte of the compression.
const CUSTOM: u8 = 0x40;

/// The formats: number, format, name.
const FORMATS: &[(u8, Format, &str)] = &[
    (0, Format::Bytes, "bytes"),
    (1, Format::Text, "text"),
    (2, Format::Integer, "an integer"),
    (3, Format::Json, "JSON"),
    (4, Format::MessagePack, "MessagePack"),
    (5, Format::Postcard, "postcard"),
];

const COMPRESSIONS: &[(u8, Compression)] =
    &[(1, Compression::Zstd), (2, Compression::Lz4), (3, Compression::Zlib), (4, Compression::Gzip)];

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> impl Iterator<Item = Flags> {
        let formats = FORMATS.iter().map(|row| row.1).chain((0..=255).map(Format::Custom));
        let compressions = || COMPRESSIONS.iter().map(|row| Some(row.1)).chain([None]);
        formats.flat_map(move |format| compressions().map(move |compression| Flags::new(format, compression)))
    }

    #[test]
    fn flags_come_back_and_no_two_share_a_number() {
        let mut numbers: Vec<u32> = all().map(Flags::to_bits).collect();
        for (flags, number) in all().zip(&numbers) {
            assert_eq!(Flags::from_bits(*number), Ok(flags), "{number:#x}");
        }
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), all().count());
    }

    #[test]
    fn values_of_other_clients_are_not_recognized_as_ours() {
        let small = 0..=0xffff_u32;
        let users_of_php = (1..=0xffff_u32).map(|user| user << 16).filter(|bits| *bits != MARK);
        for bits in small.chain(users_of_php) {
            assert_eq!(Flags::from_bits(bits), Err(ValueError::UnknownFlags(bits)));
        }
    }

    #[test]
    fn unknown_numbers_under_the_mark_are_refused() {
        for bits in [MARK | 6, MARK | 0xff, MARK | 0x500, MARK | 0x4500, MARK | 0x7f00] {
            assert_eq!(Flags::from_bits(bits), Err(ValueError::UnknownFlags(bits)), "{bits:#x}");
        }
        assert_eq!(Flags::from_bits(MARK | 0x8103), Err(ValueError::Chunked));
        assert!(ValueError::UnknownFlags(2).to_string().contains("0x00000002"));
    }
}
