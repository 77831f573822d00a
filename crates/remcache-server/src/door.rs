//! Where a server listens, and whether it does.

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

/// Where a server listens.
#[derive(Clone, Debug)]
pub(crate) enum Address {
    Tcp(SocketAddr),
    #[cfg_attr(not(unix), expect(dead_code, reason = "only Unix has such sockets"))]
    Unix(PathBuf),
}

/// A listening socket that can be shut and opened at any time, from any thread.
#[derive(Debug)]
pub(crate) struct Door {
    address: Address,
    slot: Mutex<Slot>,
    runtime: Handle,
    /// On Linux, a socket that is bound to the port and never listens: while the door is shut, nobody else
    /// gets the port, and no connection attempt of this machine can meet itself there.
    _reserved: Option<TcpSocket>,
}

#[derive(Debug, Default)]
struct Slot {
    listener: Option<Listener>,
    /// Whoever accepts, to be told when the door opens.
    acceptor: Option<Waker>,
    running: bool,
    refusing: bool,
}

#[derive(Debug)]
enum Listener {
    Tcp(TcpListener),
    #[cfg(unix)]
    Unix(UnixListener),
}

const BACKLOG: u32 = 1024;

impl Door {
    /// A door that is shut; its port, if it was left to the system, is known.
    pub(crate) fn new(address: Address) -> io::Result<Self> {
        let runtime = Handle::current();
        let bound = match address {
            Address::Tcp(address) => Some(bind(address)?),
            Address::Unix(_) => None,
        };
        let address = match &bound {
            Some(socket) => Address::Tcp(socket.local_addr()?),
            None => address,
        };
        // Elsewhere two sockets cannot share a port while only one of them listens.
        let reserved = bound.filter(|_| cfg!(target_os = "linux"));
        Ok(Self { address, slot: Mutex::default(), runtime, _reserved: reserved })
    }

    pub(crate) fn address(&self) -> &Address {
        &self.address
    }

    /// Opens the door, unless connections are refused.
    pub(crate) fn open(&self) -> io::Result<()> {
        self.change(|slot| slot.running = true)
    }

    /// Shuts the door.
    pub(crate) fn shut(&self) {
        // Only listening can fail.
        let _ = self.change(|slot| slot.running = false);
        self.clean_up();
    }

    /// Refuses connections, whether the server runs or not. The path of a Unix socket stays, since
    /// without it connections would not be refused but lead nowhere.
    pub(crate) fn refuse(&self) {
        // Only listening can fail.
        let _ = self.change(|slot| slot.refusing = true);
    }

    /// Refuses connections no longer.
    pub(crate) fn admit(&self) -> io::Result<()> {
        self.change(|slot| slot.refusing = false)
    }

    fn change(&self, change: impl FnOnce(&mut Slot)) -> io::Result<()> {
        let mut slot = self.slot();
        change(&mut slot);
        match (slot.running && !slot.refusing, slot.listener.is_some()) {
            (true, false) => slot.listener = Some(self.listen()?),
            (false, true) => slot.listener = None,
            _ => return Ok(()),
        }
        if let Some(acceptor) = slot.acceptor.take() {
            acceptor.wake();
        }
        Ok(())
    }

    fn listen(&self) -> io::Result<Listener> {
        // A socket belongs to the runtime in whose context it is made.
        let _context = self.runtime.enter();
        match &self.address {
            Address::Tcp(address) => Ok(Listener::Tcp(bind(*address)?.listen(BACKLOG)?)),
            #[cfg(unix)]
            Address::Unix(path) => {
                remove_socket(path);
                Ok(Listener::Unix(UnixListener::bind(path)?))
            }
            #[cfg(not(unix))]
            Address::Unix(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    fn clean_up(&self) {
        #[cfg(unix)]
        if let Address::Unix(path) = &self.address {
            remove_socket(path);
        }
    }

    /// The next connection, once the door is open.
    pub(crate) async fn accept(&self) -> io::Result<Stream> {
        poll_fn(|context| self.slot().poll_accept(context)).await
    }

    fn slot(&self) -> MutexGuard<'_, Slot> {
        // Its fields are consistent between any two statements.
        self.slot.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.shut();
    }
}

impl Slot {
    fn poll_accept(&mut self, context: &mut Context<'_>) -> Poll<io::Result<Stream>> {
        // Kept while the door is open too: a listener that is dropped wakes nobody.
        self.acceptor = Some(context.waker().clone());
        match &self.listener {
            None => Poll::Pending,
            Some(Listener::Tcp(listener)) => listener.poll_accept(context).map_ok(|(stream, _)| {
                // A reply must not wait for the next one; a socket that is gone is found out later.
                let _ = stream.set_nodelay(true);
                Stream::Tcp(stream)
            }),
            #[cfg(unix)]
            Some(Listener::Unix(listener)) => listener.poll_accept(context).map_ok(|(stream, _)| Stream::Unix(stream)),
        }
    }
}

fn bind(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // On Windows this would allow what it is to prevent: another program on the same port.
    #[cfg(not(windows))]
    socket.set_reuseaddr(true)?;
    socket.bind(address).map_err(|error| {
        let reason = if error.kind() == io::ErrorKind::AddrInUse { ": is something listening there?" } else { "" };
        io::Error::new(error.kind(), format!("cannot listen on {address}{reason} ({error})"))
    })?;
    Ok(socket)
}

/// Removes the socket that an earlier server left; anything else stays.
#[cfg(unix)]
fn remove_socket(path: &std::path::Path) {
    use std::os::unix::fs::FileTypeExt;
    let is_socket = std::fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket());
    if is_socket {
        // If it stays, binding tells why.
        let _ = std::fs::remove_file(path);
    }
}
