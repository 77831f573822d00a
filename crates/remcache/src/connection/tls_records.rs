//! Writing over TLS: a record holds whole requests, or a part of a single one.
//!
//! Some servers read a part of a record and do not process the rest until more data arrives, even if it
//! contains a complete request (docs/protocol.md). Each write is therefore one unit: whole requests of at
//! most 16,000 bytes, or one longer request. It starts a new record, because everything before it was flushed.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Buf;
use tokio::io::AsyncWrite;

use crate::connection::io::{CloseReason, Written};
use crate::connection::shared::TaskHandle;
use crate::proto::Output;
use crate::transport::Stream;

/// Writes output in units that start and end at request boundaries.
#[derive(Debug, Default)]
pub(crate) struct RecordWriter {
    /// Unwritten bytes of the current unit.
    unit: usize,
    /// A record's bytes, if the output holds them in several chunks.
    gathered: Vec<u8>,
}

impl RecordWriter {
    /// Writes until the output is empty or the socket is full.
    pub(crate) fn write(
        &mut self,
        stream: &mut Box<dyn Stream>,
        output: &mut Output,
        handle: &TaskHandle,
        cx: &mut Context<'_>,
    ) -> Result<Written, CloseReason> {
        let mut any = false;
        loop {
            if self.unit == 0 {
                // Data still buffered by the TLS layer would be merged into the next record.
                match Pin::new(&mut *stream).poll_flush(cx) {
                    Poll::Pending => return Ok(Written { any, all: false }),
                    Poll::Ready(flushed) => flushed.map_err(CloseReason::Io)?,
                }
                if !output.has_remaining() {
                    handle.take_output(output);
                }
                if !output.has_remaining() {
                    self.gathered.clear();
                    return Ok(Written { any, all: true });
                }
                self.unit = handle.whole_requests_len(MAX_UNIT).clamp(1, output.remaining());
            }
            match Pin::new(&mut *stream).poll_write(cx, self.next_chunk(output)) {
                Poll::Pending => return Ok(Written { any, all: false }),
                Poll::Ready(Ok(0)) => return Err(CloseReason::Io(std::io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(written)) => {
                    self.unit = self.unit.saturating_sub(written);
                    output.advance(written);
                    handle.handle_written(written);
                    any = true;
                }
                Poll::Ready(Err(error)) => return Err(CloseReason::Io(error)),
            }
        }
    }

    /// Returns the bytes of the unit for the next write.
    fn next_chunk<'a>(&'a mut self, output: &'a Output) -> &'a [u8] {
        let length = self.unit.min(output.remaining());
        let chunk = output.chunk();
        // A unit of whole requests must go into one write; of a longer one, one full record does.
        if chunk.len() >= length.min(MAX_RECORD) {
            return &chunk[..length.min(chunk.len())];
        }
        self.gathered.clear();
        output.copy_to(length.min(MAX_RECORD), &mut self.gathered);
        &self.gathered
    }
}

/// The maximum length of whole requests in one record, in bytes: servers read 16,384 at a time.
const MAX_UNIT: usize = 16_000;
/// The longest TLS record, in bytes.
const MAX_RECORD: usize = 16_384;
