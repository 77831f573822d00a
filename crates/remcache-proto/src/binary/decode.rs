//! Decoder for replies, and their encoder for servers.

use bytes::Bytes;

use super::{Header, Magic, Opcode, packet};
use crate::buffer::input::InputBuffer;
use crate::buffer::output::Output;
use crate::types::cow_bytes::CowBytes;
use crate::types::error::ProtocolError;
use crate::types::reply::Reply;
use crate::types::status::Status;

/// A decoded reply, and the fields that identify its request.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct BinaryReply {
    /// The opcode, which repeats the request's.
    pub opcode: Opcode,
    /// The opaque, which repeats the request's.
    pub opaque: u32,
    /// Whether this is the last reply to the request: false for all but the last packet of a Stat.
    pub last: bool,
    /// The reply.
    pub reply: Reply,
}

/// Takes a reply from the front of the input; `None` if it is not complete yet.
///
/// # Errors
/// [`ProtocolError`] if the bytes are not a reply, or announce a body of more than `max_body` bytes.
pub fn decode(input: &mut InputBuffer, max_body: usize) -> Result<Option<BinaryReply>, ProtocolError> {
    let Some(header) = peek(input, max_body)? else { return Ok(None) };
    let (reply, last) = take(input, &header)?;
    Ok(Some(BinaryReply { opcode: Opcode(header.opcode), opaque: header.opaque, last, reply }))
}

/// Returns the header of the reply at the front of the input, if the reply is complete.
#[inline]
pub(crate) fn peek(input: &mut InputBuffer, max_body: usize) -> Result<Option<Header>, ProtocolError> {
    match input.as_slice().first() {
        None => Ok(None),
        Some(&byte) if byte == Magic::Response.byte() => packet::complete(input, max_body),
        Some(_) => not_a_reply(input.as_slice()).map(|()| None),
    }
}

/// Takes the reply whose header was [peeked](peek), and returns whether it is the last one of its request.
#[inline]
pub(crate) fn take(input: &mut InputBuffer, header: &Header) -> Result<(Reply, bool), ProtocolError> {
    let opcode = Opcode(header.opcode);
    let status = header.status();
    let flags = flags(input.as_slice(), header);
    let mut begin = Header::LEN.saturating_add(usize::from(header.extras_length));
    let mut key = Bytes::new();
    if header.key_length > 0 {
        input.skip(std::mem::take(&mut begin));
        key = input.take(usize::from(header.key_length));
    }
    let mut value = take_value(input, begin, header, status);
    let mut number = None;
    if status == Status::NoError && opcode.is_counter() {
        number = Some(counter(&value)?);
        value = Bytes::new();
    }
    let last = opcode != Opcode::STAT || status != Status::NoError || (key.is_empty() && value.is_empty());
    Ok((Reply { status, flags, cas: header.cas, number, key, value, info: None }, last))
}

/// Checks bytes that are not a binary reply, such as a text error; `Ok` if more bytes are needed.
#[cold]
fn not_a_reply(bytes: &[u8]) -> Result<(), ProtocolError> {
    let (seen, refusal) = (bytes.iter(), TOO_MANY_CONNECTIONS.iter());
    let is_refusal = seen.zip(refusal).all(|(seen, expected)| seen == expected);
    match (is_refusal, bytes.len() < TOO_MANY_CONNECTIONS.len()) {
        (true, true) => Ok(()),
        (true, false) => Err(ProtocolError::TooManyConnections),
        (false, _) => Err(ProtocolError::WrongMagic(bytes.first().copied().unwrap_or_default())),
    }
}

/// The start of memcached's error for too many connections, sent as text even to binary clients.
const TOO_MANY_CONNECTIONS: &[u8] = b"ERROR Too";

/// Takes the value, which begins at `begin`. The text of a miss, which is as common as a hit, is not allocated.
#[inline]
fn take_value(input: &mut InputBuffer, begin: usize, header: &Header, status: Status) -> Bytes {
    let length = header.value_length().unwrap_or_default();
    let end = begin.saturating_add(length);
    if status == Status::KeyNotFound && input.as_slice().get(begin..end) == Some(NOT_FOUND) {
        input.skip(end);
        return Bytes::from_static(NOT_FOUND);
    }
    input.take_within(end, begin, length)
}

/// The text of memcached's reply to a miss.
const NOT_FOUND: &[u8] = b"Not found";

#[inline]
fn flags(packet: &[u8], header: &Header) -> u32 {
    if header.extras_length < 4 {
        return 0;
    }
    let extras = packet.get(Header::LEN..).and_then(<[u8]>::first_chunk);
    extras.map_or(0, |bytes| u32::from_be_bytes(*bytes))
}

fn counter(value: &[u8]) -> Result<u64, ProtocolError> {
    value.try_into().map(u64::from_be_bytes).map_err(|_| ProtocolError::WrongNumber)
}

/// Appends a reply's bytes, as a server's answer to a request with this opcode and opaque.
pub fn encode_reply(reply: &Reply, opcode: Opcode, opaque: u32, output: &mut Output) {
    let flags = reply.flags.to_be_bytes();
    let extras = if reply.is_ok() && opcode.returns_flags() { &flags[..] } else { &[] };
    let number = reply.number.map(u64::to_be_bytes);
    let value = number.as_ref().map_or(&reply.value[..], |number| &number[..]);
    let key = reply.key.get(..usize::from(u16::MAX)).unwrap_or(&reply.key);
    let body = extras.len().saturating_add(key.len()).saturating_add(value.len());
    let header = Header {
        opaque,
        cas: reply.cas,
        extras_length: u8::try_from(extras.len()).unwrap_or_default(),
        key_length: u16::try_from(key.len()).unwrap_or_default(),
        body_length: u32::try_from(body).unwrap_or(u32::MAX),
        ..Header::response(opcode, reply.status)
    };
    output.put(&header.to_bytes());
    output.put(extras);
    output.put(key);
    match number {
        Some(number) => output.put(&number),
        None => output.put_value(&CowBytes::from(&reply.value)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn input(bytes: &[u8]) -> InputBuffer {
        let mut input = InputBuffer::new();
        input.extend(bytes);
        input
    }

    fn error_of(bytes: &[u8]) -> ProtocolError {
        decode(&mut input(bytes), 1 << 20).unwrap_err()
    }

    #[test]
    fn an_invalid_reply_is_reported_at_its_first_byte() {
        assert_eq!(error_of(b"ERROR Too many open connections"), ProtocolError::TooManyConnections);
        assert!(decode(&mut input(b"ERROR"), 1 << 20).unwrap().is_none(), "it may be either yet");
        assert_eq!(error_of(b"ERROR\r\n"), ProtocolError::WrongMagic(b'E'));
        assert_eq!(error_of(b"HTTP/1.1 400"), ProtocolError::WrongMagic(b'H'));
        assert!(error_of(b"H").to_string().contains("HTTP"));
        assert!(error_of(&[0x15]).to_string().contains("TLS"));
    }

    #[test]
    fn lengths_are_checked_before_they_size_anything() {
        let mut header = Header { magic: Magic::Response, body_length: u32::MAX, ..Header::request(Opcode::GET) };
        let limit = 1 << 20;
        let announced = u32::MAX as usize;
        assert_eq!(error_of(&header.to_bytes()), ProtocolError::TooLarge { announced, limit });
        header = Header { body_length: 3, key_length: 4, ..header };
        assert_eq!(error_of(&header.to_bytes()), ProtocolError::WrongLength);
    }

    #[test]
    fn every_prefix_of_a_reply_is_not_yet_a_reply() {
        let reply = Reply { flags: 7, cas: 9, value: Bytes::from("World"), ..Reply::new(Status::NoError) };
        let mut output = Output::new();
        encode_reply(&reply, Opcode::GET, 3, &mut output);
        let bytes = output.small().to_vec();
        for end in 0..bytes.len() {
            assert!(decode(&mut input(&bytes[..end]), 1024).unwrap().is_none(), "{end} bytes");
        }
        let frame = decode(&mut input(&bytes), 1024).unwrap().unwrap();
        assert_eq!((frame.opaque, frame.last, frame.reply.flags, frame.reply.cas), (3, true, 7, 9));
        assert_eq!(frame.reply.value, "World");
    }

    #[test]
    fn a_counter_is_eight_bytes() {
        let reply = Reply { number: Some(17), ..Reply::new(Status::NoError) };
        let mut output = Output::new();
        encode_reply(&reply, Opcode(0x05), 3, &mut output);
        let mut bytes = output.small().to_vec();
        assert_eq!(decode(&mut input(&bytes), 64).unwrap().unwrap().reply.number, Some(17));
        bytes.pop();
        bytes[11] = 7;
        assert_eq!(error_of(&bytes), ProtocolError::WrongNumber);
    }
}
