//! Requests on their way into the output, in the words of the connection's wire.

use super::Connection;
use crate::proto::binary::{self, Opcode};
use crate::proto::expected::Shape;
use crate::proto::{Dialect, Expected, InvalidRequest, Output, Request, Wire, meta, text};

impl Connection {
    #[inline]
    pub(super) fn encode(&mut self, request: &Request<'_>, opaque: u32) -> Result<(Opcode, Expected), InvalidRequest> {
        match self.wire {
            Some(Wire::Binary) => encode_packet(request, opaque, &mut self.output),
            Some(wire) => encode_lines(wire, request, opaque, self.dialect, &mut self.output),
            None => {
                self.backlog.push(request)?;
                Ok((Opcode::NOOP, Expected { quiet: request.is_quiet(), ..Expected::new(request.operation()) }))
            }
        }
    }

    /// Remembers the key of a fetch where nothing else tells what an item answers, or what its key is.
    #[inline]
    pub(super) fn remember_key(&mut self, request: &Request<'_>) -> bool {
        let is_needed = match self.wire {
            Some(Wire::Text) => request.operation().is_fetch(),
            Some(Wire::Meta) => meta::cannot_return_key(request),
            _ => false,
        };
        if !is_needed {
            return false;
        }
        if let Ok(key) = request.key() {
            self.in_flight.remember_key(key.as_bytes());
        }
        true
    }
}

/// Appends a request for nothing but an answer.
pub(super) fn encode_noop(
    wire: Wire,
    opaque: u32,
    dialect: Dialect,
    output: &mut Output,
) -> Result<(Opcode, Expected), InvalidRequest> {
    match wire {
        Wire::Binary => encode_packet(&Request::noop(), opaque, output),
        _ => encode_lines(wire, &Request::noop(), opaque, dialect, output),
    }
}

#[inline]
fn encode_packet(
    request: &Request<'_>,
    opaque: u32,
    output: &mut Output,
) -> Result<(Opcode, Expected), InvalidRequest> {
    let opcode = binary::encode(request, opaque, output)?;
    let (operation, quiet) = (request.operation(), opcode.is_quiet());
    Ok((opcode, Expected { operation, quiet, returns_key: false, shape: Shape::Bare }))
}

// Apart from the path of packets, which is kept short.
#[inline(never)]
fn encode_lines(
    wire: Wire,
    request: &Request<'_>,
    opaque: u32,
    dialect: Dialect,
    output: &mut Output,
) -> Result<(Opcode, Expected), InvalidRequest> {
    let expected = match wire {
        Wire::Text => text::encode(request, output)?,
        _ => meta::encode(request, opaque, dialect, output)?,
    };
    Ok((Opcode::NOOP, expected))
}
