//! Lines with item metadata: those of a metadump, and of `me`.

use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;

use crate::line::{self, base64};
use crate::types::meta_options::ItemInfo;
use crate::types::reply::Reply;
use crate::types::status::Status;
use crate::types::ttl::Ttl;

/// An item in a metadump: a line of a [`Request::metadump`](crate::types::request::Request::metadump).
///
/// ```
/// use remcache_proto::text::MetadumpItem;
///
/// let line = b"key=ab%25 exp=-1 la=1795327936 cas=1 fetch=no cls=1 size=63";
/// let item = MetadumpItem::parse(line).unwrap();
/// assert_eq!(&item.key[..], b"ab%");
/// assert_eq!((item.size, item.fetched), (63, false));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MetadumpItem {
    /// The key, decoded.
    pub key: Bytes,
    /// When the item expires.
    pub expires: Ttl,
    /// When the item was last accessed, as a Unix timestamp in seconds.
    pub last_access: u64,
    /// The item's CAS value.
    pub cas: u64,
    /// Whether the item was fetched since it was stored.
    pub fetched: bool,
    /// The slab class that holds the item.
    pub class: u32,
    /// The item's size in memory, in bytes: key, value and the server's overhead.
    pub size: u64,
    /// The item's flags, reported since 1.6.24.
    pub flags: Option<u32>,
}

impl MetadumpItem {
    /// Parses a line of a metadump; `None` if it is invalid. Unknown fields are skipped.
    pub fn parse(line: &[u8]) -> Option<Self> {
        let mut item = Self {
            key: Bytes::new(),
            expires: Ttl::Never,
            last_access: 0,
            cas: 0,
            fetched: false,
            class: 0,
            size: 0,
            flags: None,
        };
        for word in line::words(line.trim_ascii_end()) {
            item.read(word)?;
        }
        (!item.key.is_empty()).then_some(item)
    }

    /// Appends the item as a line of a metadump without its line end, which [`MetadumpItem::parse`] reads.
    ///
    /// ```
    /// use remcache_proto::text::MetadumpItem;
    ///
    /// let line = b"key=ab%25 exp=-1 la=1795327936 cas=1 fetch=no cls=1 size=63";
    /// let mut written = Vec::new();
    /// MetadumpItem::parse(line).unwrap().write(&mut written);
    /// assert_eq!(written, line);
    /// ```
    pub fn write(&self, line: &mut Vec<u8>) {
        line.extend_from_slice(b"key=");
        escape(&self.key, line);
        line.extend_from_slice(b" exp=");
        match self.expires {
            Ttl::At(at) => put(at.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()), line),
            Ttl::Expired => line.extend_from_slice(b"-2"),
            _ => line.extend_from_slice(b"-1"),
        }
        line.extend_from_slice(b" la=");
        put(self.last_access, line);
        line.extend_from_slice(b" cas=");
        put(self.cas, line);
        line.extend_from_slice(if self.fetched { b" fetch=yes cls=" } else { b" fetch=no cls=" });
        put(u64::from(self.class), line);
        line.extend_from_slice(b" size=");
        put(self.size, line);
        if let Some(flags) = self.flags {
            line.extend_from_slice(b" flags=");
            put(u64::from(flags), line);
        }
    }

    fn read(&mut self, word: &[u8]) -> Option<()> {
        let (name, value) = field(word)?;
        match name {
            b"key" => self.key = unescape(value),
            b"exp" => self.expires = expiry(value)?,
            b"la" => self.last_access = line::number(value)?,
            b"cas" => self.cas = line::number(value)?,
            b"fetch" => self.fetched = value == b"yes",
            b"cls" => self.class = u32::try_from(line::number(value)?).ok()?,
            b"size" => self.size = line::number(value)?,
            b"flags" => self.flags = Some(line::number(value)? as u32),
            _ => {}
        }
        Some(())
    }
}

/// Splits a word into a name and the value after its `=`.
pub(crate) fn field(word: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = word.iter().position(|&byte| byte == b'=')?;
    Some((word.get(..at)?, word.get(at.saturating_add(1)..)?))
}

/// Parses an expiry as a Unix timestamp; -1 means never.
fn expiry(value: &[u8]) -> Option<Ttl> {
    if value == b"-1" {
        return Some(Ttl::Never);
    }
    match line::number(value) {
        Some(seconds) => UNIX_EPOCH.checked_add(Duration::from_secs(seconds)).map(Ttl::At),
        // The item expired during the dump.
        None => line::number(value.strip_prefix(b"-")?).map(|_| Ttl::Expired),
    }
}

/// Appends a number in decimal.
fn put(number: u64, line: &mut Vec<u8>) {
    line.extend_from_slice(number.to_string().as_bytes());
}

/// Appends a key; bytes that a word cannot contain, and special characters, are written as `%` and two digits.
fn escape(key: &[u8], line: &mut Vec<u8>) {
    for &byte in key {
        match byte {
            b'%' | 0..=b' ' | 0x7f.. => line.extend_from_slice(format!("%{byte:02X}").as_bytes()),
            _ => line.push(byte),
        }
    }
}

/// Decodes `%` and two hexadecimal digits; a `%` without them is kept.
pub(crate) fn unescape(text: &[u8]) -> Bytes {
    if !text.contains(&b'%') {
        return Bytes::copy_from_slice(text);
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&first, after)) = rest.split_first() {
        let escaped = (first == b'%').then(|| escaped_byte(after)).flatten();
        bytes.push(escaped.unwrap_or(first));
        rest = if escaped.is_some() { after.get(2..).unwrap_or_default() } else { after };
    }
    bytes.into()
}

fn escaped_byte(digits: &[u8]) -> Option<u8> {
    let digit = |at: usize| char::from(*digits.get(at)?).to_digit(16);
    u8::try_from(digit(0)? << 4 | digit(1)?).ok()
}

/// Parses the key of an mgdump line, which begins with `mg`; a flag marks a key in base64.
pub(crate) fn listed_key(rest: &[u8]) -> Option<Bytes> {
    let mut words = line::words(rest);
    let key = words.next()?;
    match words.next() {
        Some(b"b") => base64::decode(key).map(Bytes::from),
        _ => Some(Bytes::copy_from_slice(key)),
    }
}

/// Builds the reply to a Debug: the fields as text, and those that a reply has.
pub(crate) fn debug_reply(rest: &[u8]) -> Reply {
    let (key, fields) = line::split_word(rest);
    let mut info = ItemInfo::default();
    let mut cas = 0;
    for (name, value) in line::words(fields).filter_map(field) {
        match name {
            b"exp" => info.remaining_ttl = seconds_left(value),
            b"la" => info.last_access = line::number(value).map(Duration::from_secs),
            b"fetch" => info.fetched = Some(value == b"yes"),
            b"cas" => cas = line::number(value).unwrap_or(0),
            b"size" => info.size = line::number(value),
            _ => {}
        }
    }
    let (key, value) = (Bytes::copy_from_slice(key), Bytes::copy_from_slice(fields));
    Reply { cas, key, value, info: Some(Box::new(info)), ..Reply::new(Status::NoError) }
}

/// Parses an item's remaining seconds, which servers before 1.6.24 write with the wrong sign (docs/protocol.md 4.4).
fn seconds_left(value: &[u8]) -> Option<Ttl> {
    if value == b"-1" {
        return Some(Ttl::Never);
    }
    let seconds = line::number(value.strip_prefix(b"-").unwrap_or(value))?;
    Some(if seconds == 0 { Ttl::Expired } else { Ttl::After(Duration::from_secs(seconds)) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_both_forms_are_read() {
        let older = MetadumpItem::parse(b"key=k exp=1800000000 la=9 cas=7 fetch=yes cls=3 size=80").unwrap();
        let newer = MetadumpItem::parse(b"key=k exp=-1 la=9 cas=7 fetch=no cls=3 size=80 flags=5 ").unwrap();
        assert_eq!((older.flags, newer.flags), (None, Some(5)));
        assert_eq!(older.expires, Ttl::At(UNIX_EPOCH + Duration::from_secs(1_800_000_000)));
        assert_eq!((newer.expires, newer.class, newer.last_access, newer.cas), (Ttl::Never, 3, 9, 7));
        assert_eq!((older.fetched, newer.fetched), (true, false));
    }

    #[test]
    fn written_items_are_read_again() {
        for line in [
            "key=a%20b%0D%0A%00%FF%25 exp=1800000000 la=9 cas=7 fetch=yes cls=3 size=80 flags=5",
            "key=user:42 exp=-1 la=0 cas=18446744073709551615 fetch=no cls=63 size=1",
            "key=k exp=-2 la=1 cas=1 fetch=no cls=1 size=1",
        ] {
            let mut written = Vec::new();
            MetadumpItem::parse(line.as_bytes()).unwrap().write(&mut written);
            assert_eq!(String::from_utf8(written).unwrap(), line);
        }
    }

    #[test]
    fn an_absent_item_is_none() {
        for line in ["", "END", "exp=-1 la=1", "key=k exp=x", "key=k cas=", "key= exp=-1", "key=k cls=99999999999"] {
            assert_eq!(MetadumpItem::parse(line.as_bytes()), None, "{line}");
        }
    }

    #[test]
    fn keys_are_unescaped() {
        for (text, expected) in [
            ("plain", &b"plain"[..]),
            ("a%20b%0d%0A%00%FF", b"a b\r\n\0\xff"),
            ("%", b"%"),
            ("%2", b"%2"),
            ("%zz%25", b"%zz%"),
            ("100%25%", b"100%%"),
        ] {
            assert_eq!(unescape(text.as_bytes()), expected, "{text}");
        }
    }

    #[test]
    fn listed_keys_are_decoded() {
        assert_eq!(listed_key(b"k").unwrap(), "k");
        assert_eq!(listed_key(b"AAH/IGJpbg== b").unwrap(), &b"\x00\x01\xff bin"[..]);
        assert_eq!(listed_key(b"*** b"), None);
        assert_eq!(listed_key(b""), None);
    }

    #[test]
    fn a_debug_line_is_read_whatever_the_sign() {
        for (exp, ttl) in [("-1", Ttl::Never), ("-100", Ttl::After(Duration::from_secs(100))), ("0", Ttl::Expired)] {
            let reply = debug_reply(format!("k exp={exp} la=3 cas=9 fetch=yes cls=1 size=63").as_bytes());
            let info = reply.info.unwrap();
            assert_eq!((reply.cas, info.remaining_ttl, info.size, info.fetched), (9, Some(ttl), Some(63), Some(true)));
        }
    }
}
