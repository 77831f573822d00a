//! Log lines of `watch`.

use bytes::Bytes;

use super::dump::{field, unescape};
use crate::line;

/// A line of a [`Request::watch`](crate::types::request::Request::watch).
///
/// ```
/// use remcache_proto::text::LogLine;
///
/// let line = LogLine::parse(b"ts=1795327936.12 gid=7 type=item_get key=a%20b status=found clsid=1");
/// assert_eq!(line.kind(), Some(&b"item_get"[..]));
/// assert_eq!(line.key().unwrap(), "a b");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogLine<'a>(&'a [u8]);

impl<'a> LogLine<'a> {
    /// Parses a line.
    pub fn parse(line: &'a [u8]) -> Self {
        Self(line.trim_ascii_end())
    }

    /// Returns the names and undecoded values of the fields.
    pub fn fields(self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
        line::words(self.0).filter_map(field)
    }

    /// Returns the first field with this name.
    pub fn field(self, name: &str) -> Option<&'a [u8]> {
        self.fields().find(|(known, _)| *known == name.as_bytes()).map(|(_, value)| value)
    }

    /// Returns the type of the event: `item_get`, `item_store`, `eviction`, `conn_new`, …
    pub fn kind(self) -> Option<&'a [u8]> {
        self.field("type")
    }

    /// Returns the decoded key of the event.
    pub fn key(self) -> Option<Bytes> {
        self.field("key").map(unescape)
    }

    /// Returns a field as a number.
    pub fn number(self, name: &str) -> Option<u64> {
        self.field(name).and_then(line::number)
    }

    /// Returns the number of lines that the server dropped before this one, because the reader was too slow.
    pub fn skipped(self) -> u64 {
        self.number("skipped").unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_by_name() {
        let line = LogLine::parse(b"ts=1.5 gid=42 type=item_store key=%00k status=stored cmd=set ttl=0 clsid=1 \r");
        assert_eq!((line.kind(), line.number("gid"), line.skipped()), (Some(&b"item_store"[..]), Some(42), 0));
        assert_eq!(line.key().unwrap(), &b"\0k"[..]);
        assert_eq!((line.field("absent"), line.number("ts")), (None, None));
        assert_eq!(line.fields().count(), 8);
    }

    #[test]
    fn a_line_that_is_none_has_no_fields() {
        assert_eq!(LogLine::parse(b"no fields here").fields().count(), 0);
        assert_eq!(LogLine::parse(b"skipped=9").skipped(), 9);
    }
}
