//! One endpoint: its connections, reconnecting, and what is known of its health.

pub(crate) mod batch;
pub(crate) mod call;
pub(crate) mod connection_task;
pub(crate) mod dump;
pub(crate) mod handle;
pub(crate) mod item_limit;
pub(crate) mod journal;
pub(crate) mod observed;
pub(crate) mod reply_stream;

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
use crate::connection::handshake::{ProtocolCache, ReconnectState, establish_as};
use crate::connection::shared::{ConnectionHandle, Submitted, TaskHandle};
use crate::connection::watchdog;
use crate::error::Error;
use crate::health::events::{HealthMonitor, ServerEvent};
use crate::health::metrics::{ErrorCounts, ServerMetrics};
use crate::health::state::{ConnectionState, ServerStatus, representative};
use crate::observe::ServerName;
use crate::proto::{Deadline, Delivery, Reply, Request, Status};
use crate::server::connection_task::{Attempts, Task};
use crate::server::item_limit::ItemLimit;
use crate::server::journal::Journal;
use crate::time::after;
use crate::transport::Stream;

/// One endpoint of the cluster.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) endpoint: Endpoint,
    /// Its connections' places: they outlive the sockets that come and go.
    connections: Vec<Arc<ConnectionHandle>>,
    next: AtomicUsize,
    /// What all connections know of it together.
    watch: Arc<HealthMonitor>,
    config: Arc<Config>,
    /// The result of the last protocol negotiation of its connections.
    protocols: Arc<ProtocolCache>,
    /// What each connection's task leaves to the next one.
    attempts: Vec<Arc<Mutex<Attempts>>>,
    pub(crate) item_limit: ItemLimit,
    /// Whether reads ask it before the other copies of a key.
    pub(crate) is_preferred: bool,
    /// What observers know it by; `None` without observers.
    pub(crate) observed: Option<ServerName>,
    /// Deletes that failed.
    journal: Arc<Journal>,
}

impl Server {
    pub(crate) fn new(endpoint: Endpoint, config: Arc<Config>, events: Sender<ServerEvent>) -> Self {
        let mut random = config.seed.map_or_else(fastrand::Rng::new, fastrand::Rng::with_seed);
        let observed = (!config.observers.is_empty()).then(|| observed_name(&endpoint));
        let reports = observed.clone().map(|server| (config.observers.clone(), server));
        let name = Arc::clone(&endpoint.name);
        let watch = Arc::new(HealthMonitor::new(name, config.connections, config.breaker, events, reports));
        let conn = |place| Arc::new(ConnectionHandle::new(&config, random.u32(..), place, Arc::clone(&watch)));
        let connections = (0..config.connections).map(conn).collect();
        let next = AtomicUsize::new(0);
        let attempts = (0..config.connections).map(|_| Arc::default()).collect();
        let item_limit = ItemLimit::new(config.size_checked_from);
        let is_preferred = config.preference.as_ref().is_some_and(|preference| preference.prefers(&endpoint));
        let protocols = Arc::default();
        let journal = Arc::new(Journal::new(config.journal));
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

    /// The connection for the next request; connections are taken in turn.
    ///
    /// A server that is silent is down, although not every connection has noticed: then it is one that refuses.
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

    /// A connection that was given up, of a server that has not answered on any since.
    #[inline]
    fn refusing_conn(&self) -> Option<usize> {
        if self.watch.is_silent() { self.connections.iter().position(|link| !link.is_usable()) } else { None }
    }

    /// Returns a connection by index.
    #[inline]
    pub(crate) fn link(&self, conn: usize) -> &Arc<ConnectionHandle> {
        &self.connections[conn]
    }

    /// Starts the task of a connection that has none, and has the watchdog look at its deadlines. Nothing
    /// connects before a request needs it.
    ///
    /// What was just submitted may have its outcome afterwards without a wake-up: look again.
    ///
    /// # Errors
    /// The reply to the request that needed the task, if there can be none.
    #[cold]
    pub(crate) fn attend(&self, conn: usize) -> Result<(), Reply> {
        let link = self.link(conn);
        let process = process::id();
        link.give_up_task_of_parent(process, true);
        let runtime = self.config.runtime.handle();
        if let Ok(runtime) = &runtime
            && self.config.runtime.is_replaceable()
            && link.give_up_stalled_task(Some(runtime.id()), Instant::now())
        {
            tracing::warn!(server = %self.endpoint.name, "the tokio runtime of a connection does not run: it is replaced");
        }
        if let Some(task) = link.claim_task(process, runtime.as_ref().ok().map(Handle::id))
            && let Err(reply) = runtime.and_then(|runtime| self.start(conn, &runtime, task.clone()))
        {
            task.end(&reply.text());
            return Err(reply);
        }
        if let Some(due) = link.claim_watch(Instant::now()) {
            watchdog::watch(link.watched(), due);
        }
        Ok(())
    }

    fn start(&self, conn: usize, runtime: &Handle, task: TaskHandle) -> Result<(), Reply> {
        check_drivers(runtime, self.config.has_sockets)?;
        let (protocols, attempts) = (Arc::clone(&self.protocols), Arc::clone(&self.attempts[conn]));
        let task = Task::new(
            self.endpoint.clone(),
            task,
            Arc::clone(&self.config),
            protocols,
            attempts,
            Arc::clone(&self.journal),
        );
        let task = runtime.spawn(task.run());
        // A runtime that has ended drops what is spawned.
        if task.is_finished() && !self.link(conn).is_closed() { Err(shut_down()) } else { Ok(()) }
    }

    /// Gives up the connections of the process that this one was forked from.
    #[cfg(feature = "blocking")]
    pub(crate) fn give_up_connections_of_parent(&self) {
        let process = process::id();
        for link in &self.connections {
            link.give_up_task_of_parent(process, false);
        }
    }

    pub(crate) fn config(&self) -> &Config {
        &self.config
    }

    /// Opens an additional connection, on the text protocol, for operations that need one to themselves.
    pub(crate) async fn connect_text(&self) -> Result<Box<dyn Stream>, Error> {
        let mut memory = ReconnectState::default();
        let established = establish_as(&self.endpoint, &self.config, ProtocolSetting::Text, &mut memory).await;
        match established {
            Ok(established) => Ok(established.stream),
            Err(failure) => Err(Error::from_reply(&failure.reply(), None)),
        }
    }

    /// Returns the deletes that failed.
    pub(crate) fn journal(&self) -> &Journal {
        &self.journal
    }

    /// Records a request that failed, if it is a delete and there is a journal.
    ///
    /// Where the delete was not sent and its connection goes on, it is sent at once: before any later request, whose
    /// reply would show the outdated value.
    #[cold]
    pub(crate) fn has_lost(&self, request: &Request<'_>, status: Status) {
        let is_unsent = matches!(status, Status::TimedOut(Delivery::NotSent) | Status::Overloaded);
        if !self.journal.record(request, status) || !is_unsent {
            return;
        }
        let now = Instant::now();
        let deadline = Deadline { at: after(now, self.config.timeout).into_std(), extend_by: Duration::ZERO };
        for (conn, link) in self.connections.iter().enumerate() {
            if let Submitted::Cast { attend: true } = link.cast(request, deadline, now) {
                // If there can be no task, the journal keeps the delete.
                let _ = self.attend(conn);
            }
        }
    }

    pub(crate) fn timeout(&self) -> Duration {
        self.config.timeout
    }

    pub(crate) fn overload(&self) -> Overload {
        self.config.overload
    }

    /// Whether the server may answer: not known to be down, and not closed.
    pub(crate) fn is_usable(&self) -> bool {
        self.connections.iter().any(|link| link.is_usable()) && self.refusing_conn().is_none()
    }

    /// Returns the index of another connection that takes requests.
    pub(crate) fn other_conn(&self, conn: usize) -> Option<usize> {
        if self.refusing_conn().is_some() {
            return None;
        }
        (0..self.connections.len()).find(|&other| other != conn && self.connections[other].is_usable())
    }

    /// Waits until a server that was lost takes requests again; `false` if its next attempt to connect
    /// fails, or the deadline comes first.
    pub(crate) async fn wait_for_return(&self, deadline: Instant) -> bool {
        if self.is_usable() {
            return true;
        }
        let Some(link) = self.connections.get(self.refusing_conn().unwrap_or(0)) else { return false };
        timeout_at(deadline, link.wait_for_return()).await.unwrap_or(false)
    }

    /// The state of the connection that represents the server.
    pub(crate) fn state(&self) -> ServerStatus {
        let mut states: Vec<_> = self.connections.iter().map(|link| link.state()).collect();
        match representative(states.iter().map(|state| &state.condition), self.watch.is_silent()) {
            Some(place) => states.swap_remove(place),
            None => ServerStatus { condition: ConnectionState::Closed, since: SystemTime::now() },
        }
    }

    /// The server in numbers.
    pub(crate) fn metrics(&self) -> ServerMetrics {
        let (in_flight, waiting) = self.load();
        let mut metrics = ServerMetrics {
            state: self.state(),
            connections: self.connections.len(),
            open: 0,
            in_flight,
            waiting,
            round_trip: None,
            reconnects: 0,
            errors: ErrorCounts::default(),
        };
        for link in &self.connections {
            metrics.open += usize::from(link.state().condition == ConnectionState::Connected);
            link.with_counters(|counters| {
                metrics.round_trip = metrics.round_trip.max(counters.round_trip());
                metrics.reconnects += counters.connects.saturating_sub(1);
                metrics.errors = metrics.errors.plus(counters.errors);
            });
        }
        metrics
    }

    /// How often a connection was established.
    pub(crate) fn connects(&self) -> u64 {
        self.connections.iter().map(|link| link.with_counters(|counters| counters.connects)).sum()
    }

    /// Unanswered requests, and slots that callers hold.
    pub(crate) fn load(&self) -> (usize, usize) {
        let loads = self.connections.iter().map(|link| link.load());
        loads.fold((0, 0), |sum, load| (sum.0 + load.0, sum.1 + load.1))
    }

    /// Takes no more requests; those in flight end as they would.
    pub(crate) fn close(&self) {
        for link in &self.connections {
            link.close();
        }
    }

    /// Waits until every task has ended, and no longer than the deadlines of what is in flight.
    pub(crate) async fn wait_for_end(&self, begun: Instant) {
        for link in &self.connections {
            link.wait_for_end(after(begun, self.config.timeout)).await;
        }
    }
}

fn observed_name(endpoint: &Endpoint) -> ServerName {
    let name = Arc::clone(&endpoint.name);
    match &endpoint.address {
        Address::Tcp { host, port } => ServerName::new(name, host, Some(*port)),
        Address::Unix(path) => ServerName::new(name, &path.to_string_lossy(), None),
    }
}

impl Drop for Server {
    // The last one who knew the server has gone: its tasks end when nothing is in flight.
    fn drop(&mut self) {
        self.close();
    }
}
