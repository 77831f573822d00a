//! Writing requests and reading replies during the handshake.

use std::io;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::connection_failure::Failure;
use crate::proto::binary::{self, BinaryReply};
use crate::proto::{InputBuffer, ProtocolError};
use crate::reason::Reason;

/// Why a packet could not be read.
#[derive(Debug)]
pub(super) enum PacketError {
    /// The connection failed.
    Connection(Failure),
    /// The peer violated the protocol.
    Protocol(ProtocolError),
}

impl From<Failure> for PacketError {
    fn from(failure: Failure) -> Self {
        Self::Connection(failure)
    }
}

impl From<PacketError> for Failure {
    fn from(error: PacketError) -> Self {
        match error {
            PacketError::Connection(failure) => failure,
            PacketError::Protocol(ProtocolError::WrongMagic(b'C')) => Self::Auth(
                "the server answers in text: a server with a password file (-Y) does not support authentication on the binary protocol"
                    .into(),
            ),
            PacketError::Protocol(other) => Self::unreachable(other.to_string(), other),
        }
    }
}

/// Reads the next packet.
pub(super) async fn read_packet<S: AsyncRead + Unpin + ?Sized>(
    stream: &mut S,
    input: &mut InputBuffer,
) -> Result<BinaryReply, PacketError> {
    loop {
        if let Some(frame) = binary::decode(input, MAX_REPLY_LEN).map_err(PacketError::Protocol)? {
            return Ok(frame);
        }
        match stream.read_buf(input.spare_capacity()).await {
            Ok(0) => return Err(closed().into()),
            Ok(count) => input.record_read(count),
            Err(error) => return Err(io_failure(error).into()),
        }
    }
}

/// Reads a line and removes its line end.
pub(super) async fn read_line<S: AsyncRead + Unpin + ?Sized>(stream: &mut S) -> Result<Vec<u8>, Failure> {
    let mut line = Vec::new();
    while !line.ends_with(b"\r\n") {
        if line.len() >= MAX_REPLY_LEN {
            return Err(unexpected_line(&line));
        }
        // One byte at a time, because the bytes after the line belong to the connection's state machine.
        match stream.read_u8().await {
            // A peer with another protocol may never send a line end.
            Ok(byte) if line.is_empty() && !byte.is_ascii_graphic() => {
                return Err(Failure::Unreachable(ProtocolError::NotText(byte).to_string().into()));
            }
            Ok(byte) => line.push(byte),
            Err(error) => return Err(io_failure(error)),
        }
    }
    line.truncate(line.len().saturating_sub(2));
    Ok(line)
}

/// Converts a line that is not a reply to the authentication.
pub(super) fn unexpected_line(answer: &[u8]) -> Failure {
    if answer.starts_with(b"ERROR Too many open connections") {
        return Failure::Unreachable(ProtocolError::TooManyConnections.to_string().into());
    }
    Failure::Unreachable("unexpected reply to the authentication".into())
}

/// Writes bytes and flushes them.
pub(super) async fn send<S: AsyncWrite + Unpin + ?Sized>(stream: &mut S, bytes: &[u8]) -> Result<(), Failure> {
    stream.write_all(bytes).await.map_err(io_failure)?;
    stream.flush().await.map_err(io_failure)
}

pub(super) fn unexpected_reply() -> Failure {
    Failure::Unreachable("unexpected reply during the handshake".into())
}

fn closed() -> Failure {
    Failure::Closed("the server closed the connection during the handshake".into())
}

/// Converts an I/O error, with or without TLS.
fn io_failure(error: io::Error) -> Failure {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    if let Some(failure) = crate::transport::tls::failure(&error) {
        return failure;
    }
    match error.kind() {
        UnexpectedEof => closed(),
        ConnectionReset | ConnectionAborted | BrokenPipe => {
            Failure::Closed(Reason::with_cause(format!("during the handshake: {error}"), Arc::new(error)))
        }
        _ => Failure::unreachable(format!("during the handshake: {error}"), error),
    }
}

/// The longest reply to an authentication that is read, in bytes.
const MAX_REPLY_LEN: usize = 1024;

#[cfg(test)]
mod tests {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, TimedOut, UnexpectedEof};

    use super::*;

    #[test]
    fn a_reset_connection_counts_as_closed() {
        for kind in [UnexpectedEof, ConnectionReset, ConnectionAborted, BrokenPipe] {
            assert!(matches!(io_failure(kind.into()), Failure::Closed(_)), "{kind:?}");
        }
        assert!(matches!(io_failure(TimedOut.into()), Failure::Unreachable(_)));
    }
}
