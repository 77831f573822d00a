//! The buffer of encoded replies.

use bytes::{Buf, Bytes};
use remcache_proto::binary::{Opcode, Packet, encode_reply};
use remcache_proto::{CowBytes, Output, Reply};

/// Encoded replies that wait to be written.
#[derive(Debug, Default)]
pub(crate) struct ReplyBuffer {
    output: Output,
    /// The end offset of each reply, if boundaries are recorded.
    ends: Option<Vec<usize>>,
}

impl ReplyBuffer {
    /// Creates a buffer that records where each reply ends, for [`ReplyBuffer::into_replies`].
    pub(crate) fn with_boundaries() -> Self {
        Self { ends: Some(Vec::new()), ..Self::default() }
    }

    #[inline]
    pub(crate) fn push_binary(&mut self, reply: &Reply, opcode: Opcode, opaque: u32) {
        encode_reply(reply, opcode, opaque, &mut self.output);
        self.end_reply();
    }

    pub(crate) fn push_packet(&mut self, packet: &Packet) {
        packet.encode(&mut self.output);
        self.end_reply();
    }

    /// Appends a line and its end, as one reply.
    pub(crate) fn push_line(&mut self, line: &str) {
        self.put(line.as_bytes());
        self.put(b"\r\n");
        self.end_reply();
    }

    /// Appends a part of a reply.
    #[inline]
    pub(crate) fn put(&mut self, bytes: &[u8]) {
        self.output.put(bytes);
    }

    /// Appends a value. A large one is shared, not copied.
    #[inline]
    pub(crate) fn put_value(&mut self, value: Bytes) {
        self.output.put_value(&CowBytes::Shared(value));
    }

    /// Marks the end of a reply.
    #[inline]
    pub(crate) fn end_reply(&mut self) {
        if let Some(ends) = &mut self.ends {
            ends.push(self.output.remaining());
        }
    }

    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.output.remaining()
    }

    /// Returns the bytes, for writing to a stream.
    pub(crate) fn output(&mut self) -> &mut Output {
        &mut self.output
    }

    /// Splits the bytes into replies. Without recorded boundaries the result is empty.
    pub(crate) fn into_replies(mut self) -> Vec<Bytes> {
        let mut bytes = self.output.copy_to_bytes(self.output.remaining());
        let mut start = 0;
        let mut reply = |end: usize| bytes.split_to(end - std::mem::replace(&mut start, end));
        self.ends.unwrap_or_default().into_iter().map(&mut reply).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use remcache_proto::Status;

    #[test]
    fn replies_are_split_where_they_were_pushed() {
        let mut buffer = ReplyBuffer::with_boundaries();
        let large = Bytes::from(vec![7; 10_000]);
        for (opaque, value) in [Bytes::from("a"), large, Bytes::new()].into_iter().enumerate() {
            let reply = Reply::with_text(Status::NoError, value);
            buffer.push_binary(&reply, Opcode::NOOP, u32::try_from(opaque).unwrap());
        }
        let replies = buffer.into_replies();
        assert_eq!(replies.iter().map(Bytes::len).collect::<Vec<_>>(), [25, 10_024, 24]);
        for (opaque, reply) in replies.iter().enumerate() {
            assert_eq!((reply[0], usize::from(reply[15])), (0x81, opaque));
        }
    }
}
