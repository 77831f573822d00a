//! Borrowed or reference-counted bytes.

use std::borrow::Cow;
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;

/// The bytes of a key or value in a request: borrowed, or shared by reference count.
///
/// A small value is copied directly from the caller's slice into the output buffer, without an intermediate copy.
/// Shared bytes of 4 KiB and more are not copied at all.
///
/// ```
/// use remcache_proto::CowBytes;
///
/// assert_eq!(CowBytes::from("abc").as_slice(), b"abc");
/// assert_eq!(CowBytes::from(vec![1, 2, 3]).as_slice(), &[1, 2, 3]);
/// ```
#[derive(Clone)]
#[expect(clippy::exhaustive_enums, reason = "borrowed or not: there is no third way")]
pub enum CowBytes<'a> {
    /// Borrowed from the caller.
    Borrowed(&'a [u8]),
    /// Shared with the caller.
    Shared(Bytes),
}

impl<'a> CowBytes<'a> {
    /// No bytes.
    pub const EMPTY: Self = Self::Borrowed(&[]);

    /// Returns the bytes as a slice.
    #[inline]
    pub fn as_slice(&self) -> &[u8] {
        match self {
            Self::Borrowed(bytes) => bytes,
            Self::Shared(bytes) => bytes,
        }
    }

    /// Returns the number of bytes.
    #[inline]
    pub fn len(&self) -> usize {
        self.as_slice().len()
    }

    /// Returns whether there are no bytes.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Converts into owned bytes; borrowed ones are copied.
    pub fn into_owned(self) -> CowBytes<'static> {
        CowBytes::Shared(self.into_bytes())
    }

    /// Converts into [`Bytes`]; borrowed ones are copied.
    pub fn into_bytes(self) -> Bytes {
        match self {
            Self::Borrowed(bytes) => Bytes::copy_from_slice(bytes),
            Self::Shared(bytes) => bytes,
        }
    }

    /// Borrows the bytes from `self`, without a copy.
    pub fn reborrow(&'a self) -> Self {
        match self {
            Self::Borrowed(bytes) => Self::Borrowed(bytes),
            Self::Shared(bytes) => Self::Shared(bytes.clone()),
        }
    }
}

impl fmt::Debug for CowBytes<'_> {
    // Only the length, because values may be secret or large.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<{} bytes>", self.len())
    }
}

impl AsRef<[u8]> for CowBytes<'_> {
    fn as_ref(&self) -> &[u8] {
        self.as_slice()
    }
}

macro_rules! from_borrowed {
    ($($source:ty),*) => {$(
        impl<'a> From<&'a $source> for CowBytes<'a> {
            #[inline]
            fn from(source: &'a $source) -> Self {
                Self::Borrowed(source.as_ref())
            }
        }

        // So that iterating over a list of `&str` works like over a list of `String`s.
        impl<'a> From<&'a &$source> for CowBytes<'a> {
            fn from(source: &'a &$source) -> Self {
                Self::from(*source)
            }
        }
    )*};
}
from_borrowed!(str, [u8], String, Vec<u8>);

impl<'a, const N: usize> From<&'a [u8; N]> for CowBytes<'a> {
    fn from(source: &'a [u8; N]) -> Self {
        Self::Borrowed(source)
    }
}

impl<'a, const N: usize> From<&'a &[u8; N]> for CowBytes<'a> {
    fn from(source: &'a &[u8; N]) -> Self {
        Self::Borrowed(*source)
    }
}

impl<'a> From<&'a &Bytes> for CowBytes<'a> {
    fn from(source: &'a &Bytes) -> Self {
        Self::from(*source)
    }
}

impl<'a> From<&'a Bytes> for CowBytes<'a> {
    fn from(source: &'a Bytes) -> Self {
        Self::Shared(source.clone())
    }
}

impl<'a> From<&'a CowBytes<'_>> for CowBytes<'a> {
    fn from(source: &'a CowBytes<'_>) -> Self {
        source.reborrow()
    }
}

macro_rules! from_owned {
    ($($source:ty),*) => {$(
        impl From<$source> for CowBytes<'_> {
            fn from(source: $source) -> Self {
                Self::Shared(Bytes::from(source))
            }
        }
    )*};
}
from_owned!(Bytes, Vec<u8>, String, Box<[u8]>);

macro_rules! from_pointers {
    ($($source:ty),*) => {$(
        impl<'a> From<&'a $source> for CowBytes<'a> {
            fn from(source: &'a $source) -> Self {
                Self::Borrowed((**source).as_ref())
            }
        }
    )*};
}
from_pointers!(Box<[u8]>, Box<str>, Arc<[u8]>, Arc<str>, Rc<[u8]>, Rc<str>);

impl From<Box<str>> for CowBytes<'_> {
    fn from(source: Box<str>) -> Self {
        Self::from(String::from(source))
    }
}

impl<'a> From<&'a Cow<'_, str>> for CowBytes<'a> {
    fn from(source: &'a Cow<'_, str>) -> Self {
        Self::Borrowed(source.as_bytes())
    }
}

impl<'a> From<&'a Cow<'_, [u8]>> for CowBytes<'a> {
    fn from(source: &'a Cow<'_, [u8]>) -> Self {
        Self::Borrowed(source)
    }
}

impl<'a> From<Cow<'a, str>> for CowBytes<'a> {
    fn from(source: Cow<'a, str>) -> Self {
        match source {
            Cow::Borrowed(text) => Self::from(text),
            Cow::Owned(text) => Self::from(text),
        }
    }
}

impl<'a> From<Cow<'a, [u8]>> for CowBytes<'a> {
    fn from(source: Cow<'a, [u8]>) -> Self {
        match source {
            Cow::Borrowed(bytes) => Self::from(bytes),
            Cow::Owned(bytes) => Self::from(bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_byte_container_is_accepted() {
        let text = String::from("abc");
        let (borrowed, slice, owned) = ("abc", &b"abc"[..], Cow::<[u8]>::Owned(b"abc".to_vec()));
        let (boxed, counted): (Box<str>, Rc<str>) = ("abc".into(), "abc".into());
        let (shared, shared_bytes): (Arc<str>, Arc<[u8]>) = ("abc".into(), (*b"abc").into());
        let sources: Vec<CowBytes<'_>> = vec![
            "abc".into(),
            (&borrowed).into(),
            (&text).into(),
            text.clone().into(),
            b"abc".into(),
            slice.into(),
            (&slice).into(),
            vec![b'a', b'b', b'c'].into(),
            Bytes::from("abc").into(),
            Cow::Borrowed("abc").into(),
            (&owned).into(),
            (&boxed).into(),
            boxed.clone().into(),
            (&counted).into(),
            (&shared).into(),
            (&shared_bytes).into(),
        ];
        for source in sources {
            assert_eq!(source.as_slice(), b"abc");
            assert_eq!(source.into_owned().as_slice(), b"abc");
        }
    }

    #[test]
    fn values_do_not_show_in_logs() {
        assert_eq!(format!("{:?}", CowBytes::from("secret")), "<6 bytes>");
    }
}
