//! The state of operations in progress, until their end is reported to observers.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::dispatch::guard;
use super::{
    ActiveExchange, ActiveOperation, Counts, Established, ExchangeFinished, ExchangeStarted, Observers,
    OperationFinished, OperationName, OperationStarted, Outcome, ServerId,
};
use crate::proto::Status;

/// The operation that a request to a server is part of.
#[derive(Clone, Debug, Default)]
pub(crate) enum Parent {
    /// The request is a separate operation.
    #[default]
    None,
    /// The request is part of this operation.
    Operation(Arc<Scope>),
    /// The request is internal to the client, and not reported.
    Internal,
}

impl Parent {
    /// Returns a part of this operation, if there is one.
    pub(crate) fn of(scope: Option<&Arc<Scope>>) -> Self {
        scope.cloned().map_or(Self::None, Self::Operation)
    }
}

impl<'a> OperationStarted<'a> {
    /// Creates an operation on a number of keys.
    pub(crate) fn new(operation: OperationName, keys: usize, namespace: &'a [u8]) -> Self {
        Self { operation, server: None, keys, key: None, namespace }
    }
}

impl OperationFinished<'_> {
    /// Creates the end of an operation that sent nothing.
    pub(crate) fn new(operation: OperationName, keys: usize, outcome: Outcome, duration: Duration) -> Self {
        Self {
            operation,
            outcome,
            server: None,
            keys,
            hits: 0,
            misses: 0,
            failed: 0,
            bytes_in: 0,
            bytes_out: 0,
            duration,
            queued: Duration::ZERO,
            connecting: Duration::ZERO,
            attempts: 0,
            retries: 0,
            hedges: 0,
            failovers: 0,
            protocol: None,
            peer: None,
            status: None,
        }
    }
}

/// An operation of one request, in place: it needs no allocation.
pub(crate) struct Started {
    pub(crate) operation: OperationName,
    pub(crate) at: Instant,
    /// The time spent waiting for capacity.
    pub(crate) queued: Duration,
    active: Vec<Box<dyn ActiveOperation>>,
}

impl Started {
    /// Reports the start of an operation.
    #[inline]
    pub(crate) fn begin(observers: &Observers, event: &OperationStarted<'_>, now: Instant) -> Self {
        let active = observers.operation_started(event);
        Self { operation: event.operation, at: now, queued: Duration::ZERO, active }
    }

    /// Reports its end.
    #[inline]
    pub(crate) fn finish(self, observers: &Observers, event: &OperationFinished<'_>) {
        observers.operation_finished(self.active, event);
    }
}

/// An operation of any number of requests, shared by all of them. It ends as cancelled, unless it was finished before.
pub(crate) struct Scope {
    observers: Observers,
    operation: OperationName,
    keys: usize,
    server: Option<ServerId>,
    started: Instant,
    progress: Mutex<OperationProgress>,
}

/// The state of an operation so far.
#[derive(Default)]
struct OperationProgress {
    has_ended: bool,
    active: Vec<Box<dyn ActiveOperation>>,
    attempts: u32,
    retries: u32,
    hedges: u32,
    failovers: u32,
    bytes_in: u64,
    bytes_out: u64,
    queued: Duration,
    connecting: Duration,
    established: Established,
    status: Option<Status>,
    servers: Servers,
    noted: Option<(Outcome, Counts)>,
}

/// The servers involved.
#[derive(Default)]
enum Servers {
    #[default]
    None,
    One(ServerId),
    Several,
}

impl Servers {
    fn add(&mut self, server: &ServerId) {
        match self {
            Self::None => *self = Self::One(server.clone()),
            Self::One(one) if one.name() != server.name() => *self = Self::Several,
            Self::One(_) | Self::Several => {}
        }
    }
}

impl Scope {
    /// Reports the start of an operation.
    pub(crate) fn begin(observers: &Observers, event: &OperationStarted<'_>) -> Arc<Self> {
        let active = observers.operation_started(event);
        Arc::new(Self {
            observers: observers.clone(),
            operation: event.operation,
            keys: event.keys,
            server: event.server.cloned(),
            started: Instant::now(),
            progress: Mutex::new(OperationProgress { active, ..OperationProgress::default() }),
        })
    }

    fn progress(&self) -> MutexGuard<'_, OperationProgress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts attempts at a server after a failure there.
    pub(crate) fn retried(&self) {
        self.progress().retries += 1;
    }

    /// Counts reads sent to a second server.
    pub(crate) fn hedged(&self) {
        self.progress().hedges += 1;
    }

    /// Counts attempts at another server after a failure.
    pub(crate) fn failed_over(&self) {
        self.progress().failovers += 1;
    }

    /// Records the outcome in more detail than the result shows, for example that the value was a hit or was loaded.
    pub(crate) fn note(&self, outcome: Outcome, counts: Counts) {
        self.progress().noted = Some((outcome, counts));
    }

    /// Reports the end, unless it was reported before. Without `server`, the server is that of the key, or the only one
    /// involved.
    pub(crate) fn finish(&self, outcome: Outcome, counts: Counts, server: Option<&ServerId>) {
        let mut progress = self.progress();
        if progress.has_ended {
            return;
        }
        let done = std::mem::take(&mut *progress);
        progress.has_ended = true;
        drop(progress);
        let only = match &done.servers {
            Servers::One(server) => Some(server),
            Servers::None | Servers::Several => None,
        };
        let Established { peer, protocol, .. } = done.established;
        let (outcome, counts) = refined(outcome, counts, done.noted);
        let event = OperationFinished {
            operation: self.operation,
            outcome,
            server: server.or(self.server.as_ref()).or(only),
            keys: self.keys,
            hits: counts.hits,
            misses: counts.misses,
            failed: counts.failed,
            bytes_in: done.bytes_in,
            bytes_out: done.bytes_out,
            duration: self.started.elapsed(),
            queued: done.queued,
            connecting: done.connecting,
            attempts: done.attempts,
            retries: done.retries,
            hedges: done.hedges,
            failovers: done.failovers,
            protocol,
            peer,
            status: done.status,
        };
        self.observers.operation_finished(done.active, &event);
    }

    /// Reports the start of an exchange with one server.
    pub(crate) fn exchange(self: &Arc<Self>, operation: OperationName, server: &ServerId, keys: usize) -> Exchange {
        let event = ExchangeStarted { operation, server, keys };
        let mut active = Vec::new();
        {
            let mut progress = self.progress();
            progress.attempts += 1;
            progress.servers.add(server);
            for one in &progress.active {
                active.extend(guard(|| one.exchange_started(&event)).flatten());
            }
        }
        Exchange {
            scope: Arc::clone(self),
            operation,
            server: server.clone(),
            keys,
            started: Instant::now(),
            queued: Duration::ZERO,
            bytes_in: 0,
            bytes_out: 0,
            active,
            has_ended: false,
        }
    }
}

/// Returns the recorded outcome of an operation, if it is consistent with its result.
fn refined(outcome: Outcome, counts: Counts, noted: Option<(Outcome, Counts)>) -> (Outcome, Counts) {
    match (outcome, noted) {
        (Outcome::Ok, Some(noted)) => noted,
        (Outcome::LoaderFailed, Some((error, _))) if error.error_type().is_some() => (error, counts),
        _ => (outcome, counts),
    }
}

impl Drop for Scope {
    /// Reports an operation that was not finished as cancelled.
    fn drop(&mut self) {
        self.finish(Outcome::Cancelled, Counts::default(), None);
    }
}

impl fmt::Debug for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scope").field("operation", &self.operation).finish_non_exhaustive()
    }
}

/// A part of an operation that is sent to one server. It ends as cancelled, unless it was finished before.
pub(crate) struct Exchange {
    scope: Arc<Scope>,
    operation: OperationName,
    server: ServerId,
    keys: usize,
    started: Instant,
    /// The time spent waiting for capacity.
    pub(crate) queued: Duration,
    pub(crate) bytes_in: u64,
    pub(crate) bytes_out: u64,
    active: Vec<Box<dyn ActiveExchange>>,
    has_ended: bool,
}

impl Exchange {
    /// Records that it was submitted only now.
    pub(crate) fn submitted(&mut self, now: Instant) {
        self.queued = now.saturating_duration_since(self.started);
    }

    /// Reports its end.
    #[inline]
    pub(crate) fn finish(mut self, outcome: Outcome, established: Established, status: Option<Status>) {
        self.end(outcome, established, status);
    }

    fn end(&mut self, outcome: Outcome, established: Established, status: Option<Status>) {
        if std::mem::replace(&mut self.has_ended, true) {
            return;
        }
        {
            let mut progress = self.scope.progress();
            progress.bytes_in += self.bytes_in;
            progress.bytes_out += self.bytes_out;
            progress.queued = progress.queued.max(self.queued);
            progress.connecting = progress.connecting.max(established.wait_of(self.started, self.queued));
            if established.protocol.is_some() {
                progress.established = established;
            }
            progress.status = status.or(progress.status);
        }
        let event = ExchangeFinished {
            operation: self.operation,
            server: &self.server,
            keys: self.keys,
            outcome,
            bytes_in: self.bytes_in,
            bytes_out: self.bytes_out,
            duration: self.started.elapsed(),
            protocol: established.protocol,
            peer: established.peer,
            status,
        };
        for one in std::mem::take(&mut self.active) {
            guard(move || one.finished(&event));
        }
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.end(Outcome::Cancelled, Established::default(), None);
    }
}

impl fmt::Debug for Exchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exchange").field("server", &self.server).finish_non_exhaustive()
    }
}
