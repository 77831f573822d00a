//! The link as its task and driver see it: demand, condition, bytes in and out, time.

use std::task::{Poll, Waker};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use tokio::time::Instant;

use super::{ConnectionState, Hold, Inner, Link, slot_and_place, wake};
use crate::connection::handshake::Negotiated;
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

impl<L: Hold<Inner>> Link<L> {
    /// Whether the task must be started; it counts as running from then on.
    pub(crate) fn claim_task(&self) -> bool {
        let mut state = self.lock();
        let idle = state.machine.in_flight() == 0;
        !idle && !std::mem::replace(&mut state.running, true)
    }

    /// Tells that the task has ended: nothing is left unanswered.
    pub(crate) fn task_ended(&self, reason: &str) {
        self.disconnect(reason);
        self.lock().running = false;
        self.ended.notify_waiters();
    }

    /// Waits until the task has ended.
    pub(crate) async fn wait_for_end(&self) {
        let ended = self.ended.notified();
        let mut ended = std::pin::pin!(ended);
        ended.as_mut().enable();
        if self.lock().running {
            ended.await;
        }
    }

    /// What there is to do while no connection is open; remembers the waker if nothing.
    pub(crate) fn poll_demand(&self, waker: &Waker) -> Poll<Demand> {
        let mut state = self.lock();
        match (&state.condition, state.machine.in_flight()) {
            (ConnectionState::Closed, 0) => Poll::Ready(Demand::End),
            (_, 1..) => Poll::Ready(Demand::Work),
            _ => {
                state.driver = Some(waker.clone());
                Poll::Pending
            }
        }
    }

    /// Whether nobody waits for anything.
    pub(crate) fn is_quiet(&self) -> bool {
        self.lock().machine.awaited() == 0
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
        state.machine.gather_fetches(keys_in_line);
        if state.machine.protocol().is_none() {
            state.machine.begin(negotiated.protocol, negotiated.dialect);
            // What this protocol cannot say has its outcome now.
            state.settle(&mut InputBuffer::new(), now, &mut wakers).ok();
        }
        state.replied = false;
        state.answered = false;
        state.stranger = false;
        state.breaker.begin();
        state.tally.connects += 1;
        state.machine.handle_received(now.into_std());
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Tells that the server was heard, if only to refuse a connection: it is not silent.
    pub(crate) fn heard(&self) {
        self.watch.heard();
    }

    /// Asks the server for a sign of life, before any caller's request is let through.
    pub(crate) fn probe(&self, deadline: Deadline, now: Instant) {
        let mut state = self.lock();
        // With nothing in flight there is room for one no-op.
        let _ = state.machine.submit(&Request::noop(), None, deadline, now.into_std());
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
        // Whoever waits for room may learn that there is none to wait for.
        wake(state);
        self.room.notify_waiters();
        self.turned.notify_waiters();
        self.watch.changed(self.place, condition);
        is_news
    }

    /// Ends everything in flight: the connection is gone. Tells whether anything was.
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
        let busy = state.machine.awaited() > 0;
        let now = Instant::now();
        state.machine.close(&Bytes::copy_from_slice(reason.as_bytes()), now.into_std());
        let mut wakers = Vec::new();
        state.settle_ended(status, now, &mut wakers);
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
        self.room.notify_waiters();
        busy
    }

    /// Whether the server wanted an authentication since the connection was opened.
    pub(crate) fn is_stranger(&self) -> bool {
        let state = self.lock();
        state.stranger || state.machine.is_unwelcome()
    }

    // ---- The driver of an open connection ----

    /// How many of the taken bytes go into one write where requests must not be divided.
    pub(crate) fn next_boundary(&self, limit: usize) -> usize {
        self.lock().machine.next_boundary(limit)
    }

    /// Moves what is to be written into `output`, which is empty.
    pub(crate) fn take_output(&self, output: &mut Output) {
        let mut state = self.lock();
        if state.machine.has_output() {
            state.machine.take_output(output);
        }
    }

    /// Tells that the socket took bytes.
    pub(crate) fn handle_written(&self, count: usize) {
        let mut state = self.lock();
        state.machine.handle_written(count);
        let waiting = state.waiting_for_room;
        drop(state);
        self.offer_room(waiting.min(1));
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
        state.machine.handle_received(now.into_std());
        let before = state.machine.in_flight();
        let outcome = state.settle(input, now, wakers);
        let in_flight = state.machine.in_flight();
        let freed = before.saturating_sub(in_flight);
        if freed > 0 {
            state.replied = true;
            let was_silent = self.watch.is_silent();
            state.breaker.answered();
            if was_silent {
                self.watch.look_again();
            }
        }
        state.tally.errors.protocol += u64::from(outcome.is_err());
        let load = (in_flight, state.slots.len());
        let waiting = state.waiting_for_room;
        drop(state);
        self.offer_room(waiting.min(freed));
        outcome.map(|()| load)
    }

    fn offer_room(&self, places: usize) {
        for _ in 0..places {
            self.room.notify_one();
        }
    }

    /// Gives up what is due; tells if the server has let so much become due that it counts as down.
    pub(crate) fn handle_timeout(
        &self,
        now: Instant,
        wakers: &mut Vec<Waker>,
    ) -> Result<Option<Tripped>, ProtocolError> {
        let mut state = self.lock();
        let machine = &mut state.machine;
        let late = machine.poll_timeout().map_or(Duration::ZERO, |due| now.into_std().saturating_duration_since(due));
        let silence = now.into_std().saturating_duration_since(machine.silent_since());
        // The server had no chance to be heard: its replies are read after this.
        if state.breaker.is_own_stall(late) {
            state.machine.excuse(now.into_std());
        }
        let before = state.tally.errors.timeouts;
        let outcome = state.machine.handle_timeout(now.into_std());
        state.settle(&mut InputBuffer::new(), now, wakers)?;
        outcome?;
        let timeouts = u32::try_from(state.tally.errors.timeouts - before).unwrap_or(u32::MAX);
        let tripped = state.breaker.timed_out(timeouts, silence, late).err();
        if self.watch.is_silent() {
            self.watch.look_again();
        }
        Ok(tripped)
    }

    /// Gives up what is due while no connection is open, and tells when to look again.
    pub(crate) fn expire(&self, now: Instant, wakers: &mut Vec<Waker>) -> Option<Instant> {
        let mut state = self.lock();
        if state.machine.earliest_deadline().is_some_and(|at| at <= now.into_std()) {
            state.machine.give_up(now.into_std());
            state.settle(&mut InputBuffer::new(), now, wakers).ok();
        }
        state.machine.earliest_deadline().map(Instant::from_std)
    }

    /// Remembers the driver's waker, unless there is something to write.
    pub(crate) fn park(&self, waker: &Waker, can_write: bool) -> Parked {
        let mut state = self.lock();
        if can_write && state.machine.has_output() {
            return Parked::HasOutput;
        }
        if state.condition == ConnectionState::Closed && state.machine.in_flight() == 0 {
            return Parked::Finished;
        }
        match &mut state.driver {
            Some(known) if known.will_wake(waker) => {}
            driver => *driver = Some(waker.clone()),
        }
        Parked::Until(state.machine.poll_timeout().map(Instant::from_std))
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
        let idle = state.machine.in_flight() == 0;
        if idle {
            state.machine.shrink();
            state.slots.shrink_to_fit();
        }
        idle
    }
}

impl Inner {
    /// Settles what was in flight when the connection ended; with a status of its own, if one says why.
    fn settle_ended(&mut self, status: Option<Status>, now: Instant, wakers: &mut Vec<Waker>) {
        while let Some(Event { tag, mut reply, last, .. }) = self.machine.poll_uncaused() {
            let (slot, place) = slot_and_place(tag);
            if let (Some(status), Status::Disconnected(_)) = (status, reply.status) {
                reply.status = status;
            }
            self.tally.settled(tag, reply.status, now);
            if let Some(slot) = self.slots.get_mut(slot) {
                wakers.extend(slot.settle(place, reply, last));
            }
        }
    }
}
