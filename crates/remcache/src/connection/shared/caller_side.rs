//! Callers' access to a connection: they submit requests, poll for replies and abandon what they no longer need.

use std::task::{Poll, Waker};

use tokio::time::Instant;

use super::{ConnectionHandle, wake};
use crate::connection::shared::flight::{Flight, Submitted, TakenRun, refused, slot_and_place, tag};
use crate::connection::slot::Slot;
use crate::connection::wait_queue;
use crate::observe::Established;
use crate::proto::{Deadline, Rejected, Reply, Request, Status};
use crate::result::take_reply;

impl ConnectionHandle {
    /// Submits a request whose reply goes to a slot; a caller that has waited for capacity passes its request_id.
    #[inline]
    pub(crate) fn submit(
        &self,
        request: &Request<'_>,
        deadline: Deadline,
        slot: Slot,
        now: Instant,
        request_id: Option<wait_queue::RequestId>,
    ) -> Submitted {
        let mut state = self.lock();
        let entry = match state.admit() {
            Ok(()) => state.slots.vacant_key(),
            Err(reply) => return Submitted::Refused(reply),
        };
        if self.has_to_queue(&state, request_id, now) {
            return Submitted::Full;
        }
        match state.connection.submit(request, Some(tag(entry, 0)), deadline, now.into_std()) {
            Ok(request_id) => {
                state.slots.insert(slot);
                state.counters.submitted(tag(entry, 0), now);
                let attend = state.needs_attention(deadline, now);
                let flight = Flight { slot: entry, request_id, ends: state.ends };
                wake(state);
                Submitted::InFlight { flight, attend }
            }
            Err(rejected) => refused(rejected),
        }
    }

    /// Submits a request whose reply is discarded.
    pub(crate) fn send_no_reply(&self, request: &Request<'_>, deadline: Deadline, now: Instant) -> Submitted {
        let mut state = self.lock();
        if let Err(reply) = state.admit() {
            return Submitted::Refused(reply);
        }
        if self.has_to_queue(&state, None, now) {
            return Submitted::Full;
        }
        match state.connection.submit(request, None, deadline, now.into_std()) {
            Ok(_) => {
                let attend = !state.is_attended();
                wake(state);
                Submitted::NoReply { attend }
            }
            Err(rejected) => refused(rejected),
        }
    }

    /// Submits up to `count` requests as one batch, as many as there is capacity for; all replies go to one slot.
    #[inline]
    pub(crate) fn submit_run<'r>(
        &self,
        count: usize,
        request: impl Fn(usize) -> Request<'r>,
        deadline: Deadline,
        now: Instant,
        request_id: Option<wait_queue::RequestId>,
    ) -> TakenRun {
        let mut state = self.lock();
        let slot = state.slots.vacant_key();
        let mut run = TakenRun { taken: 0, refused: Vec::new(), slot: None, attend: false, ends: state.ends };
        if state.refusal.is_none() && self.has_to_queue(&state, request_id, now) {
            return run;
        }
        state.connection.begin_batch(count);
        for place in 0..count {
            let request = request(place);
            if let Err(reply) = state.admit() {
                run.refused.push((run.taken, reply));
            } else {
                match state.connection.submit(&request, Some(tag(slot, run.taken)), deadline, now.into_std()) {
                    Ok(_) => {}
                    Err(Rejected::Invalid(invalid)) => run.refused.push((run.taken, Reply::invalid(&invalid))),
                    Err(_) => break,
                }
            }
            run.taken += 1;
        }
        state.connection.begin_batch(0);
        let sent = run.taken - u32::try_from(run.refused.len()).unwrap_or(run.taken);
        if sent > 0 {
            run.slot = Some(state.slots.insert(Slot::run(sent)));
            state.counters.submitted(tag(slot, 0), now);
            run.attend = state.needs_attention(deadline, now);
            wake(state);
        }
        run
    }

    /// Polls for the reply to a single request, passes it to `take`, and frees the slot.
    ///
    /// If the request failed because the connection's task ended, its reply is stored in `interrupted` instead, and the
    /// result is pending without a wake-up: the caller may submit the request again.
    #[inline]
    pub(crate) fn poll_reply<T>(
        &self,
        flight: Flight,
        waker: &Waker,
        interrupted: &mut Option<Reply>,
        take: impl FnOnce(&mut Reply, &Established) -> T,
    ) -> Poll<T> {
        let mut state = self.lock();
        let state = &mut *state;
        let has_task_ended = state.has_task_ended(flight.ends);
        let Some(slot) = state.slots.get_mut(flight.slot) else {
            return Poll::Ready(take(&mut missing_reply(), &state.established));
        };
        if !slot.poll(waker) {
            return Poll::Pending;
        }
        let taken = match slot {
            Slot::Ready(reply) if has_task_ended && is_disconnected(reply) => {
                *interrupted = Some(take_reply(reply));
                Poll::Pending
            }
            Slot::Ready(reply) => Poll::Ready(take(reply, &state.established)),
            _ => Poll::Ready(take(&mut missing_reply(), &state.established)),
        };
        state.slots.try_remove(flight.slot);
        taken
    }

    /// Returns whether a request that was submitted in epoch `ends` failed because the connection's task ended.
    pub(crate) fn is_interrupted(&self, ends: u32, reply: &Reply) -> bool {
        is_disconnected(reply) && self.lock().has_task_ended(ends)
    }

    /// Polls for replies to a batch, and swaps them with the empty list; returns whether they are the last, after which
    /// the slot is free.
    pub(crate) fn poll_run(&self, slot: usize, replies: &mut Vec<(u32, Reply)>, waker: &Waker) -> Poll<bool> {
        let mut state = self.lock();
        let Some(entry) = state.slots.get_mut(slot) else { return Poll::Ready(true) };
        if !entry.poll(waker) {
            return Poll::Pending;
        }
        let Slot::Run(run) = entry else { return Poll::Ready(true) };
        std::mem::swap(&mut run.replies, replies);
        let ended = run.unanswered == 0;
        if ended {
            state.slots.try_remove(slot);
        }
        Poll::Ready(ended)
    }

    /// Polls for the next of several replies; `None` after the last, when the slot is free.
    pub(crate) fn poll_next(&self, slot: usize, waker: &Waker) -> Poll<Option<Reply>> {
        let mut state = self.lock();
        let Some(Slot::Many(many)) = state.slots.get_mut(slot) else { return Poll::Ready(None) };
        match many.next(waker) {
            Poll::Ready(None) => {
                state.slots.try_remove(slot);
                Poll::Ready(None)
            }
            other => other,
        }
    }

    /// Abandons a request: its reply will be read and discarded.
    pub(crate) fn abandon(&self, flight: Flight) {
        let mut state = self.lock();
        state.connection.abandon(flight.request_id, Instant::now().into_std());
        state.counters.abandoned(|tag| slot_and_place(tag).0 == flight.slot);
        state.slots.try_remove(flight.slot);
        // The I/O loop may need a timeout for the number of abandoned requests.
        wake(state);
    }

    /// Abandons the unanswered requests of a batch.
    pub(crate) fn abandon_run(&self, slot: usize) {
        let mut state = self.lock();
        let now = Instant::now().into_std();
        state.connection.abandon_where(|tag| slot_and_place(tag).0 == slot, now);
        state.counters.abandoned(|tag| slot_and_place(tag).0 == slot);
        state.slots.try_remove(slot);
        wake(state);
    }
}

/// Whether a reply says that the connection was lost.
#[inline]
fn is_disconnected(reply: &Reply) -> bool {
    matches!(reply.status, Status::Disconnected(_))
}

/// Returns the reply for a missing slot, which no caller should ever see.
#[cold]
fn missing_reply() -> Reply {
    Reply::new(Status::InternalError)
}
