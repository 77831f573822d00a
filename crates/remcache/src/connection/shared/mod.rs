//! The half of a connection that callers and the I/O loop share: the state machine and the waiting callers.
//!
//! A caller holds the lock while it encodes: it encodes directly into the shared output, takes a slot, and wakes the
//! I/O loop if that is parked. The I/O loop delivers all replies of one read under one lock, and wakes the callers
//! afterwards. No lock is held across I/O.

mod caller_side;
pub(crate) mod capacity;
#[cfg(all(test, shuttle))]
pub(crate) mod concurrency_tests;
mod lifecycle;
pub(crate) mod submission;
pub(crate) mod task_side;
// With shuttle, the mutex works only in the concurrency tests.
#[cfg(all(test, not(shuttle)))]
mod tests;

use std::ops::DerefMut;
use std::sync::Arc;
use std::task::Waker;
use std::time::SystemTime;

use bytes::Bytes;
use slab::Slab;
use tokio::runtime;
use tokio::sync::Notify;
use tokio::time::Instant;

pub(crate) use crate::connection::shared::capacity::Queued;
pub(crate) use crate::connection::shared::submission::{Flight, Submitted};
pub(crate) use crate::connection::shared::task_side::{ParkResult, TaskAction, TaskHandle};

use self::lifecycle::TaskState;
use super::slot::Slot;
use super::wait_queue::WaitQueue;
use crate::config::{Config, Overload};
use crate::connection::shared::submission::slot_and_index;
use crate::connection::sync::{Mutex, MutexGuard, lock};
#[cfg(test)]
use crate::health::events;
use crate::health::events::HealthMonitor;
use crate::health::metrics::ConnCounters;
use crate::health::state::{ConnectionState, ServerStatus};
use crate::observe::Established;
use crate::policy::Breaker;
use crate::proto::{
    Connection, Deadline, Delivery, Event, InputBuffer, Protocol, ProtocolError, Reply, ServerVersion, Status,
};

/// The shared half of one connection.
#[derive(Debug)]
pub(crate) struct ConnectionHandle {
    state: Mutex<Inner>,
    /// The maximum number of keys in a multiget, on the meta and text protocols.
    max_keys_per_multiget: usize,
    /// The maximum number of requests in flight, and of unwritten bytes.
    limits: (usize, usize),
    /// Whether later callers queue behind those that wait for capacity.
    is_queued: bool,
    /// Its index among the connections of its server, and the monitor of the server's health.
    index: usize,
    health: Arc<HealthMonitor>,
    /// Wakes callers that wait until requests are accepted again.
    state_changed: Notify,
    /// Wakes callers that wait for the connection's task to end.
    ended: Notify,
}

/// The work in progress of a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Load {
    /// Requests that are unanswered, including abandoned ones.
    pub(crate) in_flight: usize,
    /// Callers that wait for replies or have not taken them yet: the slots in use.
    pub(crate) callers: usize,
}

/// The state that the lock guards.
#[derive(Debug)]
pub(crate) struct Inner {
    connection: Connection,
    slots: Slab<Slot>,
    /// The task's waker while it is parked.
    task_waker: Option<Waker>,
    connection_state: ConnectionState,
    since: SystemTime,
    /// Why requests are refused, if they are.
    refusal: Option<Bytes>,
    /// The status of refused requests, if it is not `Disconnected`.
    refused_as: Option<Status>,
    /// Whether the server has demanded authentication that the connection does not have.
    auth_required: bool,
    task: TaskState,
    /// The process that started the task: a forked child has its memory, but not its thread.
    process: u32,
    /// The runtime of the task.
    runtime: Option<runtime::Id>,
    /// The instant by which the task has promised to run, while the server is down and there are no deadlines.
    acts_by: Option<std::time::Instant>,
    /// The epoch: how many tasks have ended.
    epoch: u32,
    /// The deadline registered with the watchdog; `None` if nothing is in flight.
    watched: Option<WatchedDeadline>,
    /// Timeouts that the watchdog enforced because the task was late.
    watchdog_timeouts: Option<WatchdogTimeouts>,
    /// Callers that wait for capacity.
    queue: WaitQueue,
    /// Whether any reply was received since the connection was opened.
    replied: bool,
    /// Whether a caller's request was answered since the connection was opened: probes do not count.
    answered: bool,
    breaker: Breaker,
    counters: ConnCounters,
    /// The number of failures of the connection and of attempts to connect.
    failures: u64,
    /// Information about the open connection for observers.
    established: Established,
    /// The certificate that the server presented at the last TLS handshake, in DER.
    certificate: Option<Vec<u8>>,
}

/// A deadline that is registered with the watchdog.
#[derive(Clone, Copy, Debug)]
struct WatchedDeadline {
    due: std::time::Instant,
    /// If the watchdog has not acted by then it does not run, as in a forked process.
    stale: std::time::Instant,
}

/// Deadlines that the watchdog enforced in the task's place.
#[derive(Clone, Copy, Debug)]
struct WatchdogTimeouts {
    /// The first of these deadlines.
    since: std::time::Instant,
    timeouts: u64,
}

impl ConnectionHandle {
    /// Creates the shared half of a connection; if the protocol is negotiated, requests wait for that.
    pub(crate) fn new(config: &Config, first_opaque: u32, index: usize, health: Arc<HealthMonitor>) -> Self {
        let now = Instant::now().into_std();
        let state = Inner {
            connection: match config.protocol.forced() {
                Some(protocol) => {
                    Connection::with_protocol(protocol, ServerVersion::default(), config.limits, first_opaque, now)
                }
                None => Connection::detecting(config.limits, first_opaque, now),
            },
            slots: Slab::new(),
            task_waker: None,
            connection_state: ConnectionState::Idle,
            since: SystemTime::now(),
            refusal: None,
            refused_as: None,
            auth_required: false,
            task: TaskState::None,
            process: 0,
            runtime: None,
            acts_by: None,
            epoch: 0,
            watched: None,
            watchdog_timeouts: None,
            queue: WaitQueue::default(),
            replied: false,
            answered: false,
            breaker: Breaker::new(config.breaker, config.timeout, health.timeout_streak()),
            counters: ConnCounters::default(),
            failures: 0,
            established: Established::default(),
            certificate: None,
        };
        Self {
            state: Mutex::new(state),
            max_keys_per_multiget: config.max_keys_per_multiget,
            limits: (config.limits.max_in_flight, config.limits.max_output),
            is_queued: config.overload == Overload::Wait,
            index,
            health,
            ended: Notify::new(),
            state_changed: Notify::new(),
        }
    }

    /// Creates the shared half of the only connection of a server, for tests without one.
    #[cfg(test)]
    pub(crate) fn for_test(config: &Config, first_opaque: u32) -> Arc<Self> {
        let health = Arc::new(HealthMonitor::new("server".into(), 1, 2, events::channel(), None));
        Arc::new(Self::new(config, first_opaque, 0, health))
    }

    #[inline]
    fn lock(&self) -> MutexGuard<'_, Inner> {
        lock(&self.state)
    }

    /// Closes the connection to new requests; those in flight still complete.
    pub(crate) fn close(&self) {
        self.change(self.lock(), ConnectionState::Closed, None);
    }

    /// Returns whether the connection was closed.
    pub(crate) fn is_closed(&self) -> bool {
        self.lock().connection_state == ConnectionState::Closed
    }

    /// Changes the connection's state: see [`TaskHandle::set_state`]. Requests refused from now on have the given
    /// status.
    fn change(&self, mut state: MutexGuard<'_, Inner>, new_state: ConnectionState, refused_as: Option<Status>) -> bool {
        if new_state.is_down() {
            state.failures += 1;
            self.state_changed.notify_waiters();
        }
        if state.connection_state == ConnectionState::Closed || state.connection_state == new_state {
            return false;
        }
        let is_news = !(state.connection_state.is_down() && new_state.is_down());
        if is_news {
            state.since = SystemTime::now();
        }
        state.refusal = new_state.refusal();
        state.refused_as = refused_as;
        if !new_state.is_down() {
            state.acts_by = None;
        }
        state.connection_state = new_state.clone();
        // Callers that wait for capacity are refused as well.
        let mut wakers = Vec::new();
        self.notify_queue(&mut state, Instant::now(), &mut wakers);
        wake(state);
        wakers.into_iter().for_each(Waker::wake);
        self.state_changed.notify_waiters();
        self.health.changed(self.index, new_state);
        is_news
    }

    /// Returns the protocol; `None` while it is not known.
    pub(crate) fn protocol(&self) -> Option<Protocol> {
        self.lock().connection.protocol()
    }

    /// Waits until requests are accepted again; returns `false` if the next attempt to connect fails, or there will be
    /// none. The caller applies a timeout.
    pub(crate) async fn wait_for_return(&self) -> bool {
        let failures = self.lock().failures;
        loop {
            let mut state_changed = std::pin::pin!(self.state_changed.notified());
            state_changed.as_mut().enable();
            {
                let state = self.lock();
                if state.refusal.is_none() {
                    return true;
                }
                if state.connection_state == ConnectionState::Closed || state.failures != failures {
                    return false;
                }
            }
            state_changed.await;
        }
    }

    /// Returns information about the open connection for observers.
    pub(crate) fn established(&self) -> Established {
        self.lock().established
    }

    /// Returns the certificate that the server presented at the last TLS handshake, in DER.
    pub(crate) fn peer_certificate(&self) -> Option<Vec<u8>> {
        self.lock().certificate.clone()
    }

    /// Returns whether requests are accepted.
    pub(crate) fn is_usable(&self) -> bool {
        self.lock().refusal.is_none()
    }

    /// Returns the connection's state, and since when it has it.
    pub(crate) fn status(&self) -> ServerStatus {
        let state = self.lock();
        ServerStatus { state: state.connection_state.clone(), since: state.since }
    }

    /// Passes the counters to a function.
    pub(crate) fn with_counters<T>(&self, show: impl FnOnce(&ConnCounters) -> T) -> T {
        show(&self.lock().counters)
    }

    /// Counts requests that found no capacity.
    pub(crate) fn count_overloaded(&self, count: usize) {
        self.lock().counters.errors.overloaded += count as u64;
    }

    /// Returns the work in progress.
    pub(crate) fn load(&self) -> Load {
        self.lock().load()
    }
}

impl Inner {
    #[inline]
    fn load(&self) -> Load {
        Load { in_flight: self.connection.in_flight(), callers: self.slots.len() }
    }

    /// Returns whether a task of the connection has ended since `epoch` began. A connection that was lost just before
    /// its task ended looks the same.
    #[inline]
    fn has_task_ended(&self, epoch: u32) -> bool {
        self.epoch != epoch && self.connection_state != ConnectionState::Closed
    }

    /// Returns whether the caller has to start the task or to register its deadline with the watchdog.
    ///
    /// If all callers have the same timeout, this happens about once per timeout.
    #[inline]
    fn needs_attention(&self, deadline: Deadline, now: Instant) -> bool {
        let is_watched =
            self.watched.is_some_and(|watched| watched.due <= deadline.at && now.into_std() <= watched.stale);
        !(self.has_running_task() && is_watched)
    }

    /// Returns whether the connection has a task that runs.
    #[inline]
    fn has_running_task(&self) -> bool {
        matches!(self.task, TaskState::Running)
    }

    #[inline]
    fn admit(&mut self) -> Result<(), Reply> {
        match &self.refusal {
            None => Ok(()),
            Some(reason) => {
                self.counters.errors.refused += 1;
                let status = self.refused_as.unwrap_or(Status::Disconnected(Delivery::NotSent));
                Err(Reply::with_text(status, reason.clone()))
            }
        }
    }

    #[inline]
    fn deliver_replies(
        &mut self,
        input: &mut InputBuffer,
        now: Instant,
        wakers: &mut Vec<Waker>,
    ) -> Result<(), ProtocolError> {
        let from_server = !input.is_empty();
        while let Some(Event { tag, mut reply, last, .. }) = self.connection.poll_event(input)? {
            self.answered |= from_server;
            let (slot, index) = slot_and_index(tag);
            self.counters.settled(tag, reply.status, now);
            if reply.status == Status::AuthError {
                self.auth_required = true;
                reply.value = Bytes::from_static(NO_CREDENTIALS.as_bytes());
            }
            if let Some(slot) = self.slots.get_mut(slot) {
                wakers.extend(slot.store_reply(index, reply, last));
            }
        }
        Ok(())
    }
}

/// The error message for a server that requires a password.
pub(crate) const NO_CREDENTIALS: &str =
    "the server requires a user and a password: set Config::credentials, or use user:password@ in the URL";

/// Releases the lock, then wakes the task if it is parked.
#[inline]
fn wake(mut state: impl DerefMut<Target = Inner>) {
    let task_waker = state.task_waker.take();
    drop(state);
    if let Some(task_waker) = task_waker {
        task_waker.wake();
    }
}
