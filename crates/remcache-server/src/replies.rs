//! Replies as bytes, on their way to the socket.

use bytes::{Buf, Bytes};
use remcache_proto::binary::{Opcode, Packet, encode_reply};
use remcache_proto::{CowBytes, Output, Reply};

/// Encoded replies, and where each ends if somebody wants to know.
#[derive(Debug, Default)]
pub(crate) struct Replies {
    output: Output,
    ends: Option<Vec<usize>>,
}

impl Replies {
    /// Replies that can be taken apart again.
    pub(crate) fn divisible() -> Self {
        Self { ends: Some(Vec::new()), ..Self::default() }
    }

    #[inline]
    pub(crate) fn push_binary(&mut self, reply: &Reply, opcode: Opcode, opaque: u32) {
        encode_reply(reply, opcode, opaque, &mut self.output);
        self.end_reply();
    }

    /// A reply that is no answer to one of the usual operations.
    pub(crate) fn push_packet(&mut self, packet: &Packet) {
        packet.encode(&mut self.output);
        self.end_reply();
    }

    /// A reply that is text, or a part of one.
    #[inline]
    pub(crate) fn put(&mut self, text: &[u8]) {
        self.output.put(text);
    }

    /// A value, which is shared if it is large.
    #[inline]
    pub(crate) fn put_value(&mut self, value: Bytes) {
        self.output.put_value(&CowBytes::Shared(value));
    }

    /// What was put since the last end is one reply.
    #[inline]
    pub(crate) fn end_reply(&mut self) {
        if let Some(ends) = &mut self.ends {
            ends.push(self.output.remaining());
        }
    }

    /// A reply that is one line; its end is put behind it.
    pub(crate) fn push_line(&mut self, line: &str) {
        self.put(line.as_bytes());
        self.put(b"\r\n");
        self.end_reply();
    }

    /// How many bytes there are.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.output.remaining()
    }

    /// The bytes, for a socket to take.
    pub(crate) fn output(&mut self) -> &mut Output {
        &mut self.output
    }

    /// The packets of divisible replies.
    pub(crate) fn into_packets(mut self) -> Vec<Bytes> {
        let mut bytes = self.output.copy_to_bytes(self.output.remaining());
        let mut start = 0;
        let mut packet = |end: usize| bytes.split_to(end - std::mem::replace(&mut start, end));
        self.ends.unwrap_or_default().into_iter().map(&mut packet).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use remcache_proto::Status;

    #[test]
    fn packets_are_what_was_pushed() {
        let mut replies = Replies::divisible();
        let large = Bytes::from(vec![7; 10_000]);
        for (opaque, value) in [Bytes::from("a"), large, Bytes::new()].into_iter().enumerate() {
            let reply = Reply::with_text(Status::NoError, value);
            replies.push_binary(&reply, Opcode::NOOP, u32::try_from(opaque).unwrap());
        }
        let packets = replies.into_packets();
        assert_eq!(packets.iter().map(Bytes::len).collect::<Vec<_>>(), [25, 10_024, 24]);
        for (opaque, packet) in packets.iter().enumerate() {
            assert_eq!((packet[0], usize::from(packet[15])), (0x81, opaque));
        }
    }
}
