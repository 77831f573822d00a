//! Values in the data model of other clients.

use std::fmt;
use std::time::SystemTime;

use bytes::Bytes;
use bytestring::ByteString;

/// A value in the data model of another client: see [`ClientFormat`](super::ClientFormat).
#[derive(Clone, PartialEq)]
#[non_exhaustive]
pub enum Value {
    /// Bytes.
    Bytes(Bytes),
    /// Text.
    Text(ByteString),
    /// An integer.
    Integer(i128),
    /// An integer beyond 128 bits, in decimal digits: Python's have no bound.
    BigInteger(ByteString),
    /// A floating-point number.
    Float(f64),
    /// True or false.
    Bool(bool),
    /// A point in time, to the millisecond.
    Date(SystemTime),
    /// Data serialized by a language, which is neither executed nor parsed.
    Serialized {
        /// The serializer.
        by: Serializer,
        /// The decompressed bytes.
        bytes: Bytes,
    },
}

/// The serializer of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Serializer {
    /// Python's pickle, which executes what it reads: never load it from a cache that others can write.
    Pickle,
    /// Ruby's Marshal, which executes what it reads.
    Marshal,
    /// Java's object stream, which executes what it reads.
    Java,
    /// PHP's `serialize`.
    Php,
    /// PHP's igbinary.
    Igbinary,
    /// JSON.
    Json,
    /// MessagePack.
    MessagePack,
}

impl Value {
    /// Returns the bytes of a value that is bytes or text.
    pub fn as_bytes(&self) -> Option<&[u8]> {
        match self {
            Self::Bytes(bytes) => Some(bytes),
            Self::Text(text) => Some(text.as_bytes()),
            _ => None,
        }
    }

    /// Returns the text of a value that is text.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Returns the kind of the value.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Bytes(_) => "bytes",
            Self::Text(_) => "text",
            Self::Integer(_) | Self::BigInteger(_) => "an integer",
            Self::Float(_) => "a floating-point number",
            Self::Bool(_) => "true or false",
            Self::Date(_) => "a date",
            Self::Serialized { by, .. } => by.name(),
        }
    }
}

impl Serializer {
    /// Returns the name of the serializer.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pickle => "pickle",
            Self::Marshal => "Marshal",
            Self::Java => "Java serialization",
            Self::Php => "PHP serialize",
            Self::Igbinary => "igbinary",
            Self::Json => "JSON",
            Self::MessagePack => "MessagePack",
        }
    }
}

impl fmt::Display for Serializer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bytes(bytes) => write!(f, "Bytes({})", Excerpt(bytes)),
            Self::Text(text) => write!(f, "Text({})", Excerpt(text.as_bytes())),
            Self::Integer(number) => write!(f, "Integer({number})"),
            Self::BigInteger(digits) => write!(f, "BigInteger({})", Excerpt(digits.as_bytes())),
            Self::Float(number) => write!(f, "Float({number:?})"),
            Self::Bool(value) => write!(f, "Bool({value})"),
            Self::Date(time) => write!(f, "Date({time:?})"),
            Self::Serialized { by, bytes } => write!(f, "Serialized({by}, {})", Excerpt(bytes)),
        }
    }
}

/// The escaped beginning of a value, and its length if it is longer.
struct Excerpt<'a>(&'a [u8]);

impl fmt::Display for Excerpt<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.get(..EXCERPT) {
            Some(start) if start.len() < self.0.len() => {
                write!(f, "\"{}\"… {} bytes", start.escape_ascii(), self.0.len())
            }
            _ => write!(f, "\"{}\"", self.0.escape_ascii()),
        }
    }
}

/// Maximum number of bytes that `Debug` shows of a value.
const EXCERPT: usize = 64;

impl From<Bytes> for Value {
    fn from(bytes: Bytes) -> Self {
        Self::Bytes(bytes)
    }
}

impl From<Vec<u8>> for Value {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Bytes(bytes.into())
    }
}

impl From<&'static str> for Value {
    fn from(text: &'static str) -> Self {
        Self::Text(ByteString::from_static(text))
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text.into())
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<f64> for Value {
    fn from(number: f64) -> Self {
        Self::Float(number)
    }
}

impl From<SystemTime> for Value {
    fn from(time: SystemTime) -> Self {
        Self::Date(time)
    }
}

macro_rules! from_integers {
    ($($integer:ty)*) => {$(
        impl From<$integer> for Value {
            fn from(number: $integer) -> Self {
                Self::Integer(number.into())
            }
        }
    )*};
}
from_integers!(u8 u16 u32 u64 i8 i16 i32 i64 i128);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_the_beginning_of_a_value_escaped() {
        assert_eq!(format!("{:?}", Value::from(-42)), "Integer(-42)");
        assert_eq!(format!("{:?}", Value::from("a\"\u{202e}\n")), r#"Text("a\"\xe2\x80\xae\n")"#);
        assert_eq!(format!("{:?}", Value::from(vec![0; 64])), format!("Bytes(\"{}\")", "\\x00".repeat(64)));
        let long = format!("{:?}", Value::from("x".repeat(1000)));
        assert_eq!(long, format!("Text(\"{}\"… 1000 bytes)", "x".repeat(64)));
    }
}
