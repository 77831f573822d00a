//! The link as its task, its driver and the watchdog see it: demand, condition, bytes in and out, time.

use std::task::{Poll, Waker};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use tokio::time::{Instant, timeout_at};

use super::{ConnectionHandle, ConnectionState, Hold, Inner, Unattended, Watched, slot_and_place, wake};
use crate::connection::handshake::Negotiated;
use crate::connection::watchdog;
use crate::policy::Tripped;
use crate::proto::{Deadline, Event, InputBuffer, Output, ProtocolError, Request, Status};

/// What the driver's task has to do next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Demand {
    /// Something waits to be sent.
    Work,
    /// The link was closed and nothing is in flight.
    End,
}

/// What the driver does next.
#[derive(Debug)]
pub(crate) enum Parked {
    /// There is something to write.
    HasOutput,
    /// The link was closed and nothing is in flight.
    Finished,
    /// It sleeps, until this instant at the latest.
    Until(Option<Instant>),
}

impl<L: Hold<Inner>> ConnectionHandle<L> {
    /// Claims the right to start the task in this process, if there is work and no task; it counts as
    /// running from then on.
    pub(crate) fn claim_task(&self, process: u32) -> bool {
        let mut state = self.lock();
        if state.running || state.connection.in_flight() == 0 {
            return false;
        }
        (state.running, state.process) = (true, process);
        true
    }

    /// Records that the task has ended, and ends what is in flight: the next request starts another task.
    pub(crate) fn task_ended(&self, reason: &str) {
        let mut wakers = Vec::new();
        self.end_task(reason, &mut wakers);
        wakers.into_iter().for_each(Waker::wake);
        self.notify_all();
    }

    /// Gives up the task of another process: this one is its child, which has only a copy of its memory.
    ///
    /// `wake` says whether callers of this process may be among those who wait. The wakers of the parent's
    /// tasks are leaked: to drop one could end a task, and with it what is registered with an I/O
    /// driver that both processes share.
    pub(crate) fn give_up_task_of_parent(&self, process: u32, wake: bool) {
        let driver = {
            let mut state = self.lock();
            if !state.running || state.process == process {
                return;
            }
            state.driver.take()
        };
        let mut wakers = Vec::new();
        self.end_task("the connection belongs to the process that this one was forked from", &mut wakers);
        if wake {
            wakers.iter().for_each(Waker::wake_by_ref);
            self.notify_all();
        }
        std::mem::forget((driver, wakers));
    }

    /// Callers that wake up find the task ended: it is one step, so that the next request of any of them
    /// starts a new one.
    fn end_task(&self, reason: &str, wakers: &mut Vec<Waker>) {
        let mut state = self.lock();
        let now = Instant::now();
        state.connection.close(&Bytes::copy_from_slice(reason.as_bytes()), now.into_std());
        state.settle_uncaused(None, now, wakers);
        state.running = false;
        state.ends = state.ends.wrapping_add(1);
        state.driver = None;
        (state.watched, state.unattended) = (None, None);
        if state.condition != ConnectionState::Closed && state.condition != ConnectionState::Idle {
            // Without a task a server that is down would stay so: nothing would connect again.
            state.condition = ConnectionState::Idle;
            state.since = SystemTime::now();
            (state.refusal, state.refused_as) = (None, None);
            self.watch.changed(self.place, ConnectionState::Idle);
        }
        self.notify_queue(&mut state, now, wakers);
    }

    /// Lets everybody look again who waits for something else than a reply.
    fn notify_all(&self) {
        self.ended.notify_waiters();
        self.turned.notify_waiters();
    }

    /// Waits until the task has ended.
    pub(super) async fn wait_for_task(&self) {
        let ended = self.ended.notified();
        let mut ended = std::pin::pin!(ended);
        ended.as_mut().enable();
        if self.lock().running {
            ended.await;
        }
    }

    /// Waits until the task of a closed connection has ended, and no longer than the deadlines of what is
    /// in flight: the task may not be running any more. Requests that no caller waits for have until then.
    pub(crate) async fn wait_for_end(&self, mut until: Instant) {
        while timeout_at(until, self.wait_for_task()).await.is_err() {
            match self.next_deadline() {
                Some(due) => until = Instant::from_std(due).max(until) + RECHECK,
                None => return,
            }
        }
    }

    /// A lower bound of the deadlines in flight; `None` if no caller waits.
    fn next_deadline(&self) -> Option<std::time::Instant> {
        let state = self.lock();
        if state.connection.awaited() == 0 { None } else { state.connection.earliest_deadline() }
    }

    // ---- The watchdog ----

    /// Returns the earliest deadline in flight if the watchdog does not know of it; it counts as known
    /// from then on.
    pub(crate) fn claim_watch(&self, now: Instant) -> Option<std::time::Instant> {
        let mut state = self.lock();
        let due = state.next_watch()?;
        let is_known = state.watched.is_some_and(|watched| watched.due <= due && now.into_std() <= watched.stale);
        if is_known {
            return None;
        }
        state.watched = Some(Watched::at(due));
        Some(due)
    }

    /// Ends every request that is due, as the task should have done; returns the next deadline to watch.
    pub(crate) fn enforce_deadlines(&self, due: std::time::Instant, now: Instant) -> Option<std::time::Instant> {
        let mut state = self.lock();
        if state.watched.is_none_or(|watched| watched.due != due) {
            // An earlier deadline was registered since.
            return None;
        }
        let mut wakers = Vec::new();
        if let Some(since) = state.connection.earliest_deadline().filter(|at| *at <= now.into_std()) {
            let before = state.counters.errors.timeouts;
            state.connection.expire_due(now.into_std());
            state.settle_uncaused(None, now, &mut wakers);
            // The server is judged by the task, if it comes soon.
            let timeouts = state.counters.errors.timeouts - before;
            if timeouts > 0 {
                state.unattended.get_or_insert(Unattended { since, timeouts: 0 }).timeouts += timeouts;
            }
        }
        let next = state.next_watch();
        state.watched = next.map(Watched::at);
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
        next
    }

    /// What there is to do while no connection is open; remembers the waker if nothing.
    pub(crate) fn poll_demand(&self, waker: &Waker) -> Poll<Demand> {
        let mut state = self.lock();
        match (&state.condition, state.connection.in_flight()) {
            (ConnectionState::Closed, 0) => Poll::Ready(Demand::End),
            (_, 1..) => Poll::Ready(Demand::Work),
            _ => {
                state.driver = Some(waker.clone());
                Poll::Pending
            }
        }
    }

    /// Whether no caller waits for a reply.
    pub(crate) fn is_quiet(&self) -> bool {
        self.lock().connection.awaited() == 0
    }

    /// Whether the link was closed.
    pub(crate) fn is_closed(&self) -> bool {
        self.lock().condition == ConnectionState::Closed
    }

    /// Begins a connection that is open now: silence is counted from here.
    pub(crate) fn connected(&self, negotiated: Negotiated, now: Instant) {
        let mut state = self.lock();
        let mut wakers = Vec::new();
        let keys_in_line = if negotiated.may_be_proxy { 1 } else { self.keys_in_line };
        state.connection.set_max_keys_per_line(keys_in_line);
        if state.connection.protocol().is_none() {
            state.connection.begin(negotiated.protocol, negotiated.dialect);
            // What this protocol cannot say has its outcome now.
            state.settle(&mut InputBuffer::new(), now, &mut wakers).ok();
        }
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
        self.watch.mark_alive();
    }

    /// Asks the server for a sign of life, before any caller's request is let through.
    pub(crate) fn probe(&self, deadline: Deadline, now: Instant) {
        let mut state = self.lock();
        // With nothing in flight there is room for one no-op.
        let _ = state.connection.submit(&Request::noop(), None, deadline, now.into_std());
    }

    /// Says what the server is to us from now on; what is closed stays closed. Whether that is news:
    /// down for another reason is still down.
    pub(crate) fn set(&self, condition: ConnectionState) -> bool {
        self.set_as(condition, None)
    }

    /// The same; requests that are refused from now on have this status.
    fn set_as(&self, condition: ConnectionState, refused_as: Option<Status>) -> bool {
        let mut state = self.lock();
        if condition.is_down() {
            state.failures += 1;
            self.turned.notify_waiters();
        }
        if state.condition == ConnectionState::Closed || state.condition == condition {
            return false;
        }
        let is_news = !(state.condition.is_down() && condition.is_down());
        if is_news {
            state.since = SystemTime::now();
        }
        state.refusal = condition.refusal();
        state.refused_as = refused_as;
        state.condition = condition.clone();
        // Callers that wait for capacity are refused as well.
        let mut wakers = Vec::new();
        self.notify_queue(&mut state, Instant::now(), &mut wakers);
        wake(state);
        wakers.into_iter().for_each(Waker::wake);
        self.turned.notify_waiters();
        self.watch.changed(self.place, condition);
        is_news
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
        let mut state = self.lock();
        let busy = state.connection.awaited() > 0;
        let now = Instant::now();
        state.connection.close(&Bytes::copy_from_slice(reason.as_bytes()), now.into_std());
        let mut wakers = Vec::new();
        state.settle_uncaused(status, now, &mut wakers);
        self.notify_queue(&mut state, now, &mut wakers);
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
        busy
    }

    /// Whether the server wanted an authentication since the connection was opened.
    pub(crate) fn is_stranger(&self) -> bool {
        let state = self.lock();
        state.auth_required || state.connection.is_auth_required()
    }

    // ---- The driver of an open connection ----

    /// How many of the taken bytes go into one write where requests must not be divided.
    pub(crate) fn next_boundary(&self, limit: usize) -> usize {
        self.lock().connection.next_boundary(limit)
    }

    /// Moves what is to be written into `output`, which is empty.
    pub(crate) fn take_output(&self, output: &mut Output) {
        let mut state = self.lock();
        if state.connection.has_output() {
            state.connection.take_output(output);
        }
    }

    /// Records that the socket accepted bytes.
    pub(crate) fn handle_written(&self, count: usize) {
        let mut state = self.lock();
        state.connection.handle_written(count);
        if !state.queue.is_empty() {
            let mut wakers = Vec::new();
            self.notify_queue(&mut state, Instant::now(), &mut wakers);
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
        let mut state = self.lock();
        state.connection.handle_received(now.into_std());
        let before = state.connection.in_flight();
        let outcome = state.settle(input, now, wakers);
        let in_flight = state.connection.in_flight();
        let freed = before.saturating_sub(in_flight);
        if freed > 0 {
            state.replied = true;
            state.unattended = None;
            let was_silent = self.watch.is_silent();
            state.breaker.answered();
            if was_silent {
                self.watch.look_again();
            }
        }
        state.counters.errors.protocol += u64::from(outcome.is_err());
        let load = (in_flight, state.slots.len());
        self.notify_queue(&mut state, now, wakers);
        outcome.map(|()| load)
    }

    /// Fails overdue requests; returns whether the breaker opened.
    pub(crate) fn handle_timeout(
        &self,
        now: Instant,
        wakers: &mut Vec<Waker>,
    ) -> Result<Option<Tripped>, ProtocolError> {
        let mut state = self.lock();
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
        if self.watch.is_silent() {
            self.watch.look_again();
        }
        Ok(tripped)
    }

    /// Fails overdue requests while no connection is open; returns the next deadline.
    pub(crate) fn expire(&self, now: Instant, wakers: &mut Vec<Waker>) -> Option<Instant> {
        let mut state = self.lock();
        if state.connection.earliest_deadline().is_some_and(|at| at <= now.into_std()) {
            state.connection.expire_due(now.into_std());
            state.settle(&mut InputBuffer::new(), now, wakers).ok();
        }
        state.connection.earliest_deadline().map(Instant::from_std)
    }

    /// Remembers the driver's waker, unless there is something to write.
    pub(crate) fn park(&self, waker: &Waker, can_write: bool) -> Parked {
        let mut state = self.lock();
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
        self.lock().replied
    }

    /// Whether a caller's request was answered since the connection was opened.
    pub(crate) fn has_answered(&self) -> bool {
        self.lock().answered
    }

    /// Gives back memory that an idle connection does not need; whether it is idle.
    pub(crate) fn shrink(&self) -> bool {
        let mut state = self.lock();
        let idle = state.connection.in_flight() == 0;
        if idle {
            state.connection.shrink();
            state.slots.shrink_to_fit();
        }
        idle
    }
}

impl watchdog::Watched for ConnectionHandle {
    fn enforce(&self, due: std::time::Instant, now: std::time::Instant) -> Option<std::time::Instant> {
        self.enforce_deadlines(due, Instant::from_std(now))
    }
}

impl Watched {
    fn at(due: std::time::Instant) -> Self {
        Self { due, stale: due.checked_add(STALE).unwrap_or(due) }
    }
}

/// How long after a deadline the watchdog counts as missing.
const STALE: Duration = Duration::from_secs(1);
/// How long to wait for what is due before looking again.
const RECHECK: Duration = Duration::from_millis(20);

impl Inner {
    /// The deadline that the watchdog looks at next; `None` if nothing is in flight.
    fn next_watch(&self) -> Option<std::time::Instant> {
        if self.connection.in_flight() == 0 { None } else { self.connection.earliest_deadline() }
    }

    /// Settles what no reply has ended: what was due, or was in flight when the connection ended; with a
    /// status of its own, if one says why.
    fn settle_uncaused(&mut self, status: Option<Status>, now: Instant, wakers: &mut Vec<Waker>) {
        while let Some(Event { tag, mut reply, last, .. }) = self.connection.poll_local_event() {
            let (slot, place) = slot_and_place(tag);
            if let (Some(status), Status::Disconnected(_)) = (status, reply.status) {
                reply.status = status;
            }
            self.counters.settled(tag, reply.status, now);
            if let Some(slot) = self.slots.get_mut(slot) {
                wakers.extend(slot.settle(place, reply, last));
            }
        }
    }
}
