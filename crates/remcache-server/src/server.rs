//! The server: started, stopped and started again, with its counters and its faults.

use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, JoinSet};

use crate::builder::Builder;
use crate::cluster::{Cluster, ClusterNode};
use crate::connection::{Connection, reject};
use crate::door::{Address, Door};
use crate::fault::{Fault, Injection};
use crate::state::{Settings, State, read};
use crate::stream::Stream;

/// An embedded memcached, on tokio's runtime, until it is stopped or dropped.
///
/// See the [crate's front page](crate).
#[derive(Debug)]
pub struct Server {
    state: Arc<State>,
    door: Arc<Door>,
    runtime: Handle,
    running: Mutex<Option<Running>>,
}

/// The task that accepts connections and owns theirs.
#[derive(Debug)]
struct Running {
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Server {
    /// Starts a server on a free port of the loopback interface.
    ///
    /// # Errors
    /// When the system gives no socket.
    ///
    /// # Panics
    /// Outside of a tokio runtime that has I/O and time.
    pub async fn start() -> io::Result<Self> {
        Self::builder().start().await
    }

    /// An order for a server, with everything that can be said about one.
    pub fn builder() -> Builder {
        Builder::new()
    }

    pub(crate) fn begin(address: Address, settings: Settings) -> io::Result<Self> {
        let server = Self {
            state: Arc::new(State::new(settings)),
            door: Arc::new(Door::new(address)?),
            runtime: Handle::current(),
            running: Mutex::default(),
        };
        server.run()?;
        Ok(server)
    }

    fn run(&self) -> io::Result<()> {
        self.door.open()?;
        let (stop, stopped) = oneshot::channel();
        let accepting = accept(Arc::clone(&self.door), Arc::clone(&self.state), stopped);
        let task = self.runtime.spawn(accepting);
        self.set_running(Some(Running { stop, task }));
        Ok(())
    }

    fn set_running(&self, running: Option<Running>) -> Option<Running> {
        // Replaced at once, so it is whole whatever happened.
        std::mem::replace(&mut *self.running.lock().unwrap_or_else(PoisonError::into_inner), running)
    }

    /// Where the server listens: `127.0.0.1:PORT`, or the path of its Unix socket.
    pub fn address(&self) -> String {
        match self.door.address() {
            Address::Tcp(address) => address.to_string(),
            Address::Unix(path) => path.display().to_string(),
        }
    }

    /// The port on which the server listens; it stays the same when the server is started again.
    ///
    /// # Panics
    /// When it listens on a Unix socket.
    pub fn port(&self) -> u16 {
        match self.door.address() {
            Address::Tcp(address) => address.port(),
            Address::Unix(path) => panic!("the server listens on {}, which is no port", path.display()),
        }
    }

    /// Stops the server: when this returns it does not listen, and all connections are closed.
    /// Items and counters stay; a server that is stopped stays so.
    ///
    /// # Cancellation
    /// The server stops all the same.
    pub async fn stop(&self) {
        self.door.shut();
        if let Some(Running { stop, task }) = self.set_running(None) {
            // Both fail only if the task is over already.
            let _ = stop.send(());
            let _ = task.await;
        }
    }

    /// Stops the server, if it runs, and starts it at the same address: empty, with all counters at
    /// zero, as a process that was started again. Faults stay.
    ///
    /// # Errors
    /// When it cannot listen there again. On Linux the port is kept meanwhile; elsewhere somebody
    /// else may have taken it.
    pub async fn restart(&self) -> io::Result<()> {
        self.stop().await;
        self.state.reset();
        self.run()
    }

    /// As [`Server::restart`], but with its items and counters: as if the network had been away.
    ///
    /// # Errors
    /// As [`Server::restart`].
    pub async fn restart_with_items(&self) -> io::Result<()> {
        self.stop().await;
        self.run()
    }

    /// Orders a fault: everywhere, or at the place that the [`Injection`] says.
    ///
    /// Connections that are open notice it with the next bytes that they read.
    pub fn inject(&self, injection: impl Into<Injection>) {
        let injection = injection.into();
        match injection.fault {
            Fault::Refuse => self.door.refuse(),
            _ => self.state.faults.inject(injection),
        }
    }

    /// Ends all faults, at work or still waiting for their place.
    ///
    /// # Errors
    /// When the server refused connections and cannot listen again; see [`Server::restart`].
    pub fn clear_faults(&self) -> io::Result<()> {
        self.state.faults.clear();
        self.door.admit()
    }

    /// Changes the configuration of the cluster that clients are told of: see
    /// [`Builder::cluster`](crate::Builder::cluster).
    pub fn set_cluster(&self, version: u64, nodes: impl IntoIterator<Item = ClusterNode>) {
        *self.state.cluster() = Some(Cluster::new(version, nodes));
    }

    /// How many connections are open.
    pub fn connections(&self) -> usize {
        self.state.traffic.open.load(Ordering::Relaxed)
    }

    /// How many connections were accepted since the start.
    pub fn accepted(&self) -> u64 {
        read(&self.state.traffic.accepted)
    }

    /// How many requests were executed or refused since the start, quiet ones too.
    pub fn requests(&self) -> u64 {
        read(&self.state.traffic.requests)
    }

    /// How many items there are; an expired one counts until somebody asks for it.
    pub fn items(&self) -> usize {
        self.state.store().len()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.door.shut();
        if let Some(Running { task, .. }) = self.set_running(None) {
            // The connections are its own, and end with it.
            task.abort();
        }
    }
}

/// How long nothing is accepted after the system gave no socket.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_millis(10);

async fn accept(door: Arc<Door>, state: Arc<State>, mut stopped: oneshot::Receiver<()>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            _ = &mut stopped => break,
            () = state.shutdown.notified() => {
                door.shut();
                break;
            }
            accepted = door.accept() => match accepted {
                Ok(stream) => welcome(stream, &state, &mut connections),
                Err(_) => tokio::time::sleep(PAUSE_AFTER_FAILURE).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
    connections.shutdown().await;
}

fn welcome(stream: Stream, state: &Arc<State>, connections: &mut JoinSet<()>) {
    let traffic = &state.traffic;
    if traffic.open.load(Ordering::Relaxed) >= state.settings.max_connections {
        traffic.rejected.fetch_add(1, Ordering::Relaxed);
        connections.spawn(reject(stream));
        return;
    }
    traffic.accepted.fetch_add(1, Ordering::Relaxed);
    connections.spawn(Connection::new(state).serve(stream));
}
