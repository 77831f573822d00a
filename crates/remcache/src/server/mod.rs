//! One server of a client: its connections, their tasks, its health.

pub(crate) mod batch;
pub(crate) mod call;
pub(crate) mod connection_task;
pub(crate) mod dump;
pub(crate) mod handle;
pub(crate) mod item_limit;
pub(crate) mod journal;
pub(crate) mod reply_stream;
pub(crate) mod request_reports;

pub use dump::ItemStream;
pub use handle::ServerHandle;

use std::process;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use tokio::runtime::Handle;
use tokio::sync::broadcast::Sender;
use tokio::time::{Instant, timeout_at};

use crate::address::{Address, Endpoint};
use crate::config::protocol::ProtocolSetting;
use crate::config::runtime::{check_drivers, shut_down};
use crate::config::{Config, Overload};
use crate::connection::handshake::{ProtocolCache, ReconnectState, establish_with_protocol};
use crate::connection::shared::{ConnectionHandle, Load, Submitted, TaskHandle};
use crate::connection::watchdog;
use crate::error::Error;
use crate::health::events::{HealthMonitor, ServerEvent};
use crate::health::metrics::{ErrorCounts, ServerMetrics};
use crate::health::state::{ConnectionState, ServerStatus, representative};
use crate::observe::ServerId;
use crate::proto::{Deadline, Delivery, Reply, Request, Status};
use crate::server::connection_task::{Attempts, ConnectionTask};
use crate::server::item_limit::ItemLimit;
use crate::server::journal::Journal;
use crate::time::after;
use crate::transport::Stream;

/// One server of the cluster.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) endpoint: Endpoint,
    /// The shared halves of its connections, which outlive their sockets.
    connections: Vec<Arc<ConnectionHandle>>,
    next: AtomicUsize,
    /// The server's health, as all its connections observe it.
    watch: Arc<HealthMonitor>,
    config: Arc<Config>,
    /// The result of the last protocol negotiation of its connections.
    protocols: Arc<ProtocolCache>,
    /// The connection attempts of each connection, handed from one task to the next.
    attempts: Vec<Arc<Mutex<Attempts>>>,
    pub(crate) item_limit: ItemLimit,
    /// Whether reads prefer it to the other replicas of a key.
    pub(crate) is_preferred: bool,
    /// Its name for observers; `None` without observers.
    pub(crate) observed: Option<ServerId>,
    /// Failed deletes to repeat.
    journal: Arc<Journal>,
}

impl Server {
    pub(crate) fn new(endpoint: Endpoint, config: Arc<Config>, events: Sender<ServerEvent>) -> Self {
        let mut random = config.seed.map_or_else(fastrand::Rng::new, fastrand::Rng::with_seed);
        let observed = (!config.observers.is_empty()).then(|| observed_name(&endpoint));
        let reports = observed.clone().map(|server| (config.observers.clone(), server));
        let name = Arc::clone(&endpoint.name);
        let watch = Arc::new(HealthMonitor::new(name, config.connections, config.breaker, events, reports));
        let conn = |index| Arc::new(ConnectionHandle::new(&config, random.u32(..), index, Arc::clone(&watch)));
        let connections = (0..config.connections).map(conn).collect();
        let next = AtomicUsize::new(0);
        let attempts = (0..config.connections).map(|_| Arc::default()).collect();
        let item_limit = ItemLimit::new(config.check_item_size_from);
        let is_preferred = config.preference.as_ref().is_some_and(|preference| preference.prefers(&endpoint));
        let protocols = Arc::default();
        let journal = Arc::new(Journal::new(&endpoint.name, &config.journal));
        Self {
            endpoint,
            connections,
            next,
            watch,
            config,
            protocols,
            attempts,
            item_limit,
            is_preferred,
            observed,
            journal,
        }
    }

    /// Returns the certificate that the server presented at the last TLS handshake, in DER.
    pub(crate) fn peer_certificate(&self) -> Option<Vec<u8>> {
        self.connections.iter().find_map(|connection| connection.peer_certificate())
    }

    /// Returns the index of the connection for the next request: round robin, but of an unresponsive server one that
    /// refuses requests, because the others may not have noticed yet.
    #[inline]
    pub(crate) fn next_conn(&self) -> usize {
        match self.connections.len() {
            1 => 0,
            connections => {
                let turn = self.next.fetch_add(1, Ordering::Relaxed) % connections;
                self.refusing_conn().unwrap_or(turn)
            }
        }
    }

    /// Returns a connection that refuses requests, if the server is unresponsive.
    #[inline]
    fn refusing_conn(&self) -> Option<usize> {
        if self.watch.is_unresponsive() {
            self.connections.iter().position(|connection| !connection.is_usable())
        } else {
            None
        }
    }

    /// Returns a connection by index.
    #[inline]
    pub(crate) fn connection(&self, conn: usize) -> &Arc<ConnectionHandle> {
        &self.connections[conn]
    }

    /// Starts the connection's task if it has none, and registers its deadlines with the watchdog. Nothing connects
    /// before a request needs it.
    ///
    /// A request that was submitted before may complete during the call without waking its caller: poll it again.
    ///
    /// # Errors
    /// The reply to the request that needed the task, if no task can run.
    #[cold]
    pub(crate) fn ensure_task(&self, conn: usize) -> Result<(), Reply> {
        let connection = self.connection(conn);
        let process = process::id();
        connection.give_up_task_of_parent(process, true);
        let runtime = self.config.runtime.handle();
        if let Ok(runtime) = &runtime
            && self.config.runtime.is_replaceable()
            && connection.give_up_stalled_task(Some(runtime.id()), Instant::now())
        {
            tracing::warn!(server = %self.endpoint.name, "the tokio runtime of a connection does not run; moving the connection to another");
        }
        if let Some(task) = connection.claim_task(process, runtime.as_ref().ok().map(Handle::id))
            && let Err(reply) = runtime.and_then(|runtime| self.start(conn, &runtime, task.clone()))
        {
            task.end(&reply.text());
            return Err(reply);
        }
        if let Some(due) = connection.claim_watch(Instant::now()) {
            watchdog::watch(connection.watched(), due);
        }
        Ok(())
    }

    fn start(&self, conn: usize, runtime: &Handle, task: TaskHandle) -> Result<(), Reply> {
        check_drivers(runtime, self.config.has_sockets)?;
        let (protocols, attempts) = (Arc::clone(&self.protocols), Arc::clone(&self.attempts[conn]));
        let task = ConnectionTask::new(
            self.endpoint.clone(),
            task,
            Arc::clone(&self.config),
            protocols,
            attempts,
            Arc::clone(&self.journal),
        );
        let task = runtime.spawn(task.run());
        // A runtime that has shut down drops spawned tasks.
        if task.is_finished() && !self.connection(conn).is_closed() { Err(shut_down()) } else { Ok(()) }
    }

    /// Abandons the connections of the parent process after a fork.
    #[cfg(feature = "blocking")]
    pub(crate) fn give_up_connections_of_parent(&self) {
        let process = process::id();
        for connection in &self.connections {
            connection.give_up_task_of_parent(process, false);
        }
    }

    pub(crate) fn config(&self) -> &Config {
        &self.config
    }

    /// Returns the error that a reply of this server represents; an invalid key concerns no server.
    #[cold]
    pub(crate) fn error(&self, reply: &Reply) -> Error {
        let error = match reply.status {
            Status::InvalidKey => return Error::from(reply),
            _ => Error::from(reply).at(&self.endpoint.name),
        };
        match self.watch.cause_of(&reply.text()) {
            Some(cause) => error.caused_by_shared(cause),
            None => error,
        }
    }

    /// Opens an additional text connection, for operations that need an exclusive one.
    pub(crate) async fn connect_text(&self) -> Result<Box<dyn Stream>, Error> {
        let mut state = ReconnectState::default();
        let established =
            establish_with_protocol(&self.endpoint, &self.config, ProtocolSetting::Text, &mut state).await;
        match established {
            Ok(established) => Ok(established.stream),
            Err(failure) => Err(failure.into()),
        }
    }

    /// Returns the journal of failed deletes.
    pub(crate) fn journal(&self) -> &Journal {
        &self.journal
    }

    /// Records a failed request in the journal if it is a delete.
    ///
    /// A delete that was not sent although its connection works is sent immediately, before any later request could
    /// read the outdated value.
    #[cold]
    pub(crate) fn record_failed_delete(&self, request: &Request<'_>, status: Status) {
        let is_unsent = matches!(status, Status::TimedOut(Delivery::NotSent) | Status::Overloaded);
        if !self.journal.record(request, status) || !is_unsent {
            return;
        }
        let now = Instant::now();
        let deadline = Deadline { at: after(now, self.config.timeout).into_std(), extend_by: Duration::ZERO };
        for (conn, connection) in self.connections.iter().enumerate() {
            if let Submitted::NoReply { needs_attention: true } = connection.send_no_reply(request, deadline, now) {
                // If no task can run, the journal keeps the delete.
                let _ = self.ensure_task(conn);
            }
        }
    }

    pub(crate) fn timeout(&self) -> Duration {
        self.config.timeout
    }

    pub(crate) fn overload(&self) -> Overload {
        self.config.overload
    }

    /// Returns whether the server takes requests: it is neither known to be down nor closed.
    pub(crate) fn is_usable(&self) -> bool {
        self.connections.iter().any(|connection| connection.is_usable()) && self.refusing_conn().is_none()
    }

    /// Returns the index of another connection that takes requests.
    pub(crate) fn other_conn(&self, conn: usize) -> Option<usize> {
        if self.refusing_conn().is_some() {
            return None;
        }
        (0..self.connections.len()).find(|&other| other != conn && self.connections[other].is_usable())
    }

    /// Waits until the server takes requests again; returns `false` if the next attempt to connect fails or the
    /// deadline passes.
    pub(crate) async fn wait_for_return(&self, deadline: Instant) -> bool {
        if self.is_usable() {
            return true;
        }
        let Some(connection) = self.connections.get(self.refusing_conn().unwrap_or(0)) else { return false };
        timeout_at(deadline, connection.wait_for_return()).await.unwrap_or(false)
    }

    /// Returns the state of the connection that represents the server.
    pub(crate) fn status(&self) -> ServerStatus {
        let mut statuses: Vec<_> = self.connections.iter().map(|connection| connection.status()).collect();
        match representative(statuses.iter().map(|status| &status.state), self.watch.is_unresponsive()) {
            Some(index) => statuses.swap_remove(index),
            None => ServerStatus { state: ConnectionState::Closed, since: SystemTime::now() },
        }
    }

    /// Returns the server's metrics.
    pub(crate) fn metrics(&self) -> ServerMetrics {
        let Load { in_flight, callers: waiting } = self.load();
        let mut metrics = ServerMetrics {
            status: self.status(),
            connections: self.connections.len(),
            open: 0,
            in_flight,
            waiting,
            round_trip: None,
            reconnects: 0,
            errors: ErrorCounts::default(),
        };
        for connection in &self.connections {
            metrics.open += usize::from(connection.status().state == ConnectionState::Connected);
            connection.with_counters(|counters| {
                metrics.round_trip = metrics.round_trip.max(counters.round_trip());
                metrics.reconnects += counters.connects.saturating_sub(1);
                metrics.errors = metrics.errors.plus(counters.errors);
            });
        }
        metrics
    }

    /// Returns the number of connections established so far.
    pub(crate) fn connects(&self) -> u64 {
        self.connections.iter().map(|connection| connection.with_counters(|counters| counters.connects)).sum()
    }

    /// Returns the work in progress of all connections.
    pub(crate) fn load(&self) -> Load {
        let loads = self.connections.iter().map(|connection| connection.load());
        loads.fold(Load::default(), |sum, load| Load {
            in_flight: sum.in_flight + load.in_flight,
            callers: sum.callers + load.callers,
        })
    }

    /// Closes all connections to new requests; those in flight still complete.
    pub(crate) fn close(&self) {
        for connection in &self.connections {
            connection.close();
        }
    }

    /// Waits until every task has ended, but not beyond the deadlines of the requests in flight.
    pub(crate) async fn wait_for_end(&self, started: Instant) {
        for connection in &self.connections {
            connection.wait_for_end(after(started, self.config.timeout)).await;
        }
    }
}

fn observed_name(endpoint: &Endpoint) -> ServerId {
    let name = Arc::clone(&endpoint.name);
    match &endpoint.address {
        Address::Tcp { host, port } => ServerId::new(name, host, Some(*port)),
        Address::Unix(path) => ServerId::new(name, &path.to_string_lossy(), None),
    }
}

impl Drop for Server {
    /// Closes the connections: their tasks end when nothing is in flight.
    fn drop(&mut self) {
        self.close();
    }
}
