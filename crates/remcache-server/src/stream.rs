//! A connection's socket, over TCP or a Unix path.

use std::io::{self, IoSlice};
use std::net::Shutdown;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use remcache_proto::Output;
use socket2::SockRef;
use tokio::io::{Interest, Ready};
use tokio::net::TcpStream;
#[cfg(unix)]
use tokio::net::UnixStream;
use tokio::time::{Instant, timeout_at};

use crate::fault::Close;

/// A connection's socket.
#[derive(Debug)]
pub(crate) enum Stream {
    Tcp(TcpStream),
    #[cfg(unix)]
    Unix(UnixStream),
}

/// What one write takes at most.
const MAX_SLICES: usize = 64;
/// How long a closed connection still reads, so that its last words are not lost to a reset.
const LINGERING: Duration = Duration::from_secs(1);

/// The same call on either socket.
macro_rules! on_socket {
    ($stream:expr, $socket:ident => $call:expr) => {
        match $stream {
            Stream::Tcp($socket) => $call,
            #[cfg(unix)]
            Stream::Unix($socket) => $call,
        }
    };
}

impl Stream {
    pub(crate) async fn ready(&self, interest: Interest) -> io::Result<Ready> {
        on_socket!(self, socket => socket.ready(interest).await)
    }

    /// Reads what is there; `None` if nothing is, 0 at the end.
    pub(crate) fn try_read(&self, target: &mut BytesMut) -> io::Result<Option<usize>> {
        unless_blocked(on_socket!(self, socket => socket.try_read_buf(target)))
    }

    /// Writes what the socket takes; `None` if it takes nothing.
    pub(crate) fn try_write(&self, output: &mut Output) -> io::Result<Option<usize>> {
        let mut slices = [IoSlice::new(&[]); MAX_SLICES];
        let count = output.chunks_vectored(&mut slices);
        let slices = slices.get(..count).unwrap_or_default();
        let written = unless_blocked(on_socket!(self, socket => socket.try_write_vectored(slices)))?;
        output.advance(written.unwrap_or_default());
        Ok(written)
    }

    /// Closes the connection.
    pub(crate) async fn close(self, close: Close) {
        match close {
            // Without time to linger, the system resets a connection that is closed.
            Close::Rst => drop(self.socket().set_linger(Some(Duration::ZERO))),
            Close::Fin => self.close_in_order().await,
        }
    }

    /// Says that nothing more comes, and reads until the peer says it too, for a while: bytes that
    /// nobody has read would turn the end into a reset.
    async fn close_in_order(&self) {
        if self.socket().shutdown(Shutdown::Write).is_err() {
            return;
        }
        let end = Instant::now() + LINGERING;
        let mut ignored = BytesMut::new();
        while let Ok(Ok(_)) = timeout_at(end, self.ready(Interest::READABLE)).await {
            ignored.clear();
            ignored.reserve(MAX_SLICES * 1024);
            if matches!(self.try_read(&mut ignored), Ok(Some(0)) | Err(_)) {
                return;
            }
        }
    }

    /// Where the connection comes from, as `stats conns` puts it.
    pub(crate) fn peer(&self) -> String {
        match self {
            Self::Tcp(socket) => socket.peer_addr().map_or_else(|_| String::new(), |address| format!("tcp:{address}")),
            #[cfg(unix)]
            Self::Unix(_) => "unix:".to_owned(),
        }
    }

    fn socket(&self) -> SockRef<'_> {
        on_socket!(self, socket => SockRef::from(socket))
    }
}

fn unless_blocked(result: io::Result<usize>) -> io::Result<Option<usize>> {
    match result {
        Ok(count) => Ok(Some(count)),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error),
    }
}
