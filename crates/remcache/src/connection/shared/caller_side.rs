//! Callers' access to a connection: they submit requests, poll for replies and abandon what they no longer need.

use std::task::{Poll, Waker};

use tokio::time::Instant;

use super::{ConnectionHandle, wake};
use crate::connection::shared::submission::{Flight, Submitted, SubmittedBatch, refused, slot_and_index, tag};
use crate::connection::slot::Slot;
use crate::connection::wait_queue;
use crate::observe::Established;
use crate::proto::{Deadline, Rejected, Reply, Request, Status};
use crate::result::take_reply;

impl ConnectionHandle {
    /// Submits a request whose reply goes to a slot; a caller that has waited for capacity passes its ticket.
    #[inline]
    pub(crate) fn submit(
        &self,
        request: &Request<'_>,
        deadline: Deadline,
        slot: Slot,
        now: Instant,
        ticket: Option<wait_queue::Ticket>,
    ) -> Submitted {
        let mut state = self.lock();
        let entry = match state.admit() {
            Ok(()) => state.slots.vacant_key(),
            Err(reply) => return Submitted::Refused(reply),
        };
        if self.has_to_queue(&state, ticket, now) {
            return Submitted::Full;
        }
        match state.connection.submit(request, Some(tag(entry, 0)), deadline, now.into_std()) {
            Ok(request_id) => {
                state.slots.insert(slot);
                state.counters.submitted(tag(entry, 0), now);
                let needs_attention = state.needs_attention(deadline, now);
                let flight = Flight { slot: entry, request_id, epoch: state.epoch };
                wake(state);
                Submitted::InFlight { flight, needs_attention }
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
                let needs_attention = !state.has_running_task();
                wake(state);
                Submitted::NoReply { needs_attention }
            }
            Err(rejected) => refused(rejected),
        }
    }

    /// Submits up to `count` requests as one batch, as many as there is capacity for; all replies go to one slot.
    #[inline]
    pub(crate) fn submit_batch<'r>(
        &self,
        count: usize,
        request: impl Fn(usize) -> Request<'r>,
        deadline: Deadline,
        now: Instant,
        ticket: Option<wait_queue::Ticket>,
    ) -> SubmittedBatch {
        let mut state = self.lock();
        let slot = state.slots.vacant_key();
        let mut batch = SubmittedBatch {
            processed: 0,
            refused: Vec::new(),
            slot: None,
            needs_attention: false,
            epoch: state.epoch,
        };
        if state.refusal.is_none() && self.has_to_queue(&state, ticket, now) {
            return batch;
        }
        state.connection.begin_batch(count);
        for index in 0..count {
            let request = request(index);
            if let Err(reply) = state.admit() {
                batch.refused.push((batch.processed, reply));
            } else {
                match state.connection.submit(&request, Some(tag(slot, batch.processed)), deadline, now.into_std()) {
                    Ok(_) => {}
                    Err(Rejected::Invalid(invalid)) => batch.refused.push((batch.processed, Reply::invalid(&invalid))),
                    Err(_) => break,
                }
            }
            batch.processed += 1;
        }
        state.connection.begin_batch(0);
        let sent = batch.processed - u32::try_from(batch.refused.len()).unwrap_or(batch.processed);
        if sent > 0 {
            batch.slot = Some(state.slots.insert(Slot::batch(sent)));
            state.counters.submitted(tag(slot, 0), now);
            batch.needs_attention = state.needs_attention(deadline, now);
            wake(state);
        }
        batch
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
        let has_task_ended = state.has_task_ended(flight.epoch);
        let Some(slot) = state.slots.get_mut(flight.slot) else {
            return Poll::Ready(take(&mut missing_reply(), &state.established));
        };
        if !slot.poll(waker) {
            return Poll::Pending;
        }
        let polled = match slot {
            Slot::Ready(reply) if has_task_ended && is_disconnected(reply) => {
                *interrupted = Some(take_reply(reply));
                Poll::Pending
            }
            Slot::Ready(reply) => Poll::Ready(take(reply, &state.established)),
            _ => Poll::Ready(take(&mut missing_reply(), &state.established)),
        };
        state.slots.try_remove(flight.slot);
        polled
    }

    /// Returns whether a request that was submitted in `epoch` failed because the connection's task ended.
    pub(crate) fn is_interrupted(&self, epoch: u32, reply: &Reply) -> bool {
        is_disconnected(reply) && self.lock().has_task_ended(epoch)
    }

    /// Polls for replies to a batch, and swaps them with the empty list; returns whether they are the last, after which
    /// the slot is free.
    pub(crate) fn poll_batch(&self, slot: usize, replies: &mut Vec<(u32, Reply)>, waker: &Waker) -> Poll<bool> {
        let mut state = self.lock();
        let Some(entry) = state.slots.get_mut(slot) else { return Poll::Ready(true) };
        if !entry.poll(waker) {
            return Poll::Pending;
        }
        let Slot::Batch(batch) = entry else { return Poll::Ready(true) };
        std::mem::swap(&mut batch.replies, replies);
        let ended = batch.unanswered == 0;
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
        state.counters.abandoned(|tag| slot_and_index(tag).0 == flight.slot);
        state.slots.try_remove(flight.slot);
        // The I/O loop may need a timeout for the number of abandoned requests.
        wake(state);
    }

    /// Abandons the unanswered requests of a batch.
    pub(crate) fn abandon_batch(&self, slot: usize) {
        let mut state = self.lock();
        let now = Instant::now().into_std();
        state.connection.abandon_where(|tag| slot_and_index(tag).0 == slot, now);
        state.counters.abandoned(|tag| slot_and_index(tag).0 == slot);
        state.slots.try_remove(slot);
        wake(state);
    }
}

/// Returns whether a reply says that the connection was lost.
#[inline]
fn is_disconnected(reply: &Reply) -> bool {
    matches!(reply.status, Status::Disconnected(_))
}

/// Returns the reply for a missing slot, which no caller should ever see.
#[cold]
fn missing_reply() -> Reply {
    Reply::new(Status::InternalError)
}
