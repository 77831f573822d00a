//! Table of client formats: which flags stand for which encoding and framing.

use super::ClientFormat;
use crate::value::client_format::encoding::Encoding;
use crate::value::client_format::framing::Packing;
use crate::value::{Compression, Serializer};

/// The flags of one client.
#[derive(Debug)]
pub(crate) struct Layout {
    pub(crate) client_format: ClientFormat,
    pub(crate) name: &'static str,
    /// The serializer that the client uses for all other values.
    pub(crate) otherwise: &'static str,
    /// The bits that identify the form.
    form_mask: u32,
    /// The bits available to the application.
    application: u32,
    /// Flags and forms; a value is encoded in the first form that supports it.
    pub(crate) forms: &'static [(u32, Encoding)],
    /// Compression bits and their framing.
    packings: &'static [(u32, Packing)],
}

impl Layout {
    /// Returns the form and framing of these flags; `None` if the client does not use them.
    pub(crate) fn read(&self, flags: u32) -> Option<(Encoding, Option<Packing>)> {
        let form = self.forms.iter().find(|row| row.0 == flags & self.form_mask)?.1;
        match flags & !self.form_mask & !self.application {
            0 => Some((form, None)),
            bits => Some((form, Some(self.packings.iter().find(|row| row.0 == bits)?.1))),
        }
    }

    /// Returns the bits and the framing of a compression.
    pub(crate) fn packing_of(&self, compression: Compression) -> Option<(u32, Packing)> {
        self.packings.iter().find(|row| row.1.writes(compression)).copied()
    }
}

/// The layout of clients without a format.
pub(crate) const PLAIN: Layout = Layout {
    client_format: ClientFormat::Gomemcache,
    name: "gomemcache",
    otherwise: "a serializer of the application",
    form_mask: 0,
    application: u32::MAX,
    forms: &[(0, Encoding::Octets)],
    packings: &[],
};

pub(crate) static LAYOUTS: &[Layout] = &[
    Layout {
        client_format: ClientFormat::Pylibmc,
        name: "pylibmc",
        otherwise: "pickle",
        form_mask: 1 | 2 | 4 | 16,
        application: 0,
        forms: &[
            (0, Encoding::Bytes),
            (16, Encoding::Text),
            (2, Encoding::DigitBool),
            (4, Encoding::Decimal),
            (1, Encoding::Serialized(Serializer::Pickle)),
        ],
        packings: &[(8, Packing::Plain(Compression::Zlib))],
    },
    Layout {
        client_format: ClientFormat::Pymemcache,
        name: "pymemcache",
        otherwise: "pickle",
        form_mask: 1 | 2 | 4 | 16,
        application: 0,
        forms: PYTHON,
        packings: &[(8, Packing::Plain(Compression::Zlib))],
    },
    Layout {
        client_format: ClientFormat::PythonMemcached,
        name: "python-memcached",
        otherwise: "pickle",
        form_mask: 1 | 2 | 4 | 16,
        application: 0,
        forms: PYTHON,
        packings: &[(8, Packing::Plain(Compression::Zlib))],
    },
    Layout {
        client_format: ClientFormat::MetaMemcache,
        name: "meta-memcache",
        otherwise: "pickle",
        form_mask: 1 | 2 | 4 | 16,
        application: 0,
        forms: &[
            (0, Encoding::Text),
            (16, Encoding::Bytes),
            (2, Encoding::Decimal),
            (4, Encoding::Decimal),
            (1, Encoding::Serialized(Serializer::Pickle)),
        ],
        packings: &[(8, Packing::Plain(Compression::Zlib)), (32, Packing::ZstdWithoutMagic)],
    },
    Layout {
        client_format: ClientFormat::Dalli,
        name: "dalli",
        otherwise: "Marshal",
        form_mask: 1 | 4,
        application: 0,
        forms: &[(0, Encoding::Bytes), (4, Encoding::Text), (1, Encoding::Serialized(Serializer::Marshal))],
        packings: &[(2, Packing::ZlibOrGzip(Compression::Zlib))],
    },
    Layout {
        client_format: ClientFormat::PhpMemcached,
        name: "php-memcached",
        otherwise: "PHP serialize",
        form_mask: 0xf,
        application: 0xffff_0000,
        forms: &[
            (0, Encoding::Octets),
            (1, Encoding::Decimal),
            (2, Encoding::PhpFloat),
            (3, Encoding::PhpBool),
            (4, Encoding::Serialized(Serializer::Php)),
            (5, Encoding::Serialized(Serializer::Igbinary)),
            (6, Encoding::Serialized(Serializer::Json)),
            (7, Encoding::Serialized(Serializer::MessagePack)),
        ],
        packings: &[
            (0x30, Packing::BehindLength(Compression::Zlib)),
            (0x50, Packing::BehindLength(Compression::FastLz)),
            (0x90, Packing::BehindLength(Compression::Zstd)),
        ],
    },
    Layout {
        client_format: ClientFormat::Spymemcached,
        name: "spymemcached",
        otherwise: "Java serialization",
        form_mask: 0xff01,
        application: 0,
        forms: &[
            (0, Encoding::Text),
            (0x0100, Encoding::DigitBool),
            (0x0200, Encoding::Packed(4)),
            (0x0300, Encoding::Packed(8)),
            (0x0400, Encoding::PackedDate),
            (0x0500, Encoding::Byte),
            (0x0700, Encoding::PackedDouble),
            (0x0600, Encoding::PackedFloat),
            (0x0800, Encoding::Bytes),
            (0x0001, Encoding::Serialized(Serializer::Java)),
        ],
        packings: &[(2, Packing::ZlibOrGzip(Compression::Gzip))],
    },
    Layout {
        client_format: ClientFormat::Whalin,
        name: "whalin",
        otherwise: "Java serialization",
        form_mask: 0x7ffd,
        application: 0,
        forms: &[
            (32, Encoding::Text),
            (64, Encoding::Text),
            (2048, Encoding::Text),
            (4096, Encoding::Bytes),
            (8192, Encoding::ByteBool),
            (4, Encoding::Wide(4)),
            (16384, Encoding::Wide(8)),
            (256, Encoding::Wide(4)),
            (1, Encoding::Byte),
            (1024, Encoding::WideDate),
            (512, Encoding::WideDouble),
            (128, Encoding::WideFloat),
            (16, Encoding::Character),
            (8, Encoding::Serialized(Serializer::Java)),
        ],
        packings: &[(2, Packing::ZlibOrGzip(Compression::Gzip))],
    },
    PLAIN,
];

/// The forms of pymemcache and python-memcached: integers have flags 2, those stored by Python 2 have 4.
const PYTHON: &[(u32, Encoding)] = &[
    (0, Encoding::Bytes),
    (16, Encoding::Text),
    (2, Encoding::Decimal),
    (4, Encoding::Decimal),
    (1, Encoding::Serialized(Serializer::Pickle)),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_rows_of_a_layout_share_flags() {
        for layout in LAYOUTS {
            let mut flags: Vec<u32> = layout.forms.iter().map(|row| row.0).collect();
            flags.sort_unstable();
            flags.dedup();
            assert_eq!(flags.len(), layout.forms.len(), "{}", layout.name);
        }
    }

    #[test]
    fn every_bit_has_one_meaning() {
        for layout in LAYOUTS {
            assert_eq!(layout.form_mask & layout.application, 0, "{}", layout.name);
            for (flags, form) in layout.forms {
                assert_eq!(flags & !layout.form_mask, 0, "{}: {form:?}", layout.name);
            }
            for (bits, packing) in layout.packings {
                assert_eq!(bits & (layout.form_mask | layout.application), 0, "{}: {packing:?}", layout.name);
            }
        }
    }

    #[test]
    fn every_row_is_read_as_it_stands() {
        for layout in LAYOUTS {
            for (flags, form) in layout.forms {
                assert_eq!(layout.read(*flags), Some((*form, None)), "{}", layout.name);
                for (bits, packing) in layout.packings {
                    assert_eq!(layout.read(flags | bits), Some((*form, Some(*packing))), "{}", layout.name);
                }
            }
        }
    }
}
