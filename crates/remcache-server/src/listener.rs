//! The listening socket of a server.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

#[cfg(unix)]
use tokio::net::UnixListener;
use tokio::net::{TcpListener, TcpSocket};
use tokio::runtime::Handle;

use crate::stream::Stream;

/// The address that a server listens on.
#[derive(Clone, Debug)]
pub(crate) enum Address {
    Tcp(SocketAddr),
    #[cfg_attr(not(unix), expect(dead_code, reason = "only Unix has such sockets"))]
    Unix(PathBuf),
    /// The server does not listen.
    None,
}

/// A listening socket that can be closed and reopened at any time, from any thread.
#[derive(Debug)]
pub(crate) struct GatedListener {
    address: Address,
    gate: Mutex<Gate>,
    runtime: Handle,
    /// On Linux, a socket that is bound to the port and never listens: while the listener is closed, no other process
    /// can take the port, and no local connection attempt can be assigned it as its own source port.
    _reserved: Option<TcpSocket>,
}

#[derive(Debug, Default)]
struct Gate {
    socket: Option<ListeningSocket>,
    /// The task that accepts connections, woken when the listener opens or closes.
    acceptor: Option<Waker>,
    running: bool,
    refusing: bool,
}

#[derive(Debug)]
enum ListeningSocket {
    Tcp(TcpListener),
    #[cfg(unix)]
    Unix(UnixListener),
}

const BACKLOG: u32 = 1024;

impl GatedListener {
    /// Creates a listener that is closed. If the system chose the port, it is known from here on.
    pub(crate) fn new(address: Address) -> io::Result<Self> {
        let runtime = Handle::current();
        let bound = match address {
            Address::Tcp(address) => Some(bind(address)?),
            Address::Unix(_) | Address::None => None,
        };
        let address = match &bound {
            Some(socket) => Address::Tcp(socket.local_addr()?),
            None => address,
        };
        // Other systems do not let two sockets share a port while only one of them listens.
        let reserved = bound.filter(|_| cfg!(target_os = "linux"));
        Ok(Self { address, gate: Mutex::default(), runtime, _reserved: reserved })
    }

    pub(crate) fn address(&self) -> &Address {
        &self.address
    }

    /// Starts listening, unless connections are being refused.
    pub(crate) fn open(&self) -> io::Result<()> {
        self.change(|gate| gate.running = true)
    }

    /// Stops listening and removes the path of a Unix socket.
    pub(crate) fn close(&self) {
        // Only starting to listen can fail.
        let _ = self.change(|gate| gate.running = false);
        self.remove_path();
    }

    /// Refuses connections until [`GatedListener::accept_again`], even if the server is restarted. The path of a Unix
    /// socket stays: without it, connecting would fail with "not found" rather than "refused".
    pub(crate) fn refuse(&self) {
        // Only starting to listen can fail.
        let _ = self.change(|gate| gate.refusing = true);
    }

    pub(crate) fn is_refusing(&self) -> bool {
        self.gate().refusing
    }

    /// Ends the effect of [`GatedListener::refuse`].
    pub(crate) fn accept_again(&self) -> io::Result<()> {
        self.change(|gate| gate.refusing = false)
    }

    fn change(&self, change: impl FnOnce(&mut Gate)) -> io::Result<()> {
        let mut gate = self.gate();
        change(&mut gate);
        match (gate.running && !gate.refusing, gate.socket.is_some()) {
            (true, false) => gate.socket = self.listen()?,
            (false, true) => gate.socket = None,
            _ => return Ok(()),
        }
        if let Some(acceptor) = gate.acceptor.take() {
            acceptor.wake();
        }
        Ok(())
    }

    fn listen(&self) -> io::Result<Option<ListeningSocket>> {
        // A socket registers with the runtime whose context it is created in; the caller may have none.
        let _context = self.runtime.enter();
        match &self.address {
            Address::Tcp(address) => Ok(Some(ListeningSocket::Tcp(bind(*address)?.listen(BACKLOG)?))),
            #[cfg(unix)]
            Address::Unix(path) => {
                remove_socket(path);
                Ok(Some(ListeningSocket::Unix(UnixListener::bind(path)?)))
            }
            #[cfg(not(unix))]
            Address::Unix(_) => Err(io::ErrorKind::Unsupported.into()),
            Address::None => Ok(None),
        }
    }

    fn remove_path(&self) {
        #[cfg(unix)]
        if let Address::Unix(path) = &self.address {
            remove_socket(path);
        }
    }

    /// Accepts the next connection, once the listener is open.
    pub(crate) async fn accept(&self) -> io::Result<Stream> {
        poll_fn(|context| self.gate().poll_accept(context)).await
    }

    fn gate(&self) -> MutexGuard<'_, Gate> {
        // Its fields are consistent between any two statements, so a poisoned lock is safe to use.
        self.gate.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for GatedListener {
    fn drop(&mut self) {
        self.close();
    }
}

impl Gate {
    fn poll_accept(&mut self, context: &mut Context<'_>) -> Poll<io::Result<Stream>> {
        // Stored even while the socket exists: dropping a socket does not wake the task that polls it.
        self.acceptor = Some(context.waker().clone());
        match &self.socket {
            None => Poll::Pending,
            Some(ListeningSocket::Tcp(listener)) => listener.poll_accept(context).map_ok(|(stream, _)| {
                // Without this, Nagle's algorithm delays small replies. If it fails, the socket is already
                // disconnected and the first read reports that.
                let _ = stream.set_nodelay(true);
                Stream::Tcp(stream)
            }),
            #[cfg(unix)]
            Some(ListeningSocket::Unix(listener)) => {
                listener.poll_accept(context).map_ok(|(stream, _)| Stream::Unix(stream))
            }
        }
    }
}

fn bind(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // On Windows this option would let another program bind the same port.
    #[cfg(not(windows))]
    socket.set_reuseaddr(true)?;
    socket.bind(address).map_err(|error| {
        let hint = match error.kind() {
            io::ErrorKind::AddrInUse => "; another process is using this port, choose another or use port 0",
            _ => "",
        };
        io::Error::new(error.kind(), format!("cannot listen on {address}: {error}{hint}"))
    })?;
    Ok(socket)
}

/// Removes a socket that an earlier server left. Files of other kinds stay.
#[cfg(unix)]
fn remove_socket(path: &std::path::Path) {
    use std::os::unix::fs::FileTypeExt;
    let is_socket = std::fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket());
    if is_socket {
        // If this fails, binding reports why.
        let _ = std::fs::remove_file(path);
    }
}
