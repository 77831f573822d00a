//! Callers that wait for capacity on a connection.

use std::sync::Arc;
use std::task::Waker;

use tokio::time::Instant;

use super::{ConnectionHandle, Inner};
use crate::connection::wait_queue;

impl ConnectionHandle {
    /// Queues a caller that needs capacity for a value of this length.
    ///
    /// # Cancellation
    /// The turn of a caller that leaves passes to the next one.
    pub(crate) fn queue(self: &Arc<Self>, length: usize, waker: &Waker) -> Queued {
        let mut state = self.lock();
        let ticket = state.queue.push(length, waker);
        let mut wakers = Vec::new();
        // Capacity may have become free since the caller was refused.
        self.notify_queue(&mut state, Instant::now(), &mut wakers);
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
        Queued { connection: Arc::clone(self), ticket }
    }

    /// Returns whether a caller must wait for others that came earlier.
    #[inline]
    pub(super) fn has_to_queue(&self, state: &Inner, ticket: Option<wait_queue::Ticket>, now: Instant) -> bool {
        !state.queue.is_empty() && (self.is_queued || ticket.is_some()) && !state.queue.is_turn_of(ticket, now)
    }

    /// Notifies waiting callers if there is capacity for them.
    #[inline]
    pub(super) fn notify_queue(&self, state: &mut Inner, now: Instant, wakers: &mut Vec<Waker>) {
        if state.queue.is_empty() {
            return;
        }
        let Inner { queue, connection, refusal, .. } = state;
        let (most_in_flight, most_output) = self.limits;
        let has_capacity = |notified: usize, bytes: usize| {
            // While there is no output, one value of any length is accepted, but not a second one.
            let fits = connection.has_capacity(bytes) && (notified == 0 || bytes <= most_output);
            refusal.is_some() || fits && connection.in_flight() + notified < most_in_flight
        };
        queue.notify(has_capacity, now, wakers);
    }
}

/// A caller's position in the queue for capacity; dropping it leaves the queue.
#[derive(Debug)]
pub(crate) struct Queued {
    connection: Arc<ConnectionHandle>,
    ticket: wait_queue::Ticket,
}

impl Queued {
    /// Returns the ticket to submit with.
    pub(crate) fn ticket(&self) -> wait_queue::Ticket {
        self.ticket
    }

    /// Returns whether to submit now, because it is this caller's turn or because requests are refused; registers
    /// the waker otherwise.
    pub(crate) fn poll(&self, waker: &Waker, now: Instant) -> bool {
        let mut state = self.connection.lock();
        let is_ready = state.refusal.is_some()
            || state.queue.is_turn_of(Some(self.ticket), now)
                && state.connection.has_capacity(state.queue.length_of(self.ticket));
        if !is_ready {
            state.queue.requeue(self.ticket, waker);
        }
        is_ready
    }
}

impl Drop for Queued {
    fn drop(&mut self) {
        let mut state = self.connection.lock();
        state.queue.remove(self.ticket);
        let mut wakers = Vec::new();
        self.connection.notify_queue(&mut state, Instant::now(), &mut wakers);
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
    }
}
