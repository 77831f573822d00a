//! Callers that wait for capacity on a connection: first come, first served.
//!
//! The capacity that a notified caller needs is reserved for it, and later callers queue behind it. A
//! reservation that is not used, because the caller's future is not polled, expires soon.

use std::collections::VecDeque;
use std::task::Waker;
use std::time::Duration;

use tokio::time::Instant;

/// The queue of waiting callers.
#[derive(Debug, Default)]
pub(super) struct WaitQueue {
    entries: VecDeque<Waiter>,
    /// The ticket of the first entry; tickets are consecutive.
    first: u64,
    /// The first ticket that may not have been notified.
    next: u64,
    waiting: usize,
    /// Notified callers, and the bytes of their values.
    notified: usize,
    notified_bytes: usize,
}

#[derive(Debug)]
struct Waiter {
    /// The length of the value to submit.
    length: usize,
    state: WaiterState,
}

#[derive(Debug)]
enum WaiterState {
    Waiting(Waker),
    /// It is this caller's turn, since this instant.
    Notified(Instant),
    Gone,
}

/// A caller's position in the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ticket(u64);

impl WaitQueue {
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.waiting == 0
    }

    /// Appends a caller that needs capacity for a value of this length.
    pub(super) fn push(&mut self, length: usize, waker: &Waker) -> Ticket {
        let ticket = self.first + self.entries.len() as u64;
        self.entries.push_back(Waiter { length, state: WaiterState::Waiting(waker.clone()) });
        self.waiting += 1;
        Ticket(ticket)
    }

    /// Removes a caller that has used its turn or stopped waiting.
    pub(super) fn remove(&mut self, ticket: Ticket) {
        let Some(entry) = self.entry(ticket) else { return };
        let length = entry.length;
        match std::mem::replace(&mut entry.state, WaiterState::Gone) {
            WaiterState::Waiting(_) => {}
            WaiterState::Notified(_) => self.end_turn(length),
            WaiterState::Gone => return,
        }
        self.waiting -= 1;
        while let Some(Waiter { state: WaiterState::Gone, .. }) = self.entries.front() {
            self.entries.pop_front();
            self.first += 1;
        }
        self.next = self.next.max(self.first);
        if self.entries.is_empty() {
            self.entries.shrink_to(KEPT_ENTRIES);
        }
    }

    /// Returns the length of a caller's value.
    pub(super) fn length_of(&self, ticket: Ticket) -> usize {
        self.index(ticket).and_then(|index| self.entries.get(index)).map_or(0, |entry| entry.length)
    }

    /// Makes the caller wait again at its old position, because there is no capacity or it is not its turn.
    pub(super) fn requeue(&mut self, ticket: Ticket, waker: &Waker) {
        let Some(entry) = self.entry(ticket) else { return };
        let length = entry.length;
        match &mut entry.state {
            WaiterState::Waiting(known) => known.clone_from(waker),
            WaiterState::Notified(_) => {
                entry.state = WaiterState::Waiting(waker.clone());
                self.end_turn(length);
                self.next = self.next.min(ticket.0);
            }
            WaiterState::Gone => {}
        }
    }

    /// Returns whether it is the turn of this caller, or of a new one without a ticket.
    pub(super) fn is_turn_of(&self, ticket: Option<Ticket>, now: Instant) -> bool {
        let own = ticket.and_then(|ticket| self.entries.get(self.index(ticket)?));
        let has_turn = own.is_some_and(|entry| matches!(entry.state, WaiterState::Notified(_)));
        has_turn || self.is_empty() || self.has_expired_turn(now)
    }

    /// Returns whether the first caller has let its turn expire.
    fn has_expired_turn(&self, now: Instant) -> bool {
        let since = self.entries.front().map(|entry| &entry.state);
        matches!(since, Some(WaiterState::Notified(since)) if now.saturating_duration_since(*since) > MAX_TURN)
    }

    /// Notifies as many callers as there is capacity for.
    ///
    /// `has_capacity` receives the number of callers already notified, and the bytes that they and the next
    /// one need.
    pub(super) fn notify(
        &mut self,
        has_capacity: impl Fn(usize, usize) -> bool,
        now: Instant,
        wakers: &mut Vec<Waker>,
    ) {
        while let Some(index) = self.index(Ticket(self.next)) {
            let Some(entry) = self.entries.get_mut(index) else { return };
            if matches!(entry.state, WaiterState::Waiting(_)) {
                let bytes = self.notified_bytes.saturating_add(entry.length);
                if !has_capacity(self.notified, bytes) {
                    return;
                }
                if let WaiterState::Waiting(waker) = std::mem::replace(&mut entry.state, WaiterState::Notified(now)) {
                    wakers.push(waker);
                }
                self.notified += 1;
                self.notified_bytes = bytes;
            }
            self.next += 1;
        }
    }

    fn end_turn(&mut self, length: usize) {
        self.notified -= 1;
        self.notified_bytes = self.notified_bytes.saturating_sub(length);
    }

    fn entry(&mut self, ticket: Ticket) -> Option<&mut Waiter> {
        let index = self.index(ticket)?;
        self.entries.get_mut(index)
    }

    fn index(&self, ticket: Ticket) -> Option<usize> {
        ticket.0.checked_sub(self.first).and_then(|index| usize::try_from(index).ok())
    }
}

/// How long a turn is reserved for a caller that does not use it.
const MAX_TURN: Duration = Duration::from_millis(5);
/// Entries that an empty queue keeps allocated.
const KEPT_ENTRIES: usize = 16;

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use super::*;

    /// A waker that counts its calls.
    #[derive(Debug, Default)]
    pub(crate) struct WakeCounter(pub(crate) AtomicUsize);

    impl Wake for WakeCounter {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A queue of callers without values, and the free capacity of its connection.
    struct Fixture {
        queue: WaitQueue,
        free: usize,
        now: Instant,
    }

    impl Fixture {
        fn new(free: usize) -> Self {
            Self { queue: WaitQueue::default(), free, now: Instant::now() }
        }

        fn push(&mut self) -> Ticket {
            self.queue.push(0, Waker::noop())
        }

        /// Notifies callers and returns how many.
        fn notify(&mut self) -> usize {
            let (mut wakers, free) = (Vec::new(), self.free);
            self.queue.notify(|notified, _| notified < free, self.now, &mut wakers);
            wakers.len()
        }

        fn has_turn(&self, ticket: Ticket) -> bool {
            self.queue.is_turn_of(Some(ticket), self.now)
        }
    }

    #[test]
    fn turns_are_given_in_order_and_as_many_as_there_is_capacity_for() {
        let mut scene = Fixture::new(2);
        let tickets: Vec<_> = (0..4).map(|_| scene.push()).collect();
        assert_eq!(scene.notify(), 2);
        assert_eq!(
            tickets.iter().map(|ticket| scene.has_turn(*ticket)).collect::<Vec<_>>(),
            [true, true, false, false]
        );
        assert!(!scene.queue.is_turn_of(None, scene.now), "a caller that comes later");
        assert_eq!(scene.notify(), 0);
        scene.queue.remove(tickets[1]);
        assert_eq!(scene.notify(), 1);
        assert!(scene.has_turn(tickets[2]) && !scene.has_turn(tickets[3]));
    }

    #[test]
    fn a_turn_of_a_caller_that_goes_away_passes_to_the_next() {
        let mut scene = Fixture::new(1);
        let (one, two) = (scene.push(), scene.push());
        assert_eq!(scene.notify(), 1);
        scene.queue.remove(one);
        assert_eq!(scene.notify(), 1);
        assert!(scene.has_turn(two));
        scene.queue.remove(two);
        scene.queue.remove(two);
        assert!(scene.queue.is_empty() && scene.queue.is_turn_of(None, scene.now));
    }

    #[test]
    fn a_caller_that_finds_no_capacity_keeps_its_place() {
        let mut scene = Fixture::new(1);
        let (one, two) = (scene.push(), scene.push());
        assert_eq!(scene.notify(), 1);
        scene.queue.requeue(one, Waker::noop());
        assert!(!scene.has_turn(one));
        assert_eq!(scene.notify(), 1);
        assert!(scene.has_turn(one) && !scene.has_turn(two));
    }

    #[test]
    fn an_unused_turn_passes_to_the_next_waiter() {
        let mut scene = Fixture::new(1);
        let (one, two) = (scene.push(), scene.push());
        assert_eq!(scene.notify(), 1);
        scene.now += MAX_TURN;
        assert!(!scene.has_turn(two) && !scene.queue.is_turn_of(None, scene.now));
        scene.now += Duration::from_millis(1);
        assert!(scene.has_turn(two) && scene.queue.is_turn_of(None, scene.now));
        assert!(scene.has_turn(one));
    }

    #[test]
    fn large_values_wait_for_their_bytes() {
        let mut scene = Fixture::new(0);
        let tickets = [10, 20, 30].map(|length| scene.queue.push(length, Waker::noop()));
        assert_eq!(tickets.map(|ticket| scene.queue.length_of(ticket)), [10, 20, 30]);
        let mut wakers = Vec::new();
        scene.queue.notify(|_, bytes| bytes <= 30, scene.now, &mut wakers);
        assert_eq!(wakers.len(), 2);
        scene.queue.remove(tickets[0]);
        scene.queue.notify(|_, bytes| bytes <= 30, scene.now, &mut wakers);
        assert_eq!(wakers.len(), 2, "20 bytes are still to come");
        scene.queue.remove(tickets[1]);
        scene.queue.notify(|_, bytes| bytes <= 30, scene.now, &mut wakers);
        assert_eq!(wakers.len(), 3);
    }

    #[test]
    fn the_waiter_whose_turn_it_is_is_woken() {
        let woken = Arc::new(WakeCounter::default());
        let mut queue = WaitQueue::default();
        queue.push(0, &Waker::from(Arc::clone(&woken)));
        let mut wakers = Vec::new();
        queue.notify(|_, _| true, Instant::now(), &mut wakers);
        wakers.into_iter().for_each(Waker::wake);
        assert_eq!(woken.0.load(Ordering::Relaxed), 1);
    }
}
