//! Packets with every field, in either direction.

use bytes::Bytes;

use super::{Header, Opcode};
use crate::buffer::input::InputBuffer;
use crate::buffer::output::Output;
use crate::types::cow_bytes::CowBytes;
use crate::types::error::ProtocolError;
use crate::types::status::Status;

/// A packet: header, extras, key, value.
///
/// Its contents are not validated: for servers, tests and tools.
///
/// ```
/// use remcache_proto::{binary::{Opcode, Packet}, InputBuffer, Output};
///
/// let packet = Packet::request(Opcode::GET, "", "Hello", "");
/// let mut output = Output::new();
/// packet.encode(&mut output);
/// let mut input = InputBuffer::new();
/// input.extend(output.small());
/// assert_eq!(Packet::decode(&mut input, 1024)?, Some(packet));
/// # Ok::<(), remcache_proto::ProtocolError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "the protocol fixes the fields")]
pub struct Packet {
    /// The header; its lengths are those of the parts.
    pub header: Header,
    /// The operation's numbers: flags, expiration, delta, …
    pub extras: Bytes,
    /// The key.
    pub key: Bytes,
    /// The value, or the text of an error.
    pub value: Bytes,
}

impl Packet {
    /// Creates a request with these parts.
    ///
    /// # Panics
    /// Never; parts that are too long for their length field are truncated.
    pub fn request(opcode: Opcode, extras: impl Into<Bytes>, key: impl Into<Bytes>, value: impl Into<Bytes>) -> Self {
        Self::assemble(Header::request(opcode), extras.into(), key.into(), value.into())
    }

    /// Creates a response with these parts.
    pub fn response(
        opcode: Opcode,
        status: Status,
        extras: impl Into<Bytes>,
        key: impl Into<Bytes>,
        value: impl Into<Bytes>,
    ) -> Self {
        Self::assemble(Header::response(opcode, status), extras.into(), key.into(), value.into())
    }

    fn assemble(header: Header, mut extras: Bytes, mut key: Bytes, mut value: Bytes) -> Self {
        extras.truncate(usize::from(u8::MAX));
        key.truncate(usize::from(u16::MAX));
        // Far above what any server accepts, and below the maximum of the length field.
        value.truncate(1 << 31);
        let body = extras.len().saturating_add(key.len()).saturating_add(value.len());
        let header = Header {
            extras_length: u8::try_from(extras.len()).unwrap_or(u8::MAX),
            key_length: u16::try_from(key.len()).unwrap_or(u16::MAX),
            body_length: u32::try_from(body).unwrap_or(u32::MAX),
            ..header
        };
        Self { header, extras, key, value }
    }

    /// Appends the packet's bytes.
    pub fn encode(&self, output: &mut Output) {
        output.put(&self.header.to_bytes());
        output.put(&self.extras);
        output.put(&self.key);
        output.put_value(&CowBytes::Shared(self.value.clone()));
    }

    /// Decodes a packet from the front of the input; `None` if it is not complete yet.
    ///
    /// # Errors
    /// [`ProtocolError`] if the magic is wrong, the lengths contradict each other, or the body is
    /// longer than `max_body` bytes.
    pub fn decode(input: &mut InputBuffer, max_body: usize) -> Result<Option<Self>, ProtocolError> {
        let Some(header) = complete(input, max_body)? else { return Ok(None) };
        input.skip(Header::LEN);
        let extras = input.take(usize::from(header.extras_length));
        let key = input.take(usize::from(header.key_length));
        let value = input.take(header.value_length().unwrap_or_default());
        Ok(Some(Self { header, extras, key, value }))
    }
}

/// Returns the header at the front of the input, if the packet is complete.
#[inline]
pub(crate) fn complete(input: &mut InputBuffer, max_body: usize) -> Result<Option<Header>, ProtocolError> {
    let Some(bytes) = input.as_slice().first_chunk() else { return Ok(None) };
    let header = Header::from_bytes(bytes)?;
    if header.value_length().is_none() {
        return Err(ProtocolError::WrongLength);
    }
    // The announced length is checked here, before it sizes anything.
    let announced = usize::try_from(header.body_length).unwrap_or(usize::MAX);
    if announced > max_body {
        return Err(ProtocolError::TooLarge { announced, limit: max_body });
    }
    let length = announced.saturating_add(Header::LEN);
    if input.as_slice().len() < length {
        input.expect(length);
        return Ok(None);
    }
    Ok(Some(header))
}
