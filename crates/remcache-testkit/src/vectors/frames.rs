//! A minimal parser of binary packets.
//!
//! The vectors test the library's decoder, so they do not use it.

/// A reply packet, split into its parts.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Frame<'a> {
    pub(super) header: &'a [u8; HEADER_LEN],
    pub(super) extras_and_key: &'a [u8],
    pub(super) value: &'a [u8],
}

impl<'a> Frame<'a> {
    /// Splits off the first packet, if it is complete.
    pub(super) fn split_first(bytes: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let (header, rest) = bytes.split_first_chunk::<HEADER_LEN>()?;
        if header[0] != REPLY_MAGIC {
            return None;
        }
        let key_len = usize::from(u16::from_be_bytes([header[2], header[3]]));
        let body_len = u32::from_be_bytes([header[8], header[9], header[10], header[11]]);
        let (body, rest) = rest.split_at_checked(usize::try_from(body_len).ok()?)?;
        let (extras_and_key, value) = body.split_at_checked(key_len + usize::from(header[4]))?;
        let frame = Self { header, extras_and_key, value };
        Some((frame, rest))
    }

    pub(super) fn opcode(&self) -> u8 {
        self.header[1]
    }

    pub(super) fn status(&self) -> u16 {
        u16::from_be_bytes([self.header[6], self.header[7]])
    }

    pub(super) fn opaque(&self) -> [u8; 4] {
        let [.., a, b, c, d, _, _, _, _, _, _, _, _] = *self.header;
        [a, b, c, d]
    }

    pub(super) fn cas(&self) -> u64 {
        let [.., a, b, c, d, e, f, g, h] = *self.header;
        u64::from_be_bytes([a, b, c, d, e, f, g, h])
    }
}

/// Splits bytes into complete packets and the rest.
pub(super) fn frames(mut bytes: &[u8]) -> (Vec<Frame<'_>>, &[u8]) {
    let mut frames = Vec::new();
    while let Some((frame, rest)) = Frame::split_first(bytes) {
        frames.push(frame);
        bytes = rest;
    }
    (frames, bytes)
}

/// Encodes a request packet.
pub(super) fn request(opcode: u8, opaque: [u8; 4], extras: &[u8], key: &[u8], value: &[u8]) -> Vec<u8> {
    let body_len = extras.len() + key.len() + value.len();
    let mut packet = vec![REQUEST_MAGIC, opcode];
    packet.extend(u16::try_from(key.len()).expect("a short key").to_be_bytes());
    packet.push(u8::try_from(extras.len()).expect("short extras"));
    packet.extend([0; 3]);
    packet.extend(u32::try_from(body_len).expect("a short body").to_be_bytes());
    packet.extend(opaque);
    packet.extend([0; 8]);
    for part in [extras, key, value] {
        packet.extend(part);
    }
    packet
}

const HEADER_LEN: usize = 24;
const REQUEST_MAGIC: u8 = 0x80;
const REPLY_MAGIC: u8 = 0x81;
pub(super) const NOOP: u8 = 0x0a;
pub(super) const VERSION: u8 = 0x0b;
pub(super) const SETQ: u8 = 0x11;
