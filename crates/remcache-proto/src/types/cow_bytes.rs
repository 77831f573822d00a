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
#[expect(clippy::exhaustive_enums, reason = "bytes are borrowed or shared")]
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

/// Conversion into the bytes of a key or value.
///
/// It is implemented for text and bytes, borrowed, owned or shared. Implement it for key types of your own:
///
/// ```
/// use remcache_proto::{CowBytes, IntoCowBytes, Key};
///
/// struct UserKey(String);
///
/// impl<'a> IntoCowBytes<'a> for &'a UserKey {
///     fn into_cow_bytes(self) -> CowBytes<'a> {
///         self.0.as_str().into()
///     }
/// }
///
/// assert_eq!(Key::new(&UserKey("user:42".into()))?.as_bytes(), b"user:42");
/// # Ok::<(), remcache_proto::InvalidKey>(())
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not the bytes of a key or value",
    label = "expected text or bytes",
    note = "servers store bytes: pass text, `&[u8]`, `Vec<u8>` or `Bytes`; numbers as text, `42.to_string()`; other types through a codec"
)]
pub trait IntoCowBytes<'a> {
    /// Converts into bytes; nothing is copied.
    fn into_cow_bytes(self) -> CowBytes<'a>;
}

impl<'a> IntoCowBytes<'a> for CowBytes<'a> {
    #[inline]
    fn into_cow_bytes(self) -> Self {
        self
    }
}

/// Implements `From` and [`IntoCowBytes`] for types by one expression.
// Hidden, because the list of implementations would fill the error message for a wrong type.
macro_rules! convert {
    ($($source:ty $(, const $n:ident)?: |$value:ident| $bytes:expr;)*) => {$(
        impl<'a $(, const $n: usize)?> From<$source> for $crate::CowBytes<'a> {
            #[inline]
            fn from($value: $source) -> Self {
                $bytes
            }
        }

        #[diagnostic::do_not_recommend]
        impl<'a $(, const $n: usize)?> $crate::IntoCowBytes<'a> for $source {
            #[inline]
            fn into_cow_bytes(self) -> $crate::CowBytes<'a> {
                self.into()
            }
        }
    )*};
}

convert! {
    &'a str: |text| Self::Borrowed(text.as_bytes());
    &'a [u8]: |bytes| Self::Borrowed(bytes);
    &'a [u8; N], const N: |bytes| Self::Borrowed(bytes);
    &'a String: |text| Self::Borrowed(text.as_bytes());
    &'a Vec<u8>: |bytes| Self::Borrowed(bytes);
    &'a Bytes: |bytes| Self::Shared(bytes.clone());
    &'a CowBytes<'_>: |bytes| bytes.reborrow();
    &'a Cow<'_, str>: |text| Self::Borrowed(text.as_bytes());
    &'a Cow<'_, [u8]>: |bytes| Self::Borrowed(bytes);
    &'a Box<str>: |text| Self::Borrowed(text.as_bytes());
    &'a Box<[u8]>: |bytes| Self::Borrowed(bytes);
    &'a Arc<str>: |text| Self::Borrowed(text.as_bytes());
    &'a Arc<[u8]>: |bytes| Self::Borrowed(bytes);
    &'a Rc<str>: |text| Self::Borrowed(text.as_bytes());
    &'a Rc<[u8]>: |bytes| Self::Borrowed(bytes);
    // So that iterating over a list of `&str` works like over a list of `String`s.
    &'a &str: |text| Self::Borrowed(text.as_bytes());
    &'a &[u8]: |bytes| Self::Borrowed(bytes);
    &'a &[u8; N], const N: |bytes| Self::Borrowed(*bytes);
    &'a &String: |text| Self::Borrowed(text.as_bytes());
    &'a &Vec<u8>: |bytes| Self::Borrowed(bytes);
    &'a &Bytes: |bytes| Self::from(*bytes);
    Bytes: |bytes| Self::Shared(bytes);
    Vec<u8>: |bytes| Self::Shared(bytes.into());
    String: |text| Self::Shared(text.into());
    Box<[u8]>: |bytes| Self::Shared(bytes.into());
    Box<str>: |text| Self::from(String::from(text));
    Cow<'a, str>: |text| match text {
        Cow::Borrowed(text) => Self::from(text),
        Cow::Owned(text) => Self::from(text),
    };
    Cow<'a, [u8]>: |bytes| match bytes {
        Cow::Borrowed(bytes) => Self::from(bytes),
        Cow::Owned(bytes) => Self::from(bytes),
    };
}
pub(crate) use convert;

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
