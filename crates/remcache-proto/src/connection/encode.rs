//! Encodes requests into the output, in the connection's protocol.

use super::{Connection, Deadline};
use crate::binary::{self, Opcode};
use crate::buffer::output::Output;
use crate::connection::pending::{Entry, KeyTracking, Owner};
use crate::types::error::InvalidRequest;
use crate::types::protocol::Protocol;
use crate::types::reply_shape::ReplyShape;
use crate::types::reply_shape::Shape;
use crate::types::request::Request;
use crate::types::version::ServerVersion;
use crate::{meta, text};

/// The parts of a pending entry that result from encoding its request.
pub(crate) struct EncodedRequest {
    pub(crate) opcode: Opcode,
    pub(crate) expected: ReplyShape,
    /// The offset of its first byte in the stream of all submitted bytes.
    pub(crate) start: u64,
    pub(crate) key_tracking: KeyTracking,
}

impl EncodedRequest {
    /// Updates the entry of a request that was encoded again.
    pub(crate) fn replace(self, entry: Entry) -> Entry {
        let Self { opcode, expected, start, key_tracking } = self;
        Entry { start, opcode, expected, key_tracking, ..entry }
    }

    /// Creates the entry of a new request.
    #[inline]
    pub(crate) fn entry(self, owner: Owner, deadline: Deadline) -> Entry {
        let Self { opcode, expected, start, key_tracking } = self;
        Entry { owner, deadline: deadline.at, extend_by: deadline.extend_by, start, opcode, expected, key_tracking }
    }
}

impl Connection {
    #[inline]
    pub(crate) fn encode(&mut self, request: &Request<'_>, opaque: u32) -> Result<EncodedRequest, InvalidRequest> {
        let start = self.submitted;
        match self.protocol {
            Some(Protocol::Binary) => {
                let (opcode, expected) = encode_packet(request, opaque, &mut self.output)?;
                Ok(EncodedRequest { opcode, expected, start, key_tracking: KeyTracking::Nothing })
            }
            Some(protocol) => self.encode_line(protocol, request, opaque),
            None => {
                self.backlog.push(request)?;
                // Replaced when the request is encoded.
                let expected = ReplyShape::new(request.operation());
                Ok(EncodedRequest { opcode: Opcode::NOOP, expected, start, key_tracking: KeyTracking::Nothing })
            }
        }
    }

    // Not inlined, to keep the path of the binary protocol short.
    #[inline(never)]
    fn encode_line(
        &mut self,
        protocol: Protocol,
        request: &Request<'_>,
        opaque: u32,
    ) -> Result<EncodedRequest, InvalidRequest> {
        if let Some(key) = self.coalescible_key(request) {
            return Ok(self.append_key(key));
        }
        let start = self.submitted;
        let (opcode, expected) = match protocol {
            Protocol::Text if self.without_gets.is_active() => {
                (Opcode::NOOP, text::encode_without_gets(request, &mut self.output)?)
            }
            _ => encode_lines(protocol, request, opaque, self.server_version, &mut self.output)?,
        };
        self.open_multiget = None;
        Ok(EncodedRequest { opcode, expected, start, key_tracking: self.keep_key(request) })
    }

    /// Stores the key of a get if the reply does not identify the request or its key.
    fn keep_key(&mut self, request: &Request<'_>) -> KeyTracking {
        let is_needed = match self.protocol {
            Some(Protocol::Text) => request.operation().is_fetch(),
            Some(Protocol::Meta) => meta::cannot_return_key(request),
            _ => false,
        };
        match request.key() {
            Ok(key) if is_needed => {
                self.in_flight.remember_key(key.as_bytes());
                KeyTracking::Key
            }
            _ => KeyTracking::Nothing,
        }
    }
}

#[inline]
fn encode_packet(
    request: &Request<'_>,
    opaque: u32,
    output: &mut Output,
) -> Result<(Opcode, ReplyShape), InvalidRequest> {
    let opcode = binary::encode(request, opaque, output)?;
    let (operation, quiet) = (request.operation(), opcode.is_quiet());
    Ok((opcode, ReplyShape { operation, quiet, returns_key: false, shape: Shape::Bare }))
}

fn encode_lines(
    protocol: Protocol,
    request: &Request<'_>,
    opaque: u32,
    server_version: ServerVersion,
    output: &mut Output,
) -> Result<(Opcode, ReplyShape), InvalidRequest> {
    let expected = match protocol {
        Protocol::Text => text::encode(request, output)?,
        _ => meta::encode(request, opaque, server_version, output)?,
    };
    Ok((Opcode::NOOP, expected))
}
