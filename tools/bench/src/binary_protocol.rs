//! The requests and replies of the binary protocol that the lockstep pipeline and the preloading use.

use anyhow::{Context, Result, ensure};

pub(crate) const HEADER_LEN: usize = 24;
const REQUEST_MAGIC: u8 = 0x80;
const RESPONSE_MAGIC: u8 = 0x81;

pub(crate) const GET: u8 = 0x00;
pub(crate) const SET: u8 = 0x01;
pub(crate) const GET_QUIET: u8 = 0x09;
pub(crate) const NOOP: u8 = 0x0a;
pub(crate) const SET_QUIET: u8 = 0x11;

/// The header of a reply.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Reply {
    pub(crate) opcode: u8,
    pub(crate) status: u16,
    pub(crate) opaque: u32,
    extras_len: usize,
    key_len: usize,
    body_len: usize,
}

impl Reply {
    /// Parses a header; `None` if it is not complete.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Option<Self>> {
        let Some(header) = bytes.first_chunk::<HEADER_LEN>() else {
            return Ok(None);
        };
        ensure!(header[0] == RESPONSE_MAGIC, "a reply starts with {:#04x}", header[0]);
        let reply = Self {
            opcode: header[1],
            status: u16::from_be_bytes([header[6], header[7]]),
            opaque: u32::from_be_bytes([header[12], header[13], header[14], header[15]]),
            extras_len: usize::from(header[4]),
            key_len: usize::from(u16::from_be_bytes([header[2], header[3]])),
            body_len: u32::from_be_bytes([header[8], header[9], header[10], header[11]]) as usize,
        };
        ensure!(reply.extras_len + reply.key_len <= reply.body_len, "a reply's body is too short");
        Ok(Some(reply))
    }

    /// Returns the length of the reply, including its header.
    pub(crate) fn len(&self) -> usize {
        HEADER_LEN + self.body_len
    }

    /// Returns the value from the bytes of the reply, including its header.
    pub(crate) fn value<'a>(&self, bytes: &'a [u8]) -> Result<&'a [u8]> {
        let start = HEADER_LEN + self.extras_len + self.key_len;
        bytes.get(start..self.len()).context("a reply is truncated")
    }
}

/// Appends a get, quiet or not.
pub(crate) fn encode_get(opcode: u8, opaque: u32, key: &[u8], out: &mut Vec<u8>) {
    encode_header(opcode, opaque, 0, key.len(), key.len(), out);
    out.extend_from_slice(key);
}

/// Appends a set, quiet or not, without flags and expiry.
pub(crate) fn encode_set(opcode: u8, opaque: u32, key: &[u8], value: &[u8], out: &mut Vec<u8>) {
    const EXTRAS: [u8; 8] = [0; 8];
    let body_len = EXTRAS.len() + key.len() + value.len();
    encode_header(opcode, opaque, EXTRAS.len(), key.len(), body_len, out);
    out.extend_from_slice(&EXTRAS);
    out.extend_from_slice(key);
    out.extend_from_slice(value);
}

/// Appends a no-op, which ends a run of quiet requests.
pub(crate) fn encode_noop(opaque: u32, out: &mut Vec<u8>) {
    encode_header(NOOP, opaque, 0, 0, 0, out);
}

/// Appends a header. Keys have 9 bytes and values at most 1 MB, so no length is truncated.
fn encode_header(opcode: u8, opaque: u32, extras_len: usize, key_len: usize, body_len: usize, out: &mut Vec<u8>) {
    let mut header = [0; HEADER_LEN];
    header[0] = REQUEST_MAGIC;
    header[1] = opcode;
    header[2..4].copy_from_slice(&(key_len as u16).to_be_bytes());
    header[4] = extras_len as u8;
    header[8..12].copy_from_slice(&(body_len as u32).to_be_bytes());
    header[12..16].copy_from_slice(&opaque.to_be_bytes());
    out.extend_from_slice(&header);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_encoded_as_the_protocol_specifies() {
        let mut out = Vec::new();
        encode_get(GET_QUIET, 7, b"ab", &mut out);
        assert_eq!(out, b"\x80\x09\0\x02\0\0\0\0\0\0\0\x02\0\0\0\x07\0\0\0\0\0\0\0\0ab");
        out.clear();
        encode_set(SET, 8, b"ab", b"xyz", &mut out);
        assert_eq!(&out[..16], b"\x80\x01\0\x02\x08\0\0\0\0\0\0\x0d\0\0\0\x08");
        assert_eq!(&out[24..], b"\0\0\0\0\0\0\0\0abxyz");
        out.clear();
        encode_noop(9, &mut out);
        assert_eq!(out, b"\x80\x0a\0\0\0\0\0\0\0\0\0\0\0\0\0\x09\0\0\0\0\0\0\0\0");
    }

    #[test]
    fn a_reply_is_parsed_once_its_header_is_complete() {
        let bytes = b"\x81\x00\0\0\x04\0\0\0\0\0\0\x07\0\0\0\x05\0\0\0\0\0\0\0\x01\0\0\0\0xyz";
        assert_eq!(Reply::parse(&bytes[..23]).unwrap(), None);
        let reply = Reply::parse(bytes).unwrap().unwrap();
        assert_eq!((reply.opcode, reply.status, reply.opaque, reply.len()), (GET, 0, 5, 31));
        assert_eq!(reply.value(bytes).unwrap(), b"xyz");
        assert!(reply.value(&bytes[..30]).is_err());
    }

    #[test]
    fn text_and_short_bodies_are_refused() {
        assert!(Reply::parse(b"ERROR Too many open connections\r\n").is_err());
        let short = b"\x81\x00\0\0\x04\0\0\0\0\0\0\x03\0\0\0\x05\0\0\0\0\0\0\0\x01";
        assert!(Reply::parse(short).is_err());
    }
}
