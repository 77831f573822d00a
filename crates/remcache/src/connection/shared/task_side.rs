//! A connection as its task sees it: demand, condition, bytes in and out, time.

use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::lifecycle::{LONGEST_STALL, TaskState};
use super::{ConnectionHandle, ConnectionState, Inner};
use crate::connection::handshake::Negotiated;
use crate::connection::sync::MutexGuard;
use crate::observe::Established;
use crate::policy::Tripped;
use crate::proto::{Deadline, InputBuffer, Output, ProtocolError, Request, Status};

/// What the driver's task has to do next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Demand {
    /// Something waits to be sent.
    Work,
    /// The connection was closed and nothing is in flight, or another task has it.
    End,
}

/// What the driver does next.
#[derive(Debug)]
pub(crate) enum Parked {
    /// There is something to write.
    HasOutput,
    /// The connection was closed and nothing is in flight, or another task has it.
    Finished,
    /// It sleeps, until this instant at the latest.
    Until(Option<Instant>),
}

/// The access of a connection's task to the shared state.
///
/// A task whose runtime does not run loses the connection to another task. If it runs again, nothing that it does
/// has an effect, and to it the connection looks closed.
#[derive(Debug)]
pub(crate) struct TaskHandle {
    shared: Arc<ConnectionHandle>,
    /// How many tasks of the connection had ended when this one started.
    ends: u32,
}

impl Clone for TaskHandle {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared), ends: self.ends }
    }
}

impl TaskHandle {
    pub(super) fn new(shared: Arc<ConnectionHandle>, ends: u32) -> Self {
        Self { shared, ends }
    }

    /// Returns the connection that the task serves.
    pub(crate) fn shared(&self) -> &Arc<ConnectionHandle> {
        &self.shared
    }

    /// Locks the shared state; `None` if another task has the connection.
    #[inline]
    fn lock(&self) -> Option<MutexGuard<'_, Inner>> {
        let mut state = self.shared.lock();
        if state.ends != self.ends {
            return None;
        }
        // Whatever it was late for: it runs.
        state.task = TaskState::Running;
        Some(state)
    }

    /// Whether no other task has taken the connection over.
    pub(crate) fn is_current(&self) -> bool {
        self.lock().is_some()
    }

    /// Ends the task, and what is in flight: the next request starts a new one.
    pub(crate) fn end(&self, reason: &str) {
        if let Some(state) = self.lock() {
            self.shared.task_ended(state, reason);
        }
    }

    /// Promises that the task acts by an instant although nothing is in flight; returns the instant for the watchdog
    /// to look, unless it knows.
    ///
    /// Where the promise is not kept, the connection is free for another task.
    pub(crate) fn act_by(&self, at: Instant, now: Instant) -> Option<std::time::Instant> {
        let mut state = self.lock()?;
        state.acts_by = at.checked_add(LONGEST_STALL).map(Instant::into_std);
        drop(state);
        self.shared.claim_watch(now)
    }

    /// What there is to do while no connection is open; remembers the waker if nothing.
    pub(crate) fn poll_demand(&self, waker: &Waker) -> Poll<Demand> {
        let Some(mut state) = self.lock() else { return Poll::Ready(Demand::End) };
        match (&state.condition, state.connection.in_flight()) {
            (ConnectionState::Closed, 0) => Poll::Ready(Demand::End),
            (_, 1..) => Poll::Ready(Demand::Work),
            _ => {
                state.driver = Some(waker.clone());
                Poll::Pending
            }
        }
    }

    /// Whether the connection was closed, or another task has it.
    pub(crate) fn is_closed(&self) -> bool {
        self.lock().is_none_or(|state| state.condition == ConnectionState::Closed)
    }

    /// Whether no caller waits for a reply.
    pub(crate) fn is_quiet(&self) -> bool {
        self.lock().is_none_or(|state| state.connection.awaited() == 0)
    }

    /// Begins a connection that is open now: silence is counted from here.
    pub(crate) fn connected(
        &self,
        negotiated: Negotiated,
        peer: Option<SocketAddr>,
        certificate: Option<Vec<u8>>,
        now: Instant,
    ) {
        let Some(mut state) = self.lock() else { return };
        let mut wakers = Vec::new();
        let keys_in_line = if negotiated.may_be_proxy { 1 } else { self.shared.keys_in_line };
        state.connection.set_max_keys_per_line(keys_in_line);
        if state.connection.protocol().is_none() {
            state.connection.begin(negotiated.protocol, negotiated.dialect);
            // What this protocol cannot say has its outcome now.
            state.settle(&mut InputBuffer::new(), now, &mut wakers).ok();
        }
        state.established = Established { since: Some(now), peer, protocol: Some(negotiated.protocol) };
        state.certificate = certificate;
        state.replied = false;
        state.answered = false;
        state.auth_required = false;
        state.unattended = None;
        state.breaker.begin();
        state.counters.connects += 1;
        state.connection.handle_received(now.into_std());
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Records a sign of life of the server, even a refused connection.
    pub(crate) fn heard(&self) {
        self.shared.watch.mark_alive();
    }

    /// Asks the server for a sign of life, before any caller's request is let through.
    pub(crate) fn probe(&self, deadline: Deadline, now: Instant) {
        let Some(mut state) = self.lock() else { return };
        // With nothing in flight there is room for one no-op.
        let _ = state.connection.submit(&Request::noop(), None, deadline, now.into_std());
    }

    /// Says what the server is to us from now on; what is closed stays closed. Whether that is news:
    /// down for another reason is still down.
    pub(crate) fn set(&self, condition: ConnectionState) -> bool {
        self.set_as(condition, None)
    }

    fn set_as(&self, condition: ConnectionState, refused_as: Option<Status>) -> bool {
        self.lock().is_some_and(|state| self.shared.change(state, condition, refused_as))
    }

    /// Fails everything in flight: the connection is gone. Returns whether anything was in flight.
    pub(crate) fn disconnect(&self, reason: &str) -> bool {
        self.end_all(reason, None)
    }

    /// Takes no requests, and ends those in flight, with a status that says why there can be no
    /// connection. Nothing of them was executed. Whether the server was not down before.
    pub(crate) fn refuse(&self, status: Status, reason: &str) -> bool {
        let is_news = self.set_as(ConnectionState::Down(reason.to_owned()), Some(status));
        self.end_all(reason, Some(status));
        is_news
    }

    fn end_all(&self, reason: &str, status: Option<Status>) -> bool {
        let Some(mut state) = self.lock() else { return false };
        let busy = state.connection.awaited() > 0;
        let now = Instant::now();
        state.connection.close(&Bytes::copy_from_slice(reason.as_bytes()), now.into_std());
        let mut wakers = Vec::new();
        state.settle_uncaused(status, now, &mut wakers);
        self.shared.notify_queue(&mut state, now, &mut wakers);
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
        busy
    }

    /// Whether the server wanted an authentication since the connection was opened.
    pub(crate) fn is_stranger(&self) -> bool {
        self.lock().is_some_and(|state| state.auth_required || state.connection.is_auth_required())
    }

    // ---- The driver of an open connection ----

    /// How many of the taken bytes go into one write where requests must not be divided.
    pub(crate) fn next_boundary(&self, limit: usize) -> usize {
        self.lock().map_or(limit, |state| state.connection.next_boundary(limit))
    }

    /// Moves what is to be written into `output`, which is empty.
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

    /// Settles every complete reply of the input, and collects who is to be woken; how many requests are
    /// unanswered then, and how many slots callers hold.
    pub(crate) fn settle(
        &self,
        input: &mut InputBuffer,
        now: Instant,
        wakers: &mut Vec<Waker>,
    ) -> Result<(usize, usize), ProtocolError> {
        let Some(mut state) = self.lock() else { return Ok((0, 0)) };
        state.connection.handle_received(now.into_std());
        let before = state.connection.in_flight();
        let outcome = state.settle(input, now, wakers);
        let in_flight = state.connection.in_flight();
        let freed = before.saturating_sub(in_flight);
        if freed > 0 {
            state.replied = true;
            state.unattended = None;
            let was_silent = self.shared.watch.is_silent();
            state.breaker.answered();
            if was_silent {
                self.shared.watch.look_again();
            }
        }
        state.counters.errors.protocol += u64::from(outcome.is_err());
        let load = (in_flight, state.slots.len());
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
        // What the watchdog had to do is counted here: a task that is a little late is no stall.
        let unattended = state.unattended.take();
        let connection = &mut state.connection;
        let due =
            [unattended.map(|unattended| unattended.since), connection.poll_timeout()].into_iter().flatten().min();
        let late = due.map_or(Duration::ZERO, |due| now.into_std().saturating_duration_since(due));
        let silence = now.into_std().saturating_duration_since(connection.silent_since());
        // The server had no chance to be heard: its replies are read after this.
        if state.breaker.is_own_stall(late) {
            state.connection.reset_silence_timer(now.into_std());
        }
        let before = state.counters.errors.timeouts;
        let outcome = state.connection.handle_timeout(now.into_std());
        state.settle(&mut InputBuffer::new(), now, wakers)?;
        outcome?;
        let timeouts = state.counters.errors.timeouts - before + unattended.map_or(0, |unattended| unattended.timeouts);
        let timeouts = u32::try_from(timeouts).unwrap_or(u32::MAX);
        let tripped = state.breaker.timed_out(timeouts, silence, late).err();
        if self.shared.watch.is_silent() {
            self.shared.watch.look_again();
        }
        Ok(tripped)
    }

    /// Fails overdue requests while no connection is open; returns the next deadline.
    pub(crate) fn expire(&self, now: Instant, wakers: &mut Vec<Waker>) -> Option<Instant> {
        let mut state = self.lock()?;
        if state.connection.earliest_deadline().is_some_and(|at| at <= now.into_std()) {
            state.connection.expire_due(now.into_std());
            state.settle(&mut InputBuffer::new(), now, wakers).ok();
        }
        state.connection.earliest_deadline().map(Instant::from_std)
    }

    /// Remembers the driver's waker, unless there is something to write.
    pub(crate) fn park(&self, waker: &Waker, can_write: bool) -> Parked {
        let Some(mut state) = self.lock() else { return Parked::Finished };
        if can_write && state.connection.has_output() {
            return Parked::HasOutput;
        }
        if state.condition == ConnectionState::Closed && state.connection.in_flight() == 0 {
            return Parked::Finished;
        }
        match &mut state.driver {
            Some(known) if known.will_wake(waker) => {}
            driver => *driver = Some(waker.clone()),
        }
        Parked::Until(state.connection.poll_timeout().map(Instant::from_std))
    }

    /// Whether a protocol reply came since the connection was opened.
    pub(crate) fn has_replied(&self) -> bool {
        self.lock().is_some_and(|state| state.replied)
    }

    /// Whether a caller's request was answered since the connection was opened.
    pub(crate) fn has_answered(&self) -> bool {
        self.lock().is_some_and(|state| state.answered)
    }

    /// Gives back memory that an idle connection does not need; whether it is idle.
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
