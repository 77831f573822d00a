//! A network in memory: it works under a paused clock, where deadlines are exact.

use std::future::pending;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use remcache::config::Address;
use remcache::transport::{Connect, Connecting, Stream, TransportSettings};
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf, duplex};

use super::conduct::Conduct;
use super::serve::{Peer, World, serve};

/// A network whose servers are known by their names.
#[derive(Clone, Debug)]
pub(crate) struct Net(Arc<Vec<(&'static str, Arc<World>)>>);

impl Net {
    pub(crate) fn new(servers: impl IntoIterator<Item = (&'static str, Arc<World>)>) -> Self {
        Self(Arc::new(servers.into_iter().collect()))
    }

    fn world(&self, address: &Address) -> &Arc<World> {
        let address = address.to_string();
        let found = self.0.iter().find(|(name, _)| address.starts_with(name));
        &found.unwrap_or_else(|| panic!("no server {address}")).1
    }
}

impl Connect for Net {
    fn connect<'a>(&'a self, address: &'a Address, _: &'a TransportSettings) -> Connecting<'a> {
        let world = Arc::clone(self.world(address));
        Box::pin(async move {
            let _attempt = world.attempts().begin();
            match world.conduct() {
                Conduct::Refuses => return Err(io::ErrorKind::ConnectionRefused.into()),
                Conduct::Unreachable => pending().await,
                _ => {}
            }
            let (client, server) = protocol();
            tokio::spawn(serve(server, Arc::clone(&world)));
            Ok(Box::new(client) as Box<dyn Stream>)
        })
    }
}

/// One end of a connection in memory, which either end can reset.
#[derive(Debug)]
pub(crate) struct Protocol {
    bytes: DuplexStream,
    is_reset: Arc<AtomicBool>,
}

fn protocol() -> (Protocol, Protocol) {
    let (one, other) = duplex(CAPACITY);
    let is_reset = Arc::new(AtomicBool::new(false));
    (Protocol { bytes: one, is_reset: Arc::clone(&is_reset) }, Protocol { bytes: other, is_reset })
}

impl Protocol {
    fn check(&self) -> io::Result<()> {
        match self.is_reset.load(Ordering::Relaxed) {
            true => Err(io::ErrorKind::ConnectionReset.into()),
            false => Ok(()),
        }
    }
}

impl Peer for Protocol {
    fn reset(self) {
        // Dropping the end wakes the other one, which finds the mark before it finds bytes.
        self.is_reset.store(true, Ordering::Relaxed);
    }
}

impl AsyncRead for Protocol {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.check()?;
        Pin::new(&mut self.bytes).poll_read(cx, buf)
    }
}

impl AsyncWrite for Protocol {
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

/// What fits into a connection in one direction, as into the buffers of two sockets.
const CAPACITY: usize = 64 << 10;
