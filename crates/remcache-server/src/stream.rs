//! The byte stream of a connection.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::BytesMut;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
#[cfg(unix)]
use tokio::net::UnixStream;
use tokio::time::{Instant, timeout_at};

use crate::fault::Close;

/// The byte stream of a connection.
pub(crate) enum Stream {
    Tcp(TcpStream),
    #[cfg(unix)]
    Unix(UnixStream),
    #[cfg(feature = "tls")]
    Tls(Box<tokio_rustls::server::TlsStream<Self>>),
    /// A stream that was passed to [`Server::serve`](crate::Server::serve).
    Other(Box<dyn ByteStream>),
}

/// A byte stream in both directions.
pub(crate) trait ByteStream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> ByteStream for S {}

/// The time for which a closed connection is still read. Closing a socket with unread data resets the connection, and
/// the peer may then lose the last reply.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BUFFER: usize = 64 * 1024;

/// Makes the same call on the stream of any variant.
macro_rules! with_stream {
    ($stream:expr, $inner:ident => $call:expr) => {
        match $stream {
            Stream::Tcp($inner) => $call,
            #[cfg(unix)]
            Stream::Unix($inner) => $call,
            #[cfg(feature = "tls")]
            Stream::Tls($inner) => $call,
            Stream::Other($inner) => $call,
        }
    };
}

impl Stream {
    /// Closes the connection.
    pub(crate) async fn close(mut self, close: Close) {
        match close {
            Close::Rst => self.reset_on_drop(),
            Close::Fin => self.close_in_order().await,
        }
    }

    fn reset_on_drop(&self) {
        match self {
            // With a linger time of zero, closing a TCP socket sends a reset. If the option cannot be set, the socket
            // is already disconnected.
            Self::Tcp(socket) => drop(SockRef::from(socket).set_linger(Some(Duration::ZERO))),
            #[cfg(feature = "tls")]
            Self::Tls(stream) => stream.get_ref().0.reset_on_drop(),
            _ => {}
        }
    }

    /// Closes the sending side, then reads until the peer closes its side or [`LINGER`] has passed.
    async fn close_in_order(&mut self) {
        if self.shutdown().await.is_err() {
            return;
        }
        let deadline = Instant::now() + LINGER;
        let mut discarded = BytesMut::with_capacity(LINGER_BUFFER);
        while let Ok(Ok(1..)) = timeout_at(deadline, self.read_buf(&mut discarded)).await {
            discarded.clear();
        }
    }

    /// Returns the peer's address in the form that `stats conns` reports.
    pub(crate) fn peer(&self) -> String {
        match self {
            Self::Tcp(socket) => socket.peer_addr().map_or_else(|_| String::new(), |address| format!("tcp:{address}")),
            #[cfg(unix)]
            Self::Unix(_) => "unix:".to_owned(),
            #[cfg(feature = "tls")]
            Self::Tls(stream) => stream.get_ref().0.peer(),
            Self::Other(_) => "stream:".to_owned(),
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        with_stream!(self.get_mut(), stream => Pin::new(stream).poll_read(cx, buf))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        with_stream!(self.get_mut(), stream => Pin::new(stream).poll_write(cx, buf))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        with_stream!(self.get_mut(), stream => Pin::new(stream).poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        with_stream!(self, stream => stream.is_write_vectored())
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        with_stream!(self.get_mut(), stream => Pin::new(stream).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        with_stream!(self.get_mut(), stream => Pin::new(stream).poll_shutdown(cx))
    }
}
