//! The part of a key that is hashed.

use crate::spec::KeyPart;

/// The part of a key that a client hashes, and the optional delimiters of a hash tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct HashedPart {
    pub(crate) part: KeyPart,
    pub(crate) tag: Option<[u8; 2]>,
}

impl HashedPart {
    #[inline]
    pub(crate) fn of(self, key: &[u8]) -> &[u8] {
        let part = match self.part {
            KeyPart::Whole => key,
            KeyPart::First256 => &key[..key.len().min(256)],
            KeyPart::BeforeHashStop => before_hash_stop(without_route(key)),
        };
        self.tag.and_then(|tag| tagged(part, tag)).unwrap_or(part)
    }
}

/// Returns the part between the first opening delimiter and the next closing one, unless it is empty.
fn tagged(key: &[u8], [open, close]: [u8; 2]) -> Option<&[u8]> {
    let behind = &key[key.iter().position(|&byte| byte == open)? + 1..];
    let len = behind.iter().position(|&byte| byte == close)?;
    (len > 0).then(|| &behind[..len])
}

/// Removes the routing prefix `/region/cluster/` of an mcrouter key.
fn without_route(key: &[u8]) -> &[u8] {
    if key.first() != Some(&b'/') {
        return key;
    }
    let slashes = key.iter().enumerate().filter(|(_, byte)| **byte == b'/');
    slashes.map(|(at, _)| at).nth(2).map_or(key, |third| &key[third + 1..])
}

fn before_hash_stop(key: &[u8]) -> &[u8] {
    let end = key.windows(HASH_STOP.len()).position(|window| window == HASH_STOP);
    &key[..end.unwrap_or(key.len())]
}

const HASH_STOP: &[u8] = b"|#|";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_keys() {
        let long = [b'x'; 300];
        let braces = Some(*b"{}");
        for (part, tag, key, expected) in [
            (KeyPart::Whole, None, &b"user:{42}"[..], &b"user:{42}"[..]),
            (KeyPart::Whole, braces, b"user:{42}", b"42"),
            (KeyPart::Whole, braces, b"a{b}c{d}", b"b"),
            (KeyPart::Whole, braces, b"a{{b}}", b"{b"),
            (KeyPart::Whole, braces, b"a}b{c}", b"c"),
            (KeyPart::Whole, braces, b"a{}b{c}", b"a{}b{c}"),
            (KeyPart::Whole, braces, b"a{b", b"a{b"),
            (KeyPart::Whole, Some(*b"$$"), b"a$b$c", b"b"),
            (KeyPart::First256, None, &long, &long[..256]),
            (KeyPart::First256, None, b"short", b"short"),
            (KeyPart::BeforeHashStop, None, b"a|#|b|#|c", b"a"),
            (KeyPart::BeforeHashStop, None, b"a|#b", b"a|#b"),
            (KeyPart::BeforeHashStop, None, b"/region/cluster/a|#|b", b"a"),
            (KeyPart::BeforeHashStop, None, b"/region/a", b"/region/a"),
            (KeyPart::BeforeHashStop, None, b"", b""),
        ] {
            assert_eq!(HashedPart { part, tag }.of(key), expected, "{:?}", String::from_utf8_lossy(key));
        }
    }
}
