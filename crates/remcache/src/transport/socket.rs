//! A socket that is asked for more at once while it gives much.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
#[cfg(unix)]
use tokio::net::UnixStream;

use crate::transport::Stream;

/// A socket whose reads go to the kernel without asking the reactor first, after one that gave much.
///
/// Tokio takes a socket for empty when it gave less than there was room for, and asks the reactor
/// before it reads again. That is right for a lone reply. Of a busy connection the next replies have
/// often come by then, and the question is a system call of the three that a turn needs.
pub(crate) struct EagerRead<S> {
    socket: S,
    /// Whether the last read was large enough that more may be available.
    gave_much: bool,
}

/// What the sockets of tokio can do alike.
pub(crate) trait Socket: AsyncRead + AsyncWrite + Send + Unpin + 'static {
    /// Waits until the socket may have something.
    fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Reads what is there; it counts as empty only when it says that it would block.
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
        Box::new(Self { socket, gave_much: false })
    }

    fn poll_read_at_once(&self, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            ready!(self.socket.poll_read_ready(cx))?;
            match self.socket.try_read_buf(buffer) {
                // The socket is known to be empty now, so the next look at the reactor waits.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                read => return Poll::Ready(read.map(|_| ())),
            }
        }
    }
}

impl<S: Socket> AsyncRead for EagerRead<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = match self.gave_much {
            true => self.poll_read_at_once(cx, buffer),
            false => Pin::new(&mut self.socket).poll_read(cx, buffer),
        };
        if read.is_ready() {
            self.gave_much = buffer.filled().len().saturating_sub(before) >= MUCH;
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

/// A read of this many bytes is more than one small reply.
const MUCH: usize = 2048;

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    /// Much, then little, then nothing for a while, then the end: each is read when it comes.
    async fn is_read_to_its_end(socket: impl Socket, mut peer: impl AsyncWrite + Unpin) {
        let mut eager = EagerRead { socket, gave_much: false };
        let mut buffer = vec![0; 2 * MUCH];
        for (length, gave_much) in [(MUCH, true), (1, false), (MUCH, true), (MUCH + 1, true)] {
            peer.write_all(&vec![7; length]).await.unwrap();
            let read = eager.read(&mut buffer).await.unwrap();
            assert_eq!((read, eager.gave_much), (length, gave_much));
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
