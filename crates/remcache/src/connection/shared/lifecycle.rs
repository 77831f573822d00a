//! The lifecycle of a connection's task: start, end, replacement when its runtime does not run, and enforcement of
//! its deadlines by the watchdog.

use std::sync::{Arc, Weak};
use std::task::Waker;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use tokio::runtime;
use tokio::time::{Instant, timeout_at};

use super::task_side::TaskHandle;
use super::{ConnectionHandle, ConnectionState, Inner, WatchdogTimeouts, WatchedDeadline, slot_and_index};
use crate::connection::sync::MutexGuard;
use crate::connection::watchdog;
use crate::proto::{Event, Status};

/// The state of a connection's task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TaskState {
    /// No task runs.
    None,
    Running,
    /// It has not run since the watchdog acted in its place.
    Stalled {
        since: std::time::Instant,
    },
}

impl ConnectionHandle {
    /// Claims the right to start the task, if there are requests and no task; it counts as running from then on.
    ///
    /// `process` and `runtime` are those that the task will run in.
    pub(crate) fn claim_task(self: &Arc<Self>, process: u32, runtime: Option<runtime::Id>) -> Option<TaskHandle> {
        let mut state = self.lock();
        if state.task != TaskState::None || state.connection.in_flight() == 0 {
            return None;
        }
        (state.task, state.process, state.runtime) = (TaskState::Running, process, runtime);
        Some(TaskHandle::new(Arc::clone(self), state.epoch))
    }

    /// Records that the task has ended and fails the requests in flight: the next request starts another task.
    pub(super) fn task_ended(&self, mut state: MutexGuard<'_, Inner>, reason: &str) {
        let mut wakers = Vec::new();
        self.end_task(&mut state, reason, &mut wakers);
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
        self.notify_all();
    }

    /// Abandons the task if its runtime does not run, so that a task on the calling runtime can take its place;
    /// returns whether it did.
    ///
    /// A runtime that is only busy gets some time. The calling runtime evidently runs: a second task on it would be
    /// no better.
    pub(crate) fn give_up_stalled_task(&self, runtime: Option<runtime::Id>, now: Instant) -> bool {
        let state = self.lock();
        let TaskState::Stalled { since } = state.task else { return false };
        let is_same_runtime = runtime.is_some() && runtime == state.runtime;
        if is_same_runtime || now.into_std().saturating_duration_since(since) < MAX_STALL {
            return false;
        }
        self.give_up_task(state);
        true
    }

    /// Ends the task although it does not run. If it runs again, its handle no longer has an effect.
    fn give_up_task(&self, mut state: MutexGuard<'_, Inner>) {
        let task = state.task_waker.take();
        // The task may have written the output that it has taken.
        state.connection.assume_written();
        self.task_ended(state, "the tokio runtime that the connection lived on does not run");
        task.into_iter().for_each(Waker::wake);
    }

    /// Abandons a task that runs in the parent process: this process was forked from it and has only a copy of its
    /// memory.
    ///
    /// With `wake`, waiting callers of this process are woken. All wakers are leaked, because dropping the last waker
    /// of a parent's task would drop its future, and deregister its sockets from an epoll instance that both
    /// processes share.
    pub(crate) fn give_up_task_of_parent(&self, process: u32, wake: bool) {
        let mut state = self.lock();
        if state.task == TaskState::None || state.process == process {
            return;
        }
        let task_waker = state.task_waker.take();
        let mut wakers = Vec::new();
        state.connection.assume_written();
        self.end_task(&mut state, "the connection belongs to the process that this one was forked from", &mut wakers);
        drop(state);
        if wake {
            wakers.iter().for_each(Waker::wake_by_ref);
            self.notify_all();
        }
        std::mem::forget((task_waker, wakers));
    }

    /// Ends the task and fails the requests in flight, under one lock: a caller that is woken finds no task, so that
    /// its next request starts a new one.
    fn end_task(&self, state: &mut Inner, reason: &str, wakers: &mut Vec<Waker>) {
        let now = Instant::now();
        state.connection.close(&Bytes::copy_from_slice(reason.as_bytes()), now.into_std());
        state.settle_uncaused(None, now, wakers);
        state.task = TaskState::None;
        state.epoch = state.epoch.wrapping_add(1);
        state.task_waker = None;
        (state.watched, state.watchdog_timeouts, state.acts_by) = (None, None, None);
        if state.connection_state != ConnectionState::Closed && state.connection_state != ConnectionState::Idle {
            // Without a task nothing would connect to a server that is down, and it would stay down.
            state.connection_state = ConnectionState::Idle;
            state.since = SystemTime::now();
            (state.refusal, state.refused_as) = (None, None);
            self.health.changed(self.index, ConnectionState::Idle);
        }
        self.notify_queue(state, now, wakers);
    }

    /// Wakes callers that wait for anything other than a reply.
    fn notify_all(&self) {
        self.ended.notify_waiters();
        self.state_changed.notify_waiters();
    }

    /// Waits until the task has ended.
    pub(super) async fn wait_for_task(&self) {
        let ended = self.ended.notified();
        let mut ended = std::pin::pin!(ended);
        ended.as_mut().enable();
        if self.lock().task != TaskState::None {
            ended.await;
        }
    }

    /// Waits until the task of a closed connection has ended, but not beyond the deadlines of the requests in
    /// flight: the task's runtime may no longer run. Requests without a waiting caller have until `until`.
    pub(crate) async fn wait_for_end(&self, mut until: Instant) {
        while timeout_at(until, self.wait_for_task()).await.is_err() {
            match self.next_deadline() {
                Some(due) => until = Instant::from_std(due).max(until) + RECHECK,
                None => return,
            }
        }
    }

    /// Returns a lower bound of the deadlines in flight; `None` if no caller waits.
    fn next_deadline(&self) -> Option<std::time::Instant> {
        let state = self.lock();
        if state.connection.waiting_callers() == 0 { None } else { state.connection.earliest_deadline() }
    }

    // ---- The watchdog ----

    /// Returns the earliest deadline in flight if it is not registered with the watchdog; it counts as registered
    /// from then on.
    pub(crate) fn claim_watch(&self, now: Instant) -> Option<std::time::Instant> {
        let mut state = self.lock();
        let due = state.next_watch()?;
        let is_known = state.watched.is_some_and(|watched| watched.due <= due && now.into_std() <= watched.stale);
        if is_known {
            return None;
        }
        state.watched = Some(WatchedDeadline::at(due));
        Some(due)
    }

    /// Times out every request that is due, in the task's place; returns the next deadline to watch.
    pub(crate) fn enforce_deadlines(&self, due: std::time::Instant, now: Instant) -> Option<std::time::Instant> {
        let mut state = self.lock();
        if state.watched.is_none_or(|watched| watched.due != due) {
            // An earlier deadline was registered in the meantime.
            return None;
        }
        let mut wakers = Vec::new();
        if state.acts_by.is_some_and(|at| at <= now.into_std()) {
            // Without a task that runs, nothing connects to the server again.
            self.give_up_task(state);
            return None;
        }
        if let Some(since) = state.connection.earliest_deadline().filter(|at| *at <= now.into_std()) {
            let before = state.counters.errors.timeouts;
            state.connection.expire_due(now.into_std());
            state.settle_uncaused(None, now, &mut wakers);
            // Recorded for the task's circuit breaker, which judges the server if the task runs soon.
            let timeouts = state.counters.errors.timeouts - before;
            if timeouts > 0 {
                state.watchdog_timeouts.get_or_insert(WatchdogTimeouts { since, timeouts: 0 }).timeouts += timeouts;
            }
            if state.task == TaskState::Running {
                state.task = TaskState::Stalled { since: now.into_std() };
            }
        }
        let next = state.next_watch();
        state.watched = next.map(WatchedDeadline::at);
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
        next
    }
}

impl ConnectionHandle {
    /// Returns a weak reference for the watchdog.
    pub(crate) fn watched(self: &Arc<Self>) -> Weak<dyn watchdog::Watched> {
        let weak: Weak<Self> = Arc::downgrade(self);
        weak
    }
}

impl watchdog::Watched for ConnectionHandle {
    fn enforce(&self, due: std::time::Instant, now: std::time::Instant) -> Option<std::time::Instant> {
        self.enforce_deadlines(due, Instant::from_std(now))
    }
}

impl WatchedDeadline {
    fn at(due: std::time::Instant) -> Self {
        Self { due, stale: due.checked_add(STALE).unwrap_or(due) }
    }
}

/// How long after a deadline the watchdog counts as not running, as in a forked process.
const STALE: Duration = Duration::from_secs(1);
/// How long a task that missed a deadline may stall before its connection is taken over.
pub(super) const MAX_STALL: Duration = Duration::from_secs(1);
/// How long to wait beyond a deadline before checking again.
const RECHECK: Duration = Duration::from_millis(20);

impl Inner {
    /// Returns the next instant that the watchdog has to check; `None` if it is not needed.
    fn next_watch(&self) -> Option<std::time::Instant> {
        let due = if self.connection.in_flight() == 0 { None } else { self.connection.earliest_deadline() };
        [due, self.acts_by].into_iter().flatten().min()
    }

    /// Delivers the results that no reply caused: timeouts, and requests that were in flight when the connection
    /// closed. `status` replaces that of the latter.
    pub(super) fn settle_uncaused(&mut self, status: Option<Status>, now: Instant, wakers: &mut Vec<Waker>) {
        while let Some(Event { tag, mut reply, last, .. }) = self.connection.poll_local_event() {
            let (slot, index) = slot_and_index(tag);
            if let (Some(status), Status::Disconnected(_)) = (status, reply.status) {
                reply.status = status;
            }
            self.counters.settled(tag, reply.status, now);
            if let Some(slot) = self.slots.get_mut(slot) {
                wakers.extend(slot.store_reply(index, reply, last));
            }
        }
    }
}
