//! The Tokio runtime that runs the tasks of connections.

use std::fmt;
use std::panic::catch_unwind;
use std::process;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

use crate::proto::{Delivery, Reply, Status};

/// The runtime that runs the tasks of a client's connections.
#[derive(Clone, Debug, Default)]
pub(crate) enum ConnectionRuntime {
    /// The runtime of the first request.
    #[default]
    OfFirstRequest,
    /// A configured runtime.
    Given(Handle),
    /// A dedicated thread of the client.
    Dedicated(Arc<Dedicated>),
}

impl ConnectionRuntime {
    /// Creates a dedicated thread, which starts on first use.
    pub(crate) fn dedicated() -> Self {
        Self::Dedicated(Arc::default())
    }

    /// Copies the setting for another client, which gets its own dedicated thread.
    pub(crate) fn for_another_client(self) -> Self {
        match self {
            Self::Dedicated(_) => Self::dedicated(),
            other => other,
        }
    }

    /// Returns whether a connection may move to another runtime if its own does not run.
    pub(crate) fn is_replaceable(&self) -> bool {
        matches!(self, Self::OfFirstRequest)
    }

    /// Returns the runtime on which to start a connection's task.
    ///
    /// # Errors
    /// The reply to the request that needs the connection.
    pub(crate) fn handle(&self) -> Result<Handle, Reply> {
        match self {
            Self::OfFirstRequest => {
                Handle::try_current().map_err(|_| Reply::disconnected(Delivery::NotSent, NO_RUNTIME))
            }
            Self::Given(handle) => Ok(handle.clone()),
            Self::Dedicated(dedicated) => dedicated.handle(),
        }
    }
}

/// Checks that a runtime has the drivers that connections need: time, and I/O unless a custom connector is set.
///
/// Tokio offers no query for that and panics instead; the panic is caught here, but reported by the panic hook.
pub(crate) fn check_drivers(runtime: &Handle, needs_sockets: bool) -> Result<(), Reply> {
    let _entered = runtime.enter();
    if catch_unwind(|| drop(tokio::time::sleep(Duration::ZERO))).is_err() {
        return Err(misconfigured(NO_TIMERS));
    }
    if needs_sockets && catch_unwind(register_a_socket).is_err() {
        return Err(misconfigured(NO_IO));
    }
    Ok(())
}

/// Registers a socket with the current runtime; panics if that has no I/O driver.
fn register_a_socket() {
    #[cfg(unix)]
    if let Ok((socket, _other_end)) = std::os::unix::net::UnixStream::pair()
        && socket.set_nonblocking(true).is_ok()
    {
        drop(tokio::net::UnixStream::from_std(socket));
    }
    #[cfg(not(unix))]
    if let Ok(socket) = std::net::UdpSocket::bind((std::net::Ipv4Addr::LOCALHOST, 0))
        && socket.set_nonblocking(true).is_ok()
    {
        drop(tokio::net::UdpSocket::from_std(socket));
    }
}

/// Returns the reply to a request whose connection cannot have a task.
#[cold]
fn misconfigured(reason: impl Into<String>) -> Reply {
    Reply::with_text(Status::Misconfigured, reason.into())
}

/// Returns the reply for a task that was dropped when it was spawned.
#[cold]
pub(crate) fn shut_down() -> Reply {
    misconfigured("the tokio runtime of the connection has been shut down")
}

const NO_RUNTIME: &str = "there is no tokio runtime here: call the client from a task or within Runtime::block_on, \
    or give its connections a thread with Config::dedicated_thread";
const NO_TIMERS: &str = "the tokio runtime has no timers: build it with Builder::enable_all, \
    or give the client's connections a thread with Config::dedicated_thread";
const NO_IO: &str = "the tokio runtime has no I/O driver: build it with Builder::enable_all, \
    or give the client's connections a thread with Config::dedicated_thread";

/// A runtime on a dedicated thread, started on first use and again in a forked child.
#[derive(Default)]
pub(crate) struct Dedicated(Mutex<Option<Background>>);

impl Dedicated {
    fn handle(&self) -> Result<Handle, Reply> {
        let mut background = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(running) = &*background
            && running.process == process::id()
        {
            return Ok(running.handle.clone());
        }
        let failed =
            |error| misconfigured(format!("the thread of the client's connections cannot be started: {error}"));
        let started = Background::start().map_err(failed)?;
        let handle = started.handle.clone();
        // After a fork the parent's thread does not exist in this process and cannot be stopped.
        std::mem::forget(background.replace(started));
        Ok(handle)
    }
}

impl fmt::Debug for Dedicated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Dedicated")
    }
}

/// A runtime on one thread; it stops when this is dropped.
struct Background {
    handle: Handle,
    process: u32,
    /// Dropping it stops the thread.
    _stop: oneshot::Sender<()>,
}

impl Background {
    fn start() -> std::io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel::<()>();
        thread::Builder::new().name("remcache".to_owned()).spawn(move || {
            // Nothing is ever sent: dropping the sender is the signal.
            let _ = runtime.block_on(stopped);
        })?;
        Ok(Self { handle, process: process::id(), _stop: stop })
    }
}
