//! The server and its lifecycle: start, stop, restart, faults and counters.

use std::future::Future;
use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, JoinSet};

use crate::builder::Builder;
use crate::cluster::{ClusterConfig, ClusterNode};
use crate::connection::{Connection, reject};
use crate::fault::{Fault, Injection};
use crate::listener::{Address, GatedListener};
use crate::settings::Settings;
use crate::state::{ServerState, read};
use crate::stream::Stream;

/// An embedded memcached server, which runs on the current Tokio runtime until it is stopped or dropped.
///
/// See the [crate documentation](crate) for an overview.
#[derive(Debug)]
pub struct Server {
    state: Arc<ServerState>,
    listener: Arc<GatedListener>,
    runtime: Handle,
    accept_task: Mutex<Option<AcceptTask>>,
}

/// The task that accepts connections and owns the tasks that serve them.
#[derive(Debug)]
struct AcceptTask {
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Server {
    /// Starts a server with default settings on a free port of the loopback interface.
    ///
    /// # Errors
    /// Fails if no socket can be opened.
    ///
    /// # Panics
    /// Panics outside of a Tokio runtime, or if the runtime's I/O or time driver is disabled.
    ///
    /// # Cancel safety
    /// Does not wait, so it cannot be cancelled halfway.
    pub async fn start() -> io::Result<Self> {
        Self::builder().start().await
    }

    /// Returns a builder with default settings.
    pub fn builder() -> Builder {
        Builder::new()
    }

    fn new(address: Address, settings: Settings) -> io::Result<Self> {
        let server = Self {
            state: Arc::new(ServerState::new(settings)),
            listener: Arc::new(GatedListener::new(address)?),
            runtime: Handle::current(),
            accept_task: Mutex::default(),
        };
        server.run()?;
        Ok(server)
    }

    fn run(&self) -> io::Result<()> {
        self.listener.open()?;
        self.state.running.send_replace(true);
        let (stop, stopped) = oneshot::channel();
        let accepting = accept(Arc::clone(&self.listener), Arc::clone(&self.state), stopped);
        let task = self.runtime.spawn(accepting);
        self.replace_task(Some(AcceptTask { stop, task }));
        Ok(())
    }

    fn replace_task(&self, task: Option<AcceptTask>) -> Option<AcceptTask> {
        // It is only replaced as a whole, so a poisoned lock is safe to use.
        std::mem::replace(&mut *self.accept_task.lock().unwrap_or_else(PoisonError::into_inner), task)
    }

    /// Returns the address that the server listens on: `127.0.0.1:PORT`, the path of its Unix socket, or an empty
    /// string if it [does not listen](Builder::without_listener).
    pub fn address(&self) -> String {
        match self.listener.address() {
            Address::Tcp(address) => address.to_string(),
            Address::Unix(path) => path.display().to_string(),
            Address::None => String::new(),
        }
    }

    /// Returns the port that the server listens on. A restart keeps it.
    ///
    /// # Panics
    /// Panics if the server listens on a Unix socket or not at all.
    pub fn port(&self) -> u16 {
        match self.listener.address() {
            Address::Tcp(address) => address.port(),
            Address::Unix(path) => panic!("the server listens on the Unix socket {}, not on a port", path.display()),
            Address::None => panic!("the server has no listener"),
        }
    }

    /// Serves a client over any byte stream, until either side closes it or the server stops.
    ///
    /// The client needs no socket then: the stream may be one end of [`tokio::io::duplex`], a connection on a simulated
    /// network, or a socket that the caller has accepted. Faults, limits and counters apply as to accepted connections.
    /// If the server has a TLS configuration, the handshake takes place on the stream.
    ///
    /// The returned future does not borrow the server, so it can be spawned.
    ///
    /// ```
    /// use remcache_server::Server;
    /// use tokio::io::{AsyncReadExt, AsyncWriteExt};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> std::io::Result<()> {
    /// let server = Server::builder().without_listener().start().await?;
    /// let (mut client, stream) = tokio::io::duplex(4096);
    /// tokio::spawn(server.serve(stream));
    ///
    /// client.write_all(b"mn\r\n").await?;
    /// let mut reply = [0; 4];
    /// client.read_exact(&mut reply).await?;
    /// assert_eq!(&reply, b"MN\r\n");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Fails with [`ConnectionRefused`](io::ErrorKind::ConnectionRefused) if the server is stopped or a fault makes it
    /// refuse connections. A connection that breaks later is not an error.
    ///
    /// # Cancel safety
    /// Dropping the future drops the stream, which closes the connection.
    pub fn serve<S>(&self, stream: S) -> impl Future<Output = io::Result<()>> + Send + 'static + use<S>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let (state, listener) = (Arc::clone(&self.state), Arc::clone(&self.listener));
        async move {
            let mut running = state.running.subscribe();
            if !*running.borrow_and_update() || listener.is_refusing() {
                let text = "the embedded server is stopped or refuses connections";
                return Err(io::Error::new(io::ErrorKind::ConnectionRefused, text));
            }
            tokio::select! {
                () = serve(Stream::Other(Box::new(stream)), &state) => {}
                // The sender is part of the state, so this is never an error.
                _ = running.changed() => {}
            }
            Ok(())
        }
    }

    /// Stops listening and closes all connections. Items and counters are kept; see [`Server::restart_with_items`].
    ///
    /// Connections that [`Server::serve`] serves are closed when their tasks run next. Stopping a server that is
    /// stopped does nothing.
    ///
    /// # Cancel safety
    /// The server stops even if the future is dropped; only waiting for the connections to close ends early.
    pub async fn stop(&self) {
        self.listener.close();
        self.state.running.send_replace(false);
        if let Some(AcceptTask { stop, task }) = self.replace_task(None) {
            // Both fail only if the task has already ended.
            let _ = stop.send(());
            let _ = task.await;
        }
    }

    /// Stops the server if it runs, removes all items, resets all counters and starts it at the same address, as when
    /// the process of a real server is restarted. Injected faults stay.
    ///
    /// # Errors
    /// Fails if the server cannot listen on its address again. On Linux the port stays reserved while the server is
    /// stopped; on other systems another process may have taken it.
    ///
    /// # Cancel safety
    /// If the future is dropped, the server may stay stopped. Calling this again starts it.
    pub async fn restart(&self) -> io::Result<()> {
        self.stop().await;
        self.state.reset();
        self.run()
    }

    /// Restarts the server like [`Server::restart`] but keeps items and counters, as after a network outage.
    ///
    /// # Errors
    /// Fails like [`Server::restart`].
    ///
    /// # Cancel safety
    /// Same as [`Server::restart`].
    pub async fn restart_with_items(&self) -> io::Result<()> {
        self.stop().await;
        self.run()
    }

    /// Injects a fault: on all connections, or on the connection or reply that the [`Injection`] selects.
    ///
    /// Open connections notice it the next time they read.
    pub fn inject(&self, injection: impl Into<Injection>) {
        let injection = injection.into();
        match injection.fault {
            Fault::RefuseConnections => self.listener.refuse(),
            _ => self.state.faults.inject(injection),
        }
    }

    /// Removes all faults, both those in effect and those that wait for their connection or reply.
    ///
    /// # Errors
    /// Fails if the server refused connections and cannot listen on its address again; see [`Server::restart`].
    pub fn clear_faults(&self) -> io::Result<()> {
        self.state.faults.clear();
        self.listener.accept_again()
    }

    /// Replaces the cluster configuration that clients are given; see [`Builder::cluster`].
    pub fn set_cluster(&self, version: u64, nodes: impl IntoIterator<Item = ClusterNode>) {
        *self.state.cluster() = Some(ClusterConfig::new(version, nodes));
    }

    /// Returns the number of open connections.
    pub fn connections(&self) -> usize {
        self.state.traffic.open.load(Ordering::Relaxed)
    }

    /// Returns the number of connections that were accepted since the start.
    pub fn accepted(&self) -> u64 {
        read(&self.state.traffic.accepted)
    }

    /// Returns the number of TLS handshakes that were completed since the start, including resumptions.
    #[cfg(feature = "tls")]
    pub fn tls_handshakes(&self) -> u64 {
        read(&self.state.traffic.tls_handshakes)
    }

    /// Returns the number of TLS handshakes since the start that resumed an earlier session.
    #[cfg(feature = "tls")]
    pub fn tls_resumptions(&self) -> u64 {
        read(&self.state.traffic.tls_resumptions)
    }

    /// Returns the number of requests that were executed or refused since the start, including quiet ones.
    pub fn requests(&self) -> u64 {
        read(&self.state.traffic.requests)
    }

    /// Returns the number of items. Expired items count until a request for their key removes them.
    pub fn items(&self) -> usize {
        self.state.store().len()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.listener.close();
        self.state.running.send_replace(false);
        if let Some(AcceptTask { task, .. }) = self.replace_task(None) {
            // The task owns the connections' tasks and aborts them when it is dropped.
            task.abort();
        }
    }
}

impl Builder {
    /// Starts the server on the current Tokio runtime.
    ///
    /// # Errors
    /// Fails if the server cannot listen on its address, if the maximum item size is not between 1 KiB and 1
    /// GiB, or if the [profile](Builder::profile) requires a TLS configuration and has none.
    ///
    /// # Panics
    /// Panics outside of a Tokio runtime, or if the runtime's time driver is disabled, or its I/O driver unless there
    /// is [no listener](Builder::without_listener).
    ///
    /// # Cancel safety
    /// Does not wait, so it cannot be cancelled halfway.
    #[expect(clippy::unused_async, reason = "async shows that a runtime is needed, and lets it wait in the future")]
    pub async fn start(self) -> io::Result<Server> {
        let (address, settings) = self.build()?;
        Server::new(address, settings)
    }
}

/// The pause before accepting again after the system refused a socket, for example because the process has no file
/// descriptors left. Without it the accept loop would spin.
const ACCEPT_RETRY_DELAY: Duration = Duration::from_millis(10);

async fn accept(listener: Arc<GatedListener>, state: Arc<ServerState>, mut stopped: oneshot::Receiver<()>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            _ = &mut stopped => break,
            () = state.shutdown.notified() => {
                listener.close();
                state.running.send_replace(false);
                break;
            }
            accepted = listener.accept() => match accepted {
                Ok(stream) => drop(connections.spawn(serve(stream, &state))),
                Err(_) => tokio::time::sleep(ACCEPT_RETRY_DELAY).await,
            },
            // Removes finished tasks, which would otherwise collect in the set.
            Some(_) = connections.join_next() => {}
        }
    }
    connections.shutdown().await;
}

/// Counts a connection at once, so that connections are numbered in the order in which they were accepted. Returns the
/// future that serves it until it is closed, or rejects it if there are too many.
fn serve(stream: Stream, state: &Arc<ServerState>) -> impl Future<Output = ()> + Send + use<> {
    let connection = Connection::new(state);
    async move {
        match connection {
            Some(connection) => connection.serve(stream).await,
            None => reject(stream).await,
        }
    }
}
