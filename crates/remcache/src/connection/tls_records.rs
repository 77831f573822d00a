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

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    use tokio::io::{AsyncRead, ReadBuf};
    use tokio::time::Instant;

    use super::*;
    use crate::config::Config;
    use crate::config::protocol::ProtocolSetting;
    use crate::connection::shared::ConnectionHandle;
    use crate::proto::{Deadline, Request};

    /// What a stream was asked to do.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    enum Call {
        Flush,
        /// A write of this many bytes.
        Write(usize),
    }

    /// A stream that accepts a certain number of bytes.
    struct Recorder {
        calls: Arc<Mutex<Vec<Call>>>,
        capacity: usize,
    }

    impl AsyncWrite for Recorder {
        fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
            let count = bytes.len().min(self.capacity);
            if count == 0 {
                return Poll::Pending;
            }
            self.capacity -= count;
            self.calls.lock().unwrap().push(Call::Write(count));
            Poll::Ready(Ok(count))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            self.calls.lock().unwrap().push(Call::Flush);
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    impl AsyncRead for Recorder {
        fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
            Poll::Pending
        }
    }

    /// The bytes of a set without its value.
    const HEAD: usize = 24 + 8 + 1;

    /// Writes sets of values with these lengths to a stream with this capacity, twice if it is full the first time.
    fn calls(values: &[usize], capacity: usize) -> Vec<Call> {
        let connection = ConnectionHandle::for_test(&Config::new().protocol(ProtocolSetting::Binary), 0);
        let now = Instant::now();
        let deadline = Deadline { at: now.into_std() + Duration::from_secs(60), extend_by: Duration::ZERO };
        for length in values {
            connection.send_no_reply(&Request::set("k", vec![b'x'; *length]), deadline, now);
        }
        let task = connection.claim_task(0, None).expect("requests are in flight");
        let calls = Arc::<Mutex<Vec<Call>>>::default();
        let (mut writer, mut output) = (RecordWriter::default(), Output::new());
        let mut cx = Context::from_waker(std::task::Waker::noop());
        for capacity in [capacity, usize::MAX] {
            let mut stream: Box<dyn Stream> = Box::new(Recorder { calls: Arc::clone(&calls), capacity });
            let written = writer.write(&mut stream, &mut output, &task, &mut cx).unwrap();
            assert!(written.any);
            if written.all {
                break;
            }
        }
        assert!(!output.has_remaining());
        let calls = calls.lock().unwrap();
        calls.clone()
    }

    #[test]
    fn a_record_holds_whole_requests() {
        use Call::{Flush, Write};
        assert_eq!(calls(&[10, 20], usize::MAX), [Flush, Write(2 * HEAD + 30), Flush]);
        let large = HEAD + 7_000;
        assert_eq!(calls(&[7_000; 3], usize::MAX), [Flush, Write(2 * large), Flush, Write(large), Flush]);
    }

    #[test]
    fn a_long_request_is_divided_into_full_records() {
        use Call::{Flush, Write};
        let writes = calls(&[40_000], usize::MAX);
        let [Flush, writes @ .., Flush] = &writes[..] else { panic!("{writes:?}") };
        let total: usize = writes.iter().map(|write| if let Write(count) = write { *count } else { 0 }).sum();
        assert_eq!(total, HEAD + 40_000);
        assert_eq!(writes[0], Write(MAX_RECORD));
    }

    #[test]
    fn a_record_that_was_written_in_part_is_continued_without_a_flush() {
        use Call::{Flush, Write};
        assert_eq!(calls(&[100], 60), [Flush, Write(60), Write(HEAD + 40), Flush]);
    }
}
