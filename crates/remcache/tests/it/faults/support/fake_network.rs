//! An in-memory network, for tests with a paused clock and exact deadlines.

use std::future::pending;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use remcache::config::Address;
use remcache::transport::{Connect, ConnectFuture, Stream, TransportSettings};
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf, duplex};

use super::fake_server::{FakeServer, ServerStream, serve};
use super::server_fault::ServerFault;

/// A connector to fake servers by name.
#[derive(Clone, Debug)]
pub(crate) struct FakeNetwork(Arc<Vec<(&'static str, Arc<FakeServer>)>>);

impl FakeNetwork {
    pub(crate) fn new(servers: impl IntoIterator<Item = (&'static str, Arc<FakeServer>)>) -> Self {
        Self(Arc::new(servers.into_iter().collect()))
    }

    fn find(&self, address: &Address) -> &Arc<FakeServer> {
        let address = address.to_string();
        let found = self.0.iter().find(|(name, _)| address.starts_with(name));
        &found.unwrap_or_else(|| panic!("no server {address}")).1
    }
}

impl Connect for FakeNetwork {
    fn connect<'a>(&'a self, address: &'a Address, _: &'a TransportSettings) -> ConnectFuture<'a> {
        let fake = Arc::clone(self.find(address));
        Box::pin(async move {
            let _attempt = fake.attempts().start();
            match fake.fault() {
                ServerFault::RefuseConnections => return Err(io::ErrorKind::ConnectionRefused.into()),
                ServerFault::Unreachable => pending().await,
                _ => {}
            }
            let (client, server) = memory_stream_pair();
            tokio::spawn(serve(server, Arc::clone(&fake)));
            Ok(Box::new(client) as Box<dyn Stream>)
        })
    }
}

/// One end of an in-memory connection that either end can reset.
#[derive(Debug)]
pub(crate) struct MemoryStream {
    bytes: DuplexStream,
    is_reset: Arc<AtomicBool>,
}

fn memory_stream_pair() -> (MemoryStream, MemoryStream) {
    let (one, other) = duplex(BUFFER_SIZE);
    let is_reset = Arc::new(AtomicBool::new(false));
    (MemoryStream { bytes: one, is_reset: Arc::clone(&is_reset) }, MemoryStream { bytes: other, is_reset })
}

impl MemoryStream {
    fn check(&self) -> io::Result<()> {
        match self.is_reset.load(Ordering::Relaxed) {
            true => Err(io::ErrorKind::ConnectionReset.into()),
            false => Ok(()),
        }
    }
}

impl ServerStream for MemoryStream {
    fn reset(self) {
        // Dropping this end wakes the other one, which checks the flag before it reads.
        self.is_reset.store(true, Ordering::Relaxed);
    }
}

impl AsyncRead for MemoryStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.check()?;
        Pin::new(&mut self.bytes).poll_read(cx, buf)
    }
}

impl AsyncWrite for MemoryStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.check()?;
        Pin::new(&mut self.bytes).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.bytes).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.bytes).poll_shutdown(cx)
    }
}

/// Bytes in flight per direction, like the buffers of two sockets.
const BUFFER_SIZE: usize = 64 << 10;
