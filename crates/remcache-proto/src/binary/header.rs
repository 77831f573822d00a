//! The 24-byte header of packets.

use crate::types::error::ProtocolError;
use crate::types::status::Status;

/// The direction of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "a packet goes one way or the other")]
pub enum Magic {
    /// From the client to the server.
    Request,
    /// From the server to the client.
    Response,
}

impl Magic {
    /// Returns the first byte of a packet in this direction.
    #[inline]
    pub const fn byte(self) -> u8 {
        match self {
            Self::Request => 0x80,
            Self::Response => 0x81,
        }
    }

    fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            0x80 => Some(Self::Request),
            0x81 => Some(Self::Response),
            _ => None,
        }
    }
}

/// A packet's header.
///
/// ```
/// use remcache_proto::{binary::{Header, Magic, Opcode}, Status};
///
/// let header = Header { key_length: 5, body_length: 5, opaque: 7, ..Header::request(Opcode::GET) };
/// let bytes = header.to_bytes();
/// assert_eq!(bytes[..4], [0x80, 0x00, 0x00, 0x05]);
/// assert_eq!(Header::from_bytes(&bytes), Ok(header));
/// assert_eq!(header.value_length(), Some(0));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "the protocol fixes the fields")]
pub struct Header {
    /// The direction.
    pub magic: Magic,
    /// The opcode; a response repeats it.
    pub opcode: u8,
    /// The key's length in bytes.
    pub key_length: u16,
    /// The extras' length in bytes.
    pub extras_length: u8,
    /// Always 0; servers ignore it.
    pub data_type: u8,
    /// The virtual bucket of a request, the status code of a response.
    pub vbucket_or_status: u16,
    /// The length of extras, key and value together, in bytes.
    pub body_length: u32,
    /// A number chosen by the client, which the server repeats.
    pub opaque: u32,
    /// The CAS value: a condition in a request, the item's in a response; 0 means no condition.
    pub cas: u64,
}

impl Header {
    /// The length of a header, in bytes.
    pub const LEN: usize = 24;

    /// Creates the header of a request without a body.
    pub const fn request(opcode: Opcode) -> Self {
        Self::empty(Magic::Request, opcode.0)
    }

    /// Creates the header of a response without a body.
    pub fn response(opcode: Opcode, status: Status) -> Self {
        Self { vbucket_or_status: status.code(), ..Self::empty(Magic::Response, opcode.0) }
    }

    const fn empty(magic: Magic, opcode: u8) -> Self {
        Self {
            magic,
            opcode,
            key_length: 0,
            extras_length: 0,
            data_type: 0,
            vbucket_or_status: 0,
            body_length: 0,
            opaque: 0,
            cas: 0,
        }
    }

    /// Encodes the header.
    #[inline]
    pub const fn to_bytes(&self) -> [u8; Self::LEN] {
        let key = self.key_length.to_be_bytes();
        let specific = self.vbucket_or_status.to_be_bytes();
        let body = self.body_length.to_be_bytes();
        let opaque = self.opaque.to_be_bytes();
        let cas = self.cas.to_be_bytes();
        [
            self.magic.byte(),
            self.opcode,
            key[0],
            key[1],
            self.extras_length,
            self.data_type,
            specific[0],
            specific[1],
            body[0],
            body[1],
            body[2],
            body[3],
            opaque[0],
            opaque[1],
            opaque[2],
            opaque[3],
            cas[0],
            cas[1],
            cas[2],
            cas[3],
            cas[4],
            cas[5],
            cas[6],
            cas[7],
        ]
    }

    /// Decodes a header.
    ///
    /// # Errors
    /// [`ProtocolError::WrongMagic`] if the first byte is neither a request's nor a response's.
    #[inline]
    pub fn from_bytes(b: &[u8; Self::LEN]) -> Result<Self, ProtocolError> {
        Ok(Self {
            magic: Magic::from_byte(b[0]).ok_or(ProtocolError::WrongMagic(b[0]))?,
            opcode: b[1],
            key_length: u16::from_be_bytes([b[2], b[3]]),
            extras_length: b[4],
            data_type: b[5],
            vbucket_or_status: u16::from_be_bytes([b[6], b[7]]),
            body_length: u32::from_be_bytes([b[8], b[9], b[10], b[11]]),
            opaque: u32::from_be_bytes([b[12], b[13], b[14], b[15]]),
            cas: u64::from_be_bytes([b[16], b[17], b[18], b[19], b[20], b[21], b[22], b[23]]),
        })
    }

    /// Returns the status of a response.
    #[inline]
    pub fn status(&self) -> Status {
        Status::from_code(self.vbucket_or_status)
    }

    /// Returns the length of the value: the body without extras and key; `None` if they are longer than the body.
    #[inline]
    pub fn value_length(&self) -> Option<usize> {
        let before = usize::from(self.key_length).checked_add(usize::from(self.extras_length))?;
        usize::try_from(self.body_length).ok()?.checked_sub(before)
    }
}

use super::Opcode;
