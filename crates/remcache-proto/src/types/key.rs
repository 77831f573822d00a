//! A key that was checked once, at the edge.

use std::fmt;

use bytes::Bytes;

use crate::types::cow_bytes::CowBytes;

/// A memcached key: 1 to 250 bytes, any bytes.
///
/// The binary protocol takes raw bytes, spaces and line ends included (docs/protocol.md 1.1); a protocol that
/// cannot carry a byte refuses the request before it is sent.
///
/// ```
/// use remcache_proto::{InvalidKey, Key};
///
/// assert_eq!(Key::new("user:42")?.as_bytes(), b"user:42");
/// assert_eq!(Key::new("").unwrap_err(), InvalidKey::Empty);
/// assert_eq!(Key::new(vec![b'x'; 251]).unwrap_err(), InvalidKey::TooLong(251));
/// # Ok::<(), InvalidKey>(())
/// ```
#[derive(Clone)]
pub struct Key<'a>(CowBytes<'a>);

impl<'a> Key<'a> {
    /// The longest key that a server takes, in bytes.
    pub const MAX_LEN: usize = 250;

    /// Checks a key.
    ///
    /// # Errors
    /// [`InvalidKey`] if there are no bytes or more than [`Key::MAX_LEN`]: the server would answer
    /// such a key by closing the connection, and every neighbour in flight would fail with it.
    #[inline]
    pub fn new(key: impl Into<CowBytes<'a>>) -> Result<Self, InvalidKey> {
        let key = key.into();
        match key.len() {
            0 => Err(InvalidKey::Empty),
            1..=Self::MAX_LEN => Ok(Self(key)),
            length => Err(InvalidKey::TooLong(length)),
        }
    }

    /// The key's bytes.
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_slice()
    }

    /// The same key, owned: copies what was borrowed.
    pub fn into_owned(self) -> Key<'static> {
        Key(self.0.into_owned())
    }

    /// The key as [`Bytes`]: copies what was borrowed.
    pub fn into_bytes(self) -> Bytes {
        self.0.into_bytes()
    }
}

impl fmt::Debug for Key<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({self})")
    }
}

impl fmt::Display for Key<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.as_bytes().escape_ascii())
    }
}

impl AsRef<[u8]> for Key<'_> {
    fn as_ref(&self) -> &[u8] {
        self.as_bytes()
    }
}

impl<'a> From<Key<'a>> for CowBytes<'a> {
    fn from(key: Key<'a>) -> Self {
        key.0
    }
}

impl<'a> From<&'a Key<'_>> for CowBytes<'a> {
    fn from(key: &'a Key<'_>) -> Self {
        key.0.reborrow()
    }
}

/// Why bytes are no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum InvalidKey {
    /// A key needs at least one byte.
    Empty,
    /// The key's length in bytes; at most 250 are allowed.
    TooLong(usize),
    /// The text protocol carries no space and no control byte, and this byte is one.
    Unprintable(u8),
    /// The meta protocol carries spaces and control bytes in base64, which leaves room for 186 bytes; this
    /// key's length.
    TooLongEncoded(usize),
}

impl fmt::Display for InvalidKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => write!(f, "the key is empty: a key has 1 to {} bytes", Key::MAX_LEN),
            Self::TooLong(length) => {
                write!(f, "the key has {length} bytes: a key has 1 to {}; hash long keys", Key::MAX_LEN)
            }
            Self::Unprintable(byte) => write!(
                f,
                "the key has the byte {byte:#04x}: the text protocol takes no space and no control byte; use meta or binary"
            ),
            Self::TooLongEncoded(length) => write!(
                f,
                "the key has {length} bytes, some of them spaces or control bytes: the meta protocol takes 186 of these; use binary"
            ),
        }
    }
}

impl std::error::Error for InvalidKey {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_checked_at_both_ends() {
        for (length, valid) in [(0, false), (1, true), (250, true), (251, false), (100_000, false)] {
            assert_eq!(Key::new(vec![b'k'; length]).is_ok(), valid, "{length} bytes");
        }
    }

    #[test]
    fn every_byte_is_allowed_and_shown_escaped() {
        let bytes: Vec<u8> = (0..=249).collect();
        assert_eq!(Key::new(&bytes).unwrap().as_bytes(), &bytes[..]);
        assert_eq!(Key::new(b"a\r\n\0").unwrap().to_string(), r"a\r\n\x00");
    }
}
