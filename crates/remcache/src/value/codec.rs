//! Codecs: convert values of one Rust type to flags and bytes, and back.

#[cfg(any(feature = "json", feature = "msgpack", feature = "postcard"))]
use std::error::Error;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use bytestring::ByteString;

use super::{
    ClientFormat, Compression, DEFAULT_MAX_DECOMPRESSED_SIZE, Flags, Format, Integer, Value, ValueError, number,
};
use crate::proto::CowBytes;
use crate::reason::Reason;

/// Converts values of one Rust type to flags and bytes, and back. Cloning it is cheap.
///
/// It decodes to `T` and encodes from `B`: the text codec encodes a `&str`, and decodes to a [`ByteString`] that shares
/// the bytes of the reply.
///
/// | codec | encodes | decodes to | feature |
/// |---|---|---|---|
/// | [`Codec::bytes`] | `&Bytes` | `Bytes` | |
/// | [`Codec::text`] | `&str` | [`ByteString`] | |
/// | [`Codec::integer`] | any integer | the same | |
/// | `Codec::json`, `Codec::msgpack`, `Codec::postcard` | any type with serde support | the same | `json`, `msgpack`, `postcard` |
/// | [`Codec::client_format`] | [`Value`] | [`Value`] | |
/// | [`Codec::custom`] | anything | the same | |
///
/// ```
/// use remcache::value::Codec;
///
/// let codec = Codec::<u64>::integer();
/// let encoded = codec.encode(&42)?;
/// assert_eq!(encoded.bytes.as_slice(), b"42");
/// assert_eq!(codec.decode(encoded.flags, encoded.bytes.into_bytes())?, 42);
/// # Ok::<(), remcache::value::ValueError>(())
/// ```
pub struct Codec<T, B: ?Sized = T> {
    scheme: Scheme<T, B>,
    compression: Option<(Compression, usize)>,
    limit: usize,
}

/// An encoded value: flags and bytes.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Encoded<'a> {
    /// Flags to store with the bytes.
    pub flags: u32,
    /// The bytes: the value's own where that is possible.
    pub bytes: CowBytes<'a>,
}

enum Scheme<T, B: ?Sized> {
    Own { format: Format, write: Arc<Write<B>>, read: Arc<Read<T>> },
    Foreign { client_format: ClientFormat, write: fn(&B) -> &Value, read: fn(Value) -> T },
}

/// Encodes a value.
type Write<B> = dyn for<'a> Fn(&'a B) -> Result<CowBytes<'a>, ValueError> + Send + Sync;
/// Decodes bytes.
type Read<T> = dyn Fn(Bytes) -> Result<T, ValueError> + Send + Sync;

impl Codec<Bytes> {
    /// Creates a codec for bytes.
    pub fn bytes() -> Self {
        Self::own(Format::Bytes, |bytes| Ok(bytes.into()), Ok)
    }
}

impl Codec<ByteString, str> {
    /// Creates a codec for text that allocates neither when encoding nor when decoding.
    ///
    /// ```
    /// use remcache::value::Codec;
    ///
    /// let encoded = Codec::text().encode("Hello")?;
    /// let text = Codec::text().decode(encoded.flags, encoded.bytes.into_bytes())?;
    /// assert_eq!(text, "Hello");
    /// # Ok::<(), remcache::value::ValueError>(())
    /// ```
    pub fn text() -> Self {
        let read = |bytes| {
            ByteString::try_from(bytes).map_err(|error| ValueError::malformed("text", Reason::caused_by(error)))
        };
        Self::own(Format::Text, |text| Ok(text.into()), read)
    }
}

impl<N: Integer> Codec<N> {
    /// Creates a codec for integers in decimal digits, so that the server can increment and decrement them.
    pub fn integer() -> Self {
        Self::own(Format::Integer, |number| Ok(number.to_string().into()), |bytes| number::parse(&bytes))
    }
}

impl Codec<Value> {
    /// Creates a codec for values in another client's format.
    pub fn client_format(client_format: ClientFormat) -> Self {
        Self::new(Scheme::Foreign { client_format, write: |value| value, read: |value| value })
    }
}

#[cfg(feature = "json")]
impl<T: serde::Serialize + serde::de::DeserializeOwned> Codec<T> {
    /// Creates a codec for JSON, which any program and people can read.
    ///
    /// ```
    /// use remcache::value::Codec;
    ///
    /// let numbers = vec![1, 2, 3];
    /// let encoded = Codec::json().encode(&numbers)?;
    /// assert_eq!(encoded.bytes.as_slice(), b"[1,2,3]");
    /// # Ok::<(), remcache::value::ValueError>(())
    /// ```
    pub fn json() -> Self {
        Self::own(
            Format::Json,
            |value| written(Format::Json, serde_json::to_vec(value)),
            |bytes| read(Format::Json, serde_json::from_slice(&bytes)),
        )
    }
}

#[cfg(feature = "msgpack")]
impl<T: serde::Serialize + serde::de::DeserializeOwned> Codec<T> {
    /// Creates a codec for MessagePack with field names: more compact than JSON, and fields can be added later.
    pub fn msgpack() -> Self {
        Self::own(
            Format::MessagePack,
            |value| written(Format::MessagePack, rmp_serde::to_vec_named(value)),
            |bytes| read(Format::MessagePack, rmp_serde::from_slice(&bytes)),
        )
    }
}

#[cfg(feature = "postcard")]
impl<T: serde::Serialize + serde::de::DeserializeOwned> Codec<T> {
    /// Creates a codec for postcard, the most compact format. It is not self-describing, so a type that changes needs a
    /// new namespace.
    pub fn postcard() -> Self {
        Self::own(
            Format::Postcard,
            |value| written(Format::Postcard, postcard::to_stdvec(value)),
            |bytes| match postcard::take_from_bytes(&bytes) {
                Ok((value, [])) => Ok(value),
                Ok(_) => Err(ValueError::malformed(Format::Postcard.name(), "there are bytes behind its end")),
                Err(error) => Err(ValueError::malformed(Format::Postcard.name(), Reason::caused_by(error))),
            },
        )
    }
}

#[cfg(any(feature = "json", feature = "msgpack", feature = "postcard"))]
fn written(
    format: Format,
    result: Result<Vec<u8>, impl Error + Send + Sync + 'static>,
) -> Result<CowBytes<'static>, ValueError> {
    result.map(CowBytes::from).map_err(|error| ValueError::unwritable(format.name(), Reason::caused_by(error)))
}

#[cfg(any(feature = "json", feature = "msgpack"))]
fn read<T>(format: Format, result: Result<T, impl Error + Send + Sync + 'static>) -> Result<T, ValueError> {
    result.map_err(|error| ValueError::malformed(format.name(), Reason::caused_by(error)))
}

impl<T, B: ?Sized> Codec<T, B> {
    /// Creates a codec for an application-defined format, with a number from 0 to 255 that is stored in the
    /// [flags](super::Flags).
    ///
    /// A codec decodes only values with its own number. The functions may be closures.
    ///
    /// ```
    /// use remcache::proto::CowBytes;
    /// use remcache::value::{Codec, ValueError};
    ///
    /// let read = |bytes: bytes::Bytes| match *bytes {
    ///     [red, green, blue] => Ok((red, green, blue)),
    ///     _ => Err(ValueError::Malformed { format: "a colour", reason: "it has three bytes".into() }),
    /// };
    /// let colours: Codec<(u8, u8, u8)> = Codec::custom(7, |c: &(u8, u8, u8)| Ok(vec![c.0, c.1, c.2].into()), read);
    /// let encoded = colours.encode(&(1, 2, 3))?;
    /// assert_eq!(colours.decode(encoded.flags, encoded.bytes.into_bytes())?, (1, 2, 3));
    /// # Ok::<(), ValueError>(())
    /// ```
    pub fn custom(
        number: u8,
        write: impl for<'a> Fn(&'a B) -> Result<CowBytes<'a>, ValueError> + Send + Sync + 'static,
        read: impl Fn(Bytes) -> Result<T, ValueError> + Send + Sync + 'static,
    ) -> Self {
        Self::own(Format::Custom(number), write, read)
    }

    fn own(
        format: Format,
        write: impl for<'a> Fn(&'a B) -> Result<CowBytes<'a>, ValueError> + Send + Sync + 'static,
        read: impl Fn(Bytes) -> Result<T, ValueError> + Send + Sync + 'static,
    ) -> Self {
        Self::new(Scheme::Own { format, write: Arc::new(write), read: Arc::new(read) })
    }

    fn new(scheme: Scheme<T, B>) -> Self {
        Self { scheme, compression: None, limit: DEFAULT_MAX_DECOMPRESSED_SIZE }
    }

    /// Compresses values of at least `threshold` bytes if that makes them smaller (default: off).
    ///
    /// Values with any compression are decoded, so this can be changed at any time. Compression gains nothing
    /// below about a hundred bytes; start with a threshold of 1,024.
    #[must_use]
    pub fn compress(self, compression: Compression, threshold: usize) -> Self {
        Self { compression: Some((compression, threshold)), ..self }
    }

    /// Sets the maximum decompressed length of a value, in bytes (default: 16 MiB).
    #[must_use]
    pub fn max_decompressed_size(self, bytes: usize) -> Self {
        Self { limit: bytes, ..self }
    }

    /// Encodes a value.
    ///
    /// # Errors
    /// [`ValueError::Unwritable`] if it cannot be encoded in this format; [`ValueError::NotCompiledIn`] or
    /// [`ValueError::UnsupportedCompression`] if the compression is not available.
    pub fn encode<'a>(&self, value: &'a B) -> Result<Encoded<'a>, ValueError> {
        let encoded = match &self.scheme {
            Scheme::Own { format, write, .. } => {
                Encoded { flags: Flags::new(*format, None).to_bits(), bytes: write(value)? }
            }
            Scheme::Foreign { client_format, write, .. } => client_format.encode(write(value))?,
        };
        match self.compression {
            Some((compression, threshold)) if encoded.bytes.len() >= threshold => {
                self.compress_if_smaller(encoded, compression)
            }
            _ => Ok(encoded),
        }
    }

    fn compress_if_smaller<'a>(
        &self,
        encoded: Encoded<'a>,
        compression: Compression,
    ) -> Result<Encoded<'a>, ValueError> {
        let format = match &self.scheme {
            Scheme::Own { format, .. } => *format,
            Scheme::Foreign { client_format, .. } => return client_format.compress(encoded, compression),
        };
        let packed = compression.compress(encoded.bytes.as_slice())?;
        match packed.len() < encoded.bytes.len() {
            true => Ok(Encoded { flags: Flags::new(format, Some(compression)).to_bits(), bytes: packed.into() }),
            false => Ok(encoded),
        }
    }

    /// Decodes a value.
    ///
    /// # Errors
    /// [`ValueError`] if the flags are unknown or of another format, the bytes do not match the flags, or the value
    /// exceeds the limit.
    pub fn decode(&self, flags: u32, bytes: Bytes) -> Result<T, ValueError> {
        match &self.scheme {
            Scheme::Own { format, read, .. } => read(self.unpack(*format, flags, bytes)?),
            Scheme::Foreign { client_format, read, .. } => {
                client_format.decode_with_limit(flags, bytes, self.limit).map(read)
            }
        }
    }

    fn unpack(&self, expected: Format, flags: u32, bytes: Bytes) -> Result<Bytes, ValueError> {
        if flags == 0 && expected.is_plain() {
            return Ok(bytes);
        }
        let Flags { format: found, compression } = Flags::from_bits(flags)?;
        if found != expected {
            return Err(ValueError::WrongFormat { expected, found });
        }
        match compression {
            Some(compression) => Ok(compression.decompress(&bytes, self.limit)?.into()),
            None => Ok(bytes),
        }
    }
}

impl<T, B: ?Sized> Clone for Codec<T, B> {
    fn clone(&self) -> Self {
        Self { scheme: self.scheme.clone(), ..*self }
    }
}

impl<T, B: ?Sized> Clone for Scheme<T, B> {
    fn clone(&self) -> Self {
        match self {
            Self::Own { format, write, read } => {
                Self::Own { format: *format, write: Arc::clone(write), read: Arc::clone(read) }
            }
            Self::Foreign { client_format, write, read } => {
                Self::Foreign { client_format: *client_format, write: *write, read: *read }
            }
        }
    }
}

impl<T, B: ?Sized> fmt::Debug for Codec<T, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match &self.scheme {
            Scheme::Own { format, .. } => format.to_string(),
            Scheme::Foreign { client_format, .. } => client_format.to_string(),
        };
        let mut debug = f.debug_struct("Codec");
        debug.field("scheme", &scheme).field("compression", &self.compression).field("limit", &self.limit).finish()
    }
}
