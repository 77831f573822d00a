//! Arbitrary bytes as binary requests: a decoded packet encodes to the same bytes, and a decoded request to one with
//! the same request_and_value.

use bytes::{Buf, Bytes};
use remcache::proto::binary::{Packet, decode_request, encode};
use remcache::proto::{InputBuffer, Output, Request};

pub(crate) fn run(data: &[u8]) {
    let mut input = input(data);
    let mut rest = data;
    while let Ok(Some(packet)) = Packet::decode(&mut input, MAX_BODY) {
        let mut output = Output::new();
        packet.encode(&mut output);
        let bytes = output.copy_to_bytes(output.remaining());
        assert_eq!(bytes, &rest[..bytes.len()]);
        rest = &rest[bytes.len()..];
        if let Some(request) = decode_request(&packet) {
            send_on(&request, packet.header.opaque);
        }
    }
}

fn send_on(request: &Request<'_>, opaque: u32) {
    let mut output = Output::new();
    // Some decodable requests are refused by the encoder.
    let Ok(opcode) = encode(request, opaque, &mut output) else { return assert_eq!(output.remaining(), 0) };
    let bytes = output.copy_to_bytes(output.remaining());
    let packet = Packet::decode(&mut input(&bytes), MAX_BODY).expect("a request").expect("a whole one");
    assert_eq!((packet.header.opcode, packet.header.opaque), (opcode.0, opaque));
    let again = decode_request(&packet).expect("what was encoded can be decoded");
    assert_eq!(request_and_value(&again), request_and_value(request));
}

fn request_and_value(request: &Request<'_>) -> (String, Bytes) {
    (format!("{request:?}"), Bytes::copy_from_slice(request.value()))
}

fn input(bytes: &[u8]) -> InputBuffer {
    let mut input = InputBuffer::new();
    input.extend(bytes);
    input
}

const MAX_BODY: usize = 1 << 16;
