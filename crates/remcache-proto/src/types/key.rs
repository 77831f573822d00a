//! Keys, validated on construction.

use std::fmt;

use bytes::Bytes;

use crate::types::cow_bytes::{CowBytes, IntoCowBytes, convert};

/// A memcached key: 1 to 250 bytes, any bytes.
///
/// The binary protocol allows all bytes, including spaces and line ends (docs/protocol.md 1.1). On a protocol that
/// does not, the request is refused before it is sent.
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
    /// The longest key that servers accept, in bytes.
    pub const MAX_LEN: usize = 250;

    /// Creates a key.
    ///
    /// # Errors
    /// [`InvalidKey`] if it is empty or longer than [`Key::MAX_LEN`]: the server would close the connection, and all
    /// other requests in flight would fail.
    #[inline]
    pub fn new(key: impl IntoCowBytes<'a>) -> Result<Self, InvalidKey> {
        let key = key.into_cow_bytes();
        match key.len() {
            0 => Err(InvalidKey::Empty),
            1..=Self::MAX_LEN => Ok(Self(key)),
            length => Err(InvalidKey::TooLong(length)),
        }
    }

    /// Returns the key's bytes.
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_slice()
    }

    /// Converts into an owned key; borrowed bytes are copied.
    pub fn into_owned(self) -> Key<'static> {
        Key(self.0.into_owned())
    }

    /// Converts into [`Bytes`]; borrowed bytes are copied.
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

convert! {
    Key<'a>: |key| key.0;
    &'a Key<'_>: |key| key.0.reborrow();
}

/// Why a key is invalid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum InvalidKey {
    /// The key is empty.
    Empty,
    /// The key has this many bytes; at most 250 are allowed.
    TooLong(usize),
    /// The key contains this byte, but the text protocol allows no spaces or control bytes.
    Unprintable(u8),
    /// The key has this many bytes and contains spaces or control bytes, which the meta protocol sends in base64: at
    /// most 186 bytes are allowed.
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
                "the key has the byte {byte:#04x}: the text protocol allows no spaces or control bytes; use meta or binary"
            ),
            Self::TooLongEncoded(length) => write!(
                f,
                "the key has {length} bytes, some of them spaces or control bytes: the meta protocol allows 186 bytes then; use binary"
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
