//! Writing over TLS: a record holds whole requests, or a part of one.
//!
//! Servers read a record in part and sleep on the rest of it, although a complete request is there:
//! docs/protocol.md says when. So each write is a unit: whole requests of at most 16,000 bytes, or
//! one longer request; and it becomes records of its own, since all before it has left.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Buf;
use tokio::io::AsyncWrite;

use crate::connection::io::{End, Written};
use crate::connection::shared::TaskHandle;
use crate::proto::Output;
use crate::transport::Stream;

/// What is known of the unit that is being written.
#[derive(Debug, Default)]
pub(crate) struct RecordWriter {
    /// How many bytes of it are left.
    unit: usize,
    /// One record's bytes where the output has them in pieces.
    gathered: Vec<u8>,
}

impl RecordWriter {
    /// Writes what is ready.
    pub(crate) fn write(
        &mut self,
        stream: &mut Box<dyn Stream>,
        output: &mut Output,
        link: &TaskHandle,
        cx: &mut Context<'_>,
    ) -> Result<Written, End> {
        let mut any = false;
        loop {
            if self.unit == 0 {
                // What waits within TLS would make the next record a partial one.
                match Pin::new(&mut *stream).poll_flush(cx) {
                    Poll::Pending => return Ok(Written { any, all: false }),
                    Poll::Ready(flushed) => flushed.map_err(End::Io)?,
                }
                if !output.has_remaining() {
                    link.take_output(output);
                }
                if !output.has_remaining() {
                    self.gathered.clear();
                    return Ok(Written { any, all: true });
                }
                self.unit = link.next_boundary(UNIT).clamp(1, output.remaining());
            }
            match Pin::new(&mut *stream).poll_write(cx, self.piece(output)) {
                Poll::Pending => return Ok(Written { any, all: false }),
                Poll::Ready(Ok(0)) => return Err(End::Io(std::io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(written)) => {
                    self.unit = self.unit.saturating_sub(written);
                    output.advance(written);
                    link.handle_written(written);
                    any = true;
                }
                Poll::Ready(Err(error)) => return Err(End::Io(error)),
            }
        }
    }

    /// The next bytes of the unit that go into one write.
    fn piece<'a>(&'a mut self, output: &'a Output) -> &'a [u8] {
        let wanted = self.unit.min(output.remaining());
        let first = output.chunk();
        // A unit of whole requests must not be divided; of a long one its first record is filled.
        if first.len() >= wanted.min(RECORD) {
            return &first[..wanted.min(first.len())];
        }
        self.gathered.clear();
        output.copy_to(wanted.min(RECORD), &mut self.gathered);
        &self.gathered
    }
}

/// How many bytes whole requests of one record have at most: servers read 16,384 at a time.
const UNIT: usize = 16_000;
/// The longest record of TLS, in bytes.
const RECORD: usize = 16_384;
