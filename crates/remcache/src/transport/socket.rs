//! A socket wrapper that skips the readiness check after a large read.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
#[cfg(unix)]
use tokio::net::UnixStream;

use crate::transport::Stream;

/// A socket that reads from the kernel directly, without waiting for readiness, after a large read.
///
/// Tokio considers a socket drained after a partial read and waits for readiness before it reads again. That suits
/// single replies. On a busy connection the next replies have often arrived by then, and waiting for readiness costs
/// one of the three system calls of an iteration.
pub(crate) struct EagerRead<S> {
    socket: S,
    /// Whether the last read was so large that more data may be available.
    last_read_large: bool,
}

/// The methods that Tokio's sockets have in common.
pub(crate) trait Socket: AsyncRead + AsyncWrite + Send + Unpin + 'static {
    /// Polls for read readiness.
    fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Reads available bytes; the socket counts as drained only after `WouldBlock`.
    fn try_read_buf(&self, buffer: &mut ReadBuf<'_>) -> io::Result<usize>;
}

impl Socket for TcpStream {
    fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_read_ready(cx)
    }

    fn try_read_buf(&self, buffer: &mut ReadBuf<'_>) -> io::Result<usize> {
        self.try_read_buf(buffer)
    }
}

#[cfg(unix)]
impl Socket for UnixStream {
    fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_read_ready(cx)
    }

    fn try_read_buf(&self, buffer: &mut ReadBuf<'_>) -> io::Result<usize> {
        self.try_read_buf(buffer)
    }
}

impl EagerRead<TcpStream> {
    pub(crate) fn peer_addr(&self) -> Option<SocketAddr> {
        self.socket.peer_addr().ok()
    }
}

impl<S: Socket> EagerRead<S> {
    pub(crate) fn boxed(socket: S) -> Box<dyn Stream> {
        Box::new(Self { socket, last_read_large: false })
    }

    fn poll_read_at_once(&self, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            ready!(self.socket.poll_read_ready(cx))?;
            match self.socket.try_read_buf(buffer) {
                // Tokio has cleared the readiness, so the next poll waits for new data.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                read => return Poll::Ready(read.map(|_| ())),
            }
        }
    }
}

impl<S: Socket> AsyncRead for EagerRead<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = match self.last_read_large {
            true => self.poll_read_at_once(cx, buffer),
            false => Pin::new(&mut self.socket).poll_read(cx, buffer),
        };
        if read.is_ready() {
            self.last_read_large = buffer.filled().len().saturating_sub(before) >= LARGE_READ;
        }
        read
    }
}

impl<S: Socket> AsyncWrite for EagerRead<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

/// The length of a read, in bytes, from which more data is expected: longer than a single small reply.
const LARGE_READ: usize = 2048;

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    /// Sends a large part, a small one, and after a pause the end: each is read when it arrives.
    async fn is_read_to_its_end(socket: impl Socket, mut peer: impl AsyncWrite + Unpin) {
        let mut eager = EagerRead { socket, last_read_large: false };
        let mut buffer = vec![0; 2 * LARGE_READ];
        for (length, last_read_large) in [(LARGE_READ, true), (1, false), (LARGE_READ, true), (LARGE_READ + 1, true)] {
            peer.write_all(&vec![7; length]).await.unwrap();
            let read = eager.read(&mut buffer).await.unwrap();
            assert_eq!((read, eager.last_read_large), (length, last_read_large));
        }
        let writing = async {
            tokio::task::yield_now().await;
            peer.write_all(b"late").await.unwrap();
            peer.shutdown().await.unwrap();
        };
        let (read, ()) = tokio::join!(eager.read(&mut buffer), writing);
        assert_eq!(read.unwrap(), 4, "an empty socket is waited for");
        assert_eq!(eager.read(&mut buffer).await.unwrap(), 0);
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn a_unix_socket_is_read_to_its_end() {
        let (socket, peer) = UnixStream::pair().unwrap();
        is_read_to_its_end(socket, peer).await;
    }

    #[tokio::test]
    async fn a_tcp_socket_is_read_to_its_end() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (socket, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
        is_read_to_its_end(socket.unwrap(), accepted.unwrap().0).await;
    }
}
