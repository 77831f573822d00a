//! Chunked values: the manifest stored under the key, and reassembly.
//!
//! The layout is mcrouter's: the key holds `1-COUNT-SUFFIX` with 0x8000 in its flags, and the chunks are
//! stored under `KEY:INDEX:SUFFIX`. The length and the CRC-32 of the value follow in the manifest, which
//! mcrouter does not have.

use std::fmt;

use bytes::{Bytes, BytesMut};

use crate::error::{Error, ErrorKind};
use crate::result::Item;

/// Chunking settings.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Chunking {
    /// Chunk length, in bytes.
    pub(crate) length: usize,
}

impl Chunking {
    pub(crate) fn new(length: usize) -> Self {
        Self { length: length.max(1) }
    }

    /// Splits a value into chunks that share its bytes.
    pub(crate) fn split(self, value: &Bytes) -> impl Iterator<Item = Bytes> {
        let starts = (0..value.len()).step_by(self.length);
        starts.map(move |start| value.slice(start..value.len().min(start + self.length)))
    }
}

/// The manifest stored under the key of a chunked value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Manifest {
    count: usize,
    /// A suffix unique to each write, so that chunks of two writes are never mixed.
    suffix: u64,
    length: usize,
    checksum: u32,
}

impl Manifest {
    pub(crate) fn new(value: &Bytes, chunking: Chunking) -> Self {
        Self {
            count: value.len().div_ceil(chunking.length),
            suffix: fastrand::u64(..),
            length: value.len(),
            checksum: crc32fast::hash(value),
        }
    }

    /// Parses an item as a manifest.
    pub(crate) fn of(item: &Item) -> Option<Self> {
        if item.flags & MARK == 0 {
            return None;
        }
        let text = std::str::from_utf8(&item.value).ok()?;
        let mut numbers = text.strip_prefix("1-")?.split('-');
        let mut next = || numbers.next();
        let manifest = Self {
            count: next()?.parse().ok()?,
            suffix: next()?.parse().ok()?,
            length: next()?.parse().ok()?,
            checksum: next()?.parse().ok()?,
        };
        numbers.next().is_none().then_some(manifest)
    }

    /// Returns the keys of the chunks.
    pub(crate) fn keys<'a>(&self, key: &'a [u8]) -> impl Iterator<Item = Vec<u8>> + use<'a> {
        let Self { count, suffix, .. } = *self;
        (0..count).map(move |index| [key, format!(":{index}:{suffix}").as_bytes()].concat())
    }

    /// Returns whether the value is within the limit; the numbers are untrusted.
    pub(crate) fn check_length(&self, key: &[u8]) -> Result<(), Error> {
        if self.length <= LIMIT && self.count <= self.length {
            return Ok(());
        }
        let (key, length) = (key.escape_ascii(), self.length);
        let text = format!("key {key}: {length} bytes in {} chunks, and {LIMIT} at most are read", self.count);
        Err(Error::new(ErrorKind::ValueTooLarge, text))
    }

    /// Reassembles the value from its chunks; `None` if one is missing.
    pub(crate) fn reassemble(
        &self,
        key: &[u8],
        item: Item,
        chunks: impl Iterator<Item = Result<Option<Item>, Error>>,
    ) -> Result<Option<Item>, Error> {
        let mut value = BytesMut::new();
        for chunk in chunks {
            let Some(chunk) = chunk? else { return Ok(None) };
            if value.len() + chunk.value.len() > self.length {
                return Err(damaged(key, "its chunks are longer than the value"));
            }
            value.extend_from_slice(&chunk.value);
        }
        if value.len() != self.length || crc32fast::hash(&value) != self.checksum {
            return Err(damaged(key, "checksum mismatch"));
        }
        Ok(Some(Item { value: value.freeze(), flags: item.flags & !MARK, ..item }))
    }
}

#[cold]
fn damaged(key: &[u8], what: &str) -> Error {
    let text = format!("key {}: the value in chunks is damaged: {what}; store it again", key.escape_ascii());
    Error::new(ErrorKind::Decode, text)
}

impl fmt::Display for Manifest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { count, suffix, length, checksum } = self;
        write!(f, "1-{count}-{suffix}-{length}-{checksum}")
    }
}

/// Flag bit of a chunked value, as in mcrouter.
pub(crate) const MARK: u32 = 0x8000;
/// Maximum length of a reassembled value, in bytes.
const LIMIT: usize = 64 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn item(value: impl Into<Bytes>, flags: u32) -> Item {
        Item { value: value.into(), flags, cas: 7 }
    }

    fn chunks(value: &Bytes, length: usize) -> Vec<Result<Option<Item>, Error>> {
        Chunking::new(length).split(value).map(|chunk| Ok(Some(item(chunk, 0)))).collect()
    }

    #[test]
    fn a_manifest_reads_as_it_is_written() {
        let manifest = Manifest::new(&Bytes::from(vec![1; 1001]), Chunking::new(100));
        assert_eq!(manifest.count, 11);
        assert_eq!(Manifest::of(&item(manifest.to_string(), MARK | 3)), Some(manifest));
        assert_eq!(Manifest::of(&item(manifest.to_string(), 3)), None, "the flags do not say so");
        for text in ["", "1-", "1-2-3", "1-2-3-4", "2-1-1-1-1", "1-1-1-1-1-1", "1-x-1-1-1", "1--1-1-1-1"] {
            assert_eq!(Manifest::of(&item(text, MARK)), None, "{text}");
        }
    }

    #[test]
    fn a_value_is_put_together_whole_or_not_at_all() {
        let value = Bytes::from((0..1000).map(|n| n as u8).collect::<Vec<_>>());
        let manifest = Manifest::new(&value, Chunking::new(300));
        let put = |chunks: Vec<_>| manifest.reassemble(b"k", item("", MARK | 3), chunks.into_iter());
        assert_eq!(put(chunks(&value, 300)).unwrap(), Some(item(value.clone(), 3)));

        let mut one_is_gone = chunks(&value, 300);
        one_is_gone[2] = Ok(None);
        assert_eq!(put(one_is_gone).unwrap(), None);

        let mut one_is_another = chunks(&value, 300);
        one_is_another[1] = Ok(Some(item(vec![0; 300], 0)));
        assert_eq!(put(one_is_another).unwrap_err().kind(), ErrorKind::Decode);

        let mut too_many = chunks(&value, 300);
        too_many.push(Ok(Some(item("more", 0))));
        assert_eq!(put(too_many).unwrap_err().kind(), ErrorKind::Decode);
    }

    #[test]
    fn announced_lengths_are_limited() {
        for text in ["1-2-1-67108865-1", "1-9999999999-1-10-1", "1-18446744073709551615-1-18446744073709551615-1"] {
            let manifest = Manifest::of(&item(text, MARK)).expect(text);
            assert_eq!(manifest.check_length(b"k").unwrap_err().kind(), ErrorKind::ValueTooLarge, "{text}");
        }
    }
}
