//! Callers that wait for capacity on a connection.

use std::sync::Arc;
use std::task::Waker;

use tokio::time::Instant;

use super::{ConnectionHandle, Inner};
use crate::connection::wait_queue;

impl ConnectionHandle {
    /// Queues a caller that needs capacity for a value of this length.
    ///
    /// # Cancel safety
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

// With shuttle, the connection's mutex works only in its own tests.
#[cfg(all(test, not(shuttle)))]
pub(crate) mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::protocol::ProtocolSetting;
    use crate::config::{Config, Overload};
    use crate::connection::shared::{ConnectionState, Submitted};
    use crate::connection::slot::Slot;
    use crate::proto::{Deadline, Request};

    // All instants of a test are the same, so that no turn expires.

    pub(crate) fn connection(overload: Overload, max_in_flight: usize) -> Arc<ConnectionHandle> {
        let mut config =
            Config::new().protocol(ProtocolSetting::Binary).max_in_flight(max_in_flight).overload(overload);
        config.limits.max_output = 100;
        ConnectionHandle::for_test(&config, 0)
    }

    /// Creates a connection with one request in flight.
    fn busy_connection(overload: Overload, max_in_flight: usize) -> (Arc<ConnectionHandle>, Instant) {
        let (connection, now) = (connection(overload, max_in_flight), Instant::now());
        assert!(submit(&connection, None, now));
        (connection, now)
    }

    /// Loses the connection, which fails the requests in flight.
    pub(crate) fn disconnect(connection: &Arc<ConnectionHandle>) {
        connection.claim_task(0, None).expect("a request is in flight").disconnect("lost");
    }

    /// Submits a get; returns whether there was capacity for it.
    pub(crate) fn submit(connection: &ConnectionHandle, ticket: Option<wait_queue::Ticket>, now: Instant) -> bool {
        let deadline = Deadline { at: now.into_std() + Duration::from_secs(60), extend_by: Duration::ZERO };
        let slot = Slot::Waiting(Waker::noop().clone());
        !matches!(connection.submit(&Request::get("k"), deadline, slot, now, ticket), Submitted::Full)
    }

    fn turns<const N: usize>(waiting: &[Queued; N], now: Instant) -> [bool; N] {
        let has_turn = |queued: &Queued| queued.connection.lock().queue.is_turn_of(Some(queued.ticket), now);
        waiting.each_ref().map(has_turn)
    }

    #[test]
    fn later_callers_do_not_overtake_waiting_ones() {
        let (connection, now) = busy_connection(Overload::Wait, 1);
        let waiting = connection.queue(0, Waker::noop());
        disconnect(&connection);
        assert!(!submit(&connection, None, now), "the capacity is reserved");
        assert!(submit(&connection, Some(waiting.ticket()), now));
    }

    #[test]
    fn callers_that_do_not_wait_are_not_queued() {
        let (connection, now) = busy_connection(Overload::Fail, 1);
        let waiting = [(); 2].map(|()| connection.queue(0, Waker::noop()));
        disconnect(&connection);
        assert!(!submit(&connection, Some(waiting[1].ticket()), now), "it is the turn of another batch");
        assert!(submit(&connection, None, now));
    }

    #[test]
    fn as_many_callers_get_their_turn_as_requests_fit() {
        let (connection, now) = busy_connection(Overload::Wait, 3);
        let waiting = [(); 4].map(|()| connection.queue(0, Waker::noop()));
        assert_eq!(turns(&waiting, now), [true, true, false, false]);
    }

    #[test]
    fn one_value_of_any_length_gets_its_turn_and_others_as_they_fit() {
        let connection = connection(Overload::Wait, 10);
        let now = Instant::now();
        let waiting = [200, 80, 20, 1].map(|length| connection.queue(length, Waker::noop()));
        assert_eq!(turns(&waiting, now), [true, false, false, false]);
        let [large, others @ ..] = waiting;
        drop(large);
        assert_eq!(turns(&others, now), [true, true, false]);
    }

    #[test]
    fn waiting_callers_submit_and_are_refused_when_the_server_is_down() {
        let (connection, now) = busy_connection(Overload::Wait, 1);
        let waiting = connection.queue(0, Waker::noop());
        assert!(!waiting.poll(Waker::noop(), now));
        let task = connection.claim_task(0, None).expect("a request is in flight");
        task.set_state(ConnectionState::Down("refused".to_owned()));
        assert!(waiting.poll(Waker::noop(), now));
    }

    #[test]
    fn a_caller_whose_turn_it_is_waits_until_its_value_fits() {
        let connection = connection(Overload::Wait, 10);
        let now = Instant::now();
        let waiting = connection.queue(90, Waker::noop());
        assert!(waiting.poll(Waker::noop(), now));
        // A caller that was there before takes the capacity.
        assert!(submit(&connection, Some(waiting.ticket()), now));
        assert!(!waiting.poll(Waker::noop(), now), "25 + 90 bytes");
        disconnect(&connection);
        assert!(waiting.poll(Waker::noop(), now));
    }
}
