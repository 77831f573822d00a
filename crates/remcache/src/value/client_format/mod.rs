//! Client formats: how other clients encode values and flags.
pub(crate) mod encoding;
pub(crate) mod framing;

mod table;

use std::fmt;
use std::str::FromStr;

use bytes::Bytes;

use super::{Compression, Encoded, Value, ValueError};
use crate::proto::CowBytes;
use table::{LAYOUTS, Layout};

/// How another client encodes values and flags.
///
/// The tables, and the versions they were tested with, are in
/// [docs/values.md](https://github.com/remcache/remcache/blob/main/docs/values.md).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ClientFormat {
    /// pylibmc, and libmemcached's other bindings for Python.
    Pylibmc,
    /// pymemcache with `pickle_serde` or `compressed_serde`.
    Pymemcache,
    /// python-memcached.
    PythonMemcached,
    /// meta-memcache-py.
    MetaMemcache,
    /// Dalli since 5.0.4; values of earlier versions can be decoded, but their text is bytes.
    Dalli,
    /// php-memcached, the extension `memcached`.
    PhpMemcached,
    /// spymemcached, xmemcached and EVCache with their `SerializingTranscoder`.
    Spymemcached,
    /// spymemcached and xmemcached with `WhalinTranscoder`, and Greg Whalin's client.
    Whalin,
    /// gomemcache, and clients without a format: bytes, with the application's flags.
    Gomemcache,
}

impl ClientFormat {
    /// All client formats.
    pub const ALL: &[Self] = &[
        Self::Pylibmc,
        Self::Pymemcache,
        Self::PythonMemcached,
        Self::MetaMemcache,
        Self::Dalli,
        Self::PhpMemcached,
        Self::Spymemcached,
        Self::Whalin,
        Self::Gomemcache,
    ];

    /// Returns the name of the client.
    pub fn name(self) -> &'static str {
        self.layout().name
    }

    fn layout(self) -> &'static Layout {
        // A test checks that the table is complete.
        LAYOUTS.iter().find(|layout| layout.client_format == self).unwrap_or(&table::PLAIN)
    }

    /// Decodes a value that this client stored, of at most
    /// [`DEFAULT_MAX_DECOMPRESSED_SIZE`](super::DEFAULT_MAX_DECOMPRESSED_SIZE) decompressed bytes.
    ///
    /// ```
    /// use remcache::value::{ClientFormat, Serializer, Value};
    ///
    /// let value = ClientFormat::Spymemcached.decode(0x0200, vec![0x2a].into())?;
    /// assert_eq!(value, Value::Integer(42));
    ///
    /// let value = ClientFormat::Dalli.decode(1, b"\x04\x08i/"[..].into())?;
    /// assert!(matches!(value, Value::Serialized { by: Serializer::Marshal, .. }));
    /// # Ok::<(), remcache::value::ValueError>(())
    /// ```
    ///
    /// # Errors
    /// [`ValueError`] if the client does not use these flags, or the bytes do not match them.
    pub fn decode(self, flags: u32, bytes: Bytes) -> Result<Value, ValueError> {
        self.decode_with_limit(flags, bytes, super::DEFAULT_MAX_DECOMPRESSED_SIZE)
    }

    /// Decodes a value that this client stored, of at most `limit` decompressed bytes.
    ///
    /// # Errors
    /// Same as [`ClientFormat::decode`].
    pub fn decode_with_limit(self, flags: u32, bytes: Bytes, limit: usize) -> Result<Value, ValueError> {
        let layout = self.layout();
        let (form, packing) = layout.read(flags).ok_or(ValueError::ForeignFlags(self, flags))?;
        let bytes = match packing {
            Some(packing) => packing.unpack(&bytes, limit)?.into(),
            None => bytes,
        };
        form.read(bytes)
    }

    /// Encodes a value so that this client can read it.
    ///
    /// ```
    /// use remcache::value::{ClientFormat, Value};
    ///
    /// let value = Value::Bool(true);
    /// let encoded = ClientFormat::PhpMemcached.encode(&value)?;
    /// assert_eq!((encoded.flags, encoded.bytes.as_slice()), (3, &b"1"[..]));
    /// # Ok::<(), remcache::value::ValueError>(())
    /// ```
    ///
    /// # Errors
    /// [`ValueError::Unwritable`] if it would need the client's own serializer.
    pub fn encode(self, value: &Value) -> Result<Encoded<'_>, ValueError> {
        let layout = self.layout();
        let written = layout.forms.iter().find_map(|(flags, form)| Some((*flags, form.write(value)?)));
        let (flags, bytes) = written.ok_or_else(|| {
            let reason = format!("{} would need {}", value.kind(), layout.otherwise);
            ValueError::unwritable(layout.name, reason)
        })?;
        Ok(Encoded { flags, bytes })
    }

    /// Compresses an encoded value, if that makes it smaller and the client can read it.
    pub(crate) fn compress<'a>(
        self,
        encoded: Encoded<'a>,
        compression: Compression,
    ) -> Result<Encoded<'a>, ValueError> {
        let layout = self.layout();
        let packing = layout.packing_of(compression).ok_or(ValueError::UnsupportedCompression(self, compression))?;
        let may = layout.read(encoded.flags).is_some_and(|(form, _)| form.may_be_compressed());
        if !may {
            return Ok(encoded);
        }
        let packed = packing.1.pack(encoded.bytes.as_slice(), compression)?;
        match packed.len() < encoded.bytes.len() {
            true => Ok(Encoded { flags: encoded.flags | packing.0, bytes: CowBytes::from(packed) }),
            false => Ok(encoded),
        }
    }
}

impl fmt::Display for ClientFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for ClientFormat {
    type Err = UnknownClientFormat;

    fn from_str(name: &str) -> Result<Self, UnknownClientFormat> {
        let known = Self::ALL.iter().find(|client_format| client_format.name() == name);
        known.copied().ok_or_else(|| UnknownClientFormat(name.to_owned()))
    }
}

/// An unknown client format.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct UnknownClientFormat(pub String);

impl fmt::Display for UnknownClientFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = ClientFormat::ALL.iter().map(|client_format| client_format.name()).collect();
        write!(f, "there is no client format {:?}: the formats are {}", self.0, names.join(", "))
    }
}

impl std::error::Error for UnknownClientFormat {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_convention_has_a_layout_and_a_name_of_its_own() {
        for client_format in ClientFormat::ALL {
            assert_eq!(
                LAYOUTS.iter().filter(|layout| layout.client_format == *client_format).count(),
                1,
                "{client_format:?}"
            );
            assert_eq!(client_format.name().parse(), Ok(*client_format));
        }
        assert_eq!(LAYOUTS.len(), ClientFormat::ALL.len());
        assert!("memcachedb".parse::<ClientFormat>().unwrap_err().to_string().contains("pylibmc"));
    }

    #[test]
    fn the_same_flags_mean_different_things() {
        let text = || Bytes::from_static(b"1");
        let read = |client_format: ClientFormat, flags| client_format.decode(flags, text()).ok();
        assert_eq!(read(ClientFormat::Pylibmc, 16), Some("1".into()));
        assert_eq!(read(ClientFormat::MetaMemcache, 16), Some(text().into()));
        assert_eq!(read(ClientFormat::Pymemcache, 2), Some(1.into()));
        assert_eq!(read(ClientFormat::Pylibmc, 2), Some(true.into()));
        assert_eq!(read(ClientFormat::PhpMemcached, 2), Some(1.0.into()));
        assert_eq!(read(ClientFormat::Spymemcached, 2), None, "it is no gzip");
        assert_eq!(read(ClientFormat::Gomemcache, 2), Some(text().into()));
    }

    #[test]
    fn flags_that_a_client_does_not_write_are_named() {
        for (client_format, flags) in [
            (ClientFormat::Pylibmc, 32),
            (ClientFormat::Pylibmc, 3),
            (ClientFormat::Pymemcache, 1 << 16),
            (ClientFormat::Dalli, 8),
            (ClientFormat::Dalli, 5),
            (ClientFormat::PhpMemcached, 8),
            (ClientFormat::PhpMemcached, 0x10),
            (ClientFormat::Spymemcached, 0x900),
            (ClientFormat::Spymemcached, 4),
            (ClientFormat::Whalin, 0),
            (ClientFormat::Whalin, 36),
        ] {
            let error = client_format.decode(flags, Bytes::from_static(b"1")).unwrap_err();
            assert_eq!(error, ValueError::ForeignFlags(client_format, flags));
            assert!(error.to_string().contains(&format!("{flags:#010x}")), "{error}");
        }
    }
}
