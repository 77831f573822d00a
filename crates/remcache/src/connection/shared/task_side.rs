//! The interface between a connection's task and the shared state: demand, state, bytes in and out, timeouts.

use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::lifecycle::{MAX_STALL, TaskState};
use super::{ConnectionHandle, ConnectionState, Inner, Load};
use crate::connection::handshake::Negotiated;
use crate::connection::sync::MutexGuard;
use crate::connection_failure::Failure;
use crate::observe::Established;
use crate::policy::Tripped;
use crate::proto::{Deadline, InputBuffer, Output, ProtocolError, Request, Status};

/// What a task without an open connection has to do.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum TaskAction {
    /// Requests wait to be sent.
    Connect,
    /// The client closed the connection and nothing is in flight, or another task has taken it over.
    Stop,
}

/// The result of parking the I/O loop.
#[derive(Debug)]
pub(crate) enum ParkResult {
    /// It was not parked: there is output to write.
    HasOutput,
    /// The client closed the connection and nothing is in flight, or another task has taken it over.
    Finished,
    /// It is parked until it is woken, or until this instant.
    Until(Option<Instant>),
}

/// The access of a connection's task to the shared state.
///
/// If the task's runtime does not run, another task takes the connection over. This handle then has no effect any
/// more, and reports the connection as closed.
#[derive(Debug)]
pub(crate) struct TaskHandle {
    shared: Arc<ConnectionHandle>,
    /// How many tasks of the connection had ended when this one started.
    epoch: u32,
}

impl Clone for TaskHandle {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared), epoch: self.epoch }
    }
}

impl TaskHandle {
    pub(super) fn new(shared: Arc<ConnectionHandle>, epoch: u32) -> Self {
        Self { shared, epoch }
    }

    /// Returns the connection that the task serves.
    pub(crate) fn shared(&self) -> &Arc<ConnectionHandle> {
        &self.shared
    }

    /// Locks the shared state; `None` if another task has taken the connection over.
    #[inline]
    fn lock(&self) -> Option<MutexGuard<'_, Inner>> {
        let mut state = self.shared.lock();
        if state.epoch != self.epoch {
            return None;
        }
        // The task runs, so it is no longer stalled.
        state.task = TaskState::Running;
        Some(state)
    }

    /// Returns whether this task still owns the connection.
    pub(crate) fn is_current(&self) -> bool {
        self.lock().is_some()
    }

    /// Ends the task and fails the requests in flight: the next request starts a new task.
    pub(crate) fn end(&self, reason: &str) {
        if let Some(state) = self.lock() {
            self.shared.task_ended(state, reason);
        }
    }

    /// Promises that the task acts by an instant although nothing is in flight; returns the instant to register with
    /// the watchdog, if any.
    ///
    /// If the task breaks the promise, another task may take the connection over.
    pub(crate) fn register_takeover_deadline(&self, at: Instant, now: Instant) -> Option<std::time::Instant> {
        let mut state = self.lock()?;
        state.acts_by = at.checked_add(MAX_STALL).map(Instant::into_std);
        drop(state);
        self.shared.claim_watch(now)
    }

    /// Polls for requests to connect for, or the end of the task; registers the waker if there is neither.
    pub(crate) fn poll_action(&self, waker: &Waker) -> Poll<TaskAction> {
        let Some(mut state) = self.lock() else { return Poll::Ready(TaskAction::Stop) };
        match (&state.connection_state, state.connection.in_flight()) {
            (ConnectionState::Closed, 0) => Poll::Ready(TaskAction::Stop),
            (_, 1..) => Poll::Ready(TaskAction::Connect),
            _ => {
                state.task_waker = Some(waker.clone());
                Poll::Pending
            }
        }
    }

    /// Returns whether the client closed the connection, or another task has taken it over.
    pub(crate) fn is_closed(&self) -> bool {
        self.lock().is_none_or(|state| state.connection_state == ConnectionState::Closed)
    }

    /// Returns whether any caller waits for a reply.
    pub(crate) fn has_waiters(&self) -> bool {
        self.lock().is_some_and(|state| state.connection.waiting_callers() > 0)
    }

    /// Initializes the state for a connection that has just been opened.
    pub(crate) fn connected(
        &self,
        negotiated: Negotiated,
        peer: Option<SocketAddr>,
        certificate: Option<Vec<u8>>,
        now: Instant,
    ) {
        let Some(mut state) = self.lock() else { return };
        let mut wakers = Vec::new();
        let max_keys_per_multiget = if negotiated.may_be_proxy { 1 } else { self.shared.max_keys_per_multiget };
        state.connection.set_max_keys_per_multiget(max_keys_per_multiget);
        if state.connection.protocol().is_none() {
            state.connection.set_protocol(negotiated.protocol, negotiated.server_version);
            // Requests that this protocol does not support fail here.
            state.deliver_replies(&mut InputBuffer::new(), now, &mut wakers).ok();
        }
        state.established = Established { since: Some(now), peer, protocol: Some(negotiated.protocol) };
        state.certificate = certificate;
        state.replied = false;
        state.answered = false;
        state.auth_required = false;
        state.watchdog_timeouts = None;
        state.breaker.begin();
        state.counters.connects += 1;
        state.connection.handle_received(now.into_std());
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Records that the server responded, even if only by refusing the connection.
    pub(crate) fn mark_alive(&self) {
        self.shared.health.mark_alive();
    }

    /// Records why the connection failed.
    pub(crate) fn record_failure(&self, failure: &Failure) {
        self.shared.health.record_failure(failure);
    }

    /// Submits the no-op that the server must answer before requests are let through.
    pub(crate) fn probe(&self, deadline: Deadline, now: Instant) {
        let Some(mut state) = self.lock() else { return };
        // Nothing is in flight, so a no-op is never rejected.
        let _ = state.connection.submit(&Request::noop(), None, deadline, now.into_std());
    }

    /// Changes the connection's state, unless it is closed.
    ///
    /// Returns whether that is a change; down for another reason is still down.
    pub(crate) fn set_state(&self, new_state: ConnectionState) -> bool {
        self.set_state_with(new_state, None)
    }

    fn set_state_with(&self, new_state: ConnectionState, refused_as: Option<Status>) -> bool {
        self.lock().is_some_and(|state| self.shared.change(state, new_state, refused_as))
    }

    /// Fails all requests in flight because the connection is lost; returns whether callers waited for any.
    pub(crate) fn disconnect(&self, reason: &str) -> bool {
        self.fail_all(reason, None)
    }

    /// Fails all requests in flight, and later ones, with the status that explains why no connection is possible.
    ///
    /// Returns whether the server was not down before.
    pub(crate) fn refuse(&self, status: Status, reason: &str) -> bool {
        let is_change = self.set_state_with(ConnectionState::Down(reason.to_owned()), Some(status));
        self.fail_all(reason, Some(status));
        is_change
    }

    fn fail_all(&self, reason: &str, status: Option<Status>) -> bool {
        let Some(mut state) = self.lock() else { return false };
        let busy = state.connection.waiting_callers() > 0;
        let now = Instant::now();
        state.connection.close(&Bytes::copy_from_slice(reason.as_bytes()), now.into_std());
        let mut wakers = Vec::new();
        state.settle_uncaused(status, now, &mut wakers);
        self.shared.notify_queue(&mut state, now, &mut wakers);
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
        busy
    }

    /// Returns whether the server has demanded authentication since the connection was opened.
    pub(crate) fn is_auth_required(&self) -> bool {
        self.lock().is_some_and(|state| state.auth_required || state.connection.is_auth_required())
    }

    // ---- The I/O loop of an open connection ----

    /// Returns how many of the taken bytes to write at once so that no request is divided.
    pub(crate) fn whole_requests_len(&self, limit: usize) -> usize {
        self.lock().map_or(limit, |state| state.connection.whole_requests_len(limit))
    }

    /// Moves the pending output into `output`, which must be empty.
    pub(crate) fn take_output(&self, output: &mut Output) {
        let Some(mut state) = self.lock() else { return };
        if state.connection.has_output() {
            state.connection.take_output(output);
        }
    }

    /// Records that the socket accepted bytes.
    pub(crate) fn handle_written(&self, count: usize) {
        let Some(mut state) = self.lock() else { return };
        state.connection.handle_written(count);
        if !state.queue.is_empty() {
            let mut wakers = Vec::new();
            self.shared.notify_queue(&mut state, Instant::now(), &mut wakers);
            drop(state);
            wakers.into_iter().for_each(Waker::wake);
        }
    }

    /// Delivers every complete reply of the input and collects the wakers of its callers.
    ///
    /// Returns the remaining work.
    pub(crate) fn handle_input(
        &self,
        input: &mut InputBuffer,
        now: Instant,
        wakers: &mut Vec<Waker>,
    ) -> Result<Load, ProtocolError> {
        let Some(mut state) = self.lock() else { return Ok(Load::default()) };
        state.connection.handle_received(now.into_std());
        let before = state.connection.in_flight();
        let outcome = state.deliver_replies(input, now, wakers);
        let load = state.load();
        let freed = before.saturating_sub(load.in_flight);
        if freed > 0 {
            state.replied = true;
            state.watchdog_timeouts = None;
            let was_unresponsive = self.shared.health.is_unresponsive();
            state.breaker.answered();
            if was_unresponsive {
                self.shared.health.recheck();
            }
        }
        state.counters.errors.protocol += u64::from(outcome.is_err());
        self.shared.notify_queue(&mut state, now, wakers);
        outcome.map(|()| load)
    }

    /// Fails overdue requests; returns whether the breaker opened.
    pub(crate) fn handle_timeout(
        &self,
        now: Instant,
        wakers: &mut Vec<Waker>,
    ) -> Result<Option<Tripped>, ProtocolError> {
        let Some(mut state) = self.lock() else { return Ok(None) };
        // Timeouts that the watchdog enforced count here, because a task that is only a little late is not stalled.
        let watchdog_timeouts = state.watchdog_timeouts.take();
        let connection = &mut state.connection;
        let due = [watchdog_timeouts.map(|watchdog_timeouts| watchdog_timeouts.since), connection.poll_timeout()]
            .into_iter()
            .flatten()
            .min();
        let late = due.map_or(Duration::ZERO, |due| now.into_std().saturating_duration_since(due));
        let silence = now.into_std().saturating_duration_since(connection.no_reply_since());
        // This task was stalled, not the server, whose replies may be waiting in the socket.
        if state.breaker.is_own_stall(late) {
            state.connection.reset_silence_timer(now.into_std());
        }
        let before = state.counters.errors.timeouts;
        let outcome = state.connection.handle_timeout(now.into_std());
        state.deliver_replies(&mut InputBuffer::new(), now, wakers)?;
        outcome?;
        let timeouts = state.counters.errors.timeouts - before
            + watchdog_timeouts.map_or(0, |watchdog_timeouts| watchdog_timeouts.timeouts);
        let timeouts = u32::try_from(timeouts).unwrap_or(u32::MAX);
        let tripped = state.breaker.timed_out(timeouts, silence, late).err();
        if self.shared.health.is_unresponsive() {
            self.shared.health.recheck();
        }
        Ok(tripped)
    }

    /// Fails overdue requests while no connection is open; returns the next deadline.
    pub(crate) fn expire(&self, now: Instant, wakers: &mut Vec<Waker>) -> Option<Instant> {
        let mut state = self.lock()?;
        if state.connection.earliest_deadline().is_some_and(|at| at <= now.into_std()) {
            state.connection.expire_due(now.into_std());
            state.deliver_replies(&mut InputBuffer::new(), now, wakers).ok();
        }
        state.connection.earliest_deadline().map(Instant::from_std)
    }

    /// Registers the I/O loop's waker, unless there is output to write.
    pub(crate) fn park(&self, waker: &Waker, can_write: bool) -> ParkResult {
        let Some(mut state) = self.lock() else { return ParkResult::Finished };
        if can_write && state.connection.has_output() {
            return ParkResult::HasOutput;
        }
        if state.connection_state == ConnectionState::Closed && state.connection.in_flight() == 0 {
            return ParkResult::Finished;
        }
        match &mut state.task_waker {
            Some(known) if known.will_wake(waker) => {}
            task_waker => *task_waker = Some(waker.clone()),
        }
        ParkResult::Until(state.connection.poll_timeout().map(Instant::from_std))
    }

    /// Returns whether any reply was received since the connection was opened.
    pub(crate) fn has_replied(&self) -> bool {
        self.lock().is_some_and(|state| state.replied)
    }

    /// Returns whether a caller's request was answered since the connection was opened.
    pub(crate) fn has_answered(&self) -> bool {
        self.lock().is_some_and(|state| state.answered)
    }

    /// Releases memory if the connection is idle; returns whether it is.
    pub(crate) fn shrink(&self) -> bool {
        let Some(mut state) = self.lock() else { return false };
        let idle = state.connection.in_flight() == 0;
        if idle {
            state.connection.shrink();
            state.slots.shrink_to_fit();
        }
        idle
    }
}
