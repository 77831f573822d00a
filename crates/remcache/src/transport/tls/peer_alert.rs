//! A stream that records the first bytes from its peer, which may be an unencrypted error message instead of TLS.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::transport::Stream;

/// A stream that records the first bytes read from it.
pub(crate) struct RecordedStart {
    stream: Box<dyn Stream>,
    bytes: Vec<u8>,
}

/// Number of recorded bytes: enough to recognize memcached's error lines.
const REMEMBERED: usize = 32;

impl RecordedStart {
    pub(crate) fn new(stream: Box<dyn Stream>) -> Self {
        Self { stream, bytes: Vec::new() }
    }

    /// Returns the first bytes, at most 32.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

impl AsyncRead for RecordedStart {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        let wanted = REMEMBERED.saturating_sub(self.bytes.len());
        if wanted > 0 {
            let new = buf.filled().iter().skip(before).take(wanted);
            self.bytes.extend(new);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for RecordedStart {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
