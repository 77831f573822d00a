//! Waiting for capacity on a connection, until a deadline.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

use crate::connection::shared::{ConnectionHandle, Queued};
use crate::connection::wait_queue::Ticket;
use crate::time::after;

/// A position in the queue for capacity, held until a deadline.
#[derive(Debug)]
pub(crate) struct CapacityWait {
    queued: Queued,
    length: usize,
    deadline: Instant,
    timer: Pin<Box<Sleep>>,
}

impl CapacityWait {
    /// Queues for the capacity that a value of this length needs.
    pub(crate) fn new(connection: &Arc<ConnectionHandle>, length: usize, deadline: Instant, waker: &Waker) -> Self {
        let queued = connection.queue(length, waker);
        Self { queued, length, deadline, timer: Box::pin(sleep_until(deadline.min(after(Instant::now(), RECHECK)))) }
    }

    /// Returns the length of the value to submit.
    pub(crate) fn length(&self) -> usize {
        self.length
    }

    /// Polls for the ticket to submit with; `None` if the deadline passes first.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Ticket>> {
        loop {
            let now = Instant::now();
            // The deadline wins even if capacity is available: a server that is marked down frees it at that time.
            if now >= self.deadline {
                return Poll::Ready(None);
            }
            if self.queued.poll(cx.waker(), now) {
                return Poll::Ready(Some(self.queued.ticket()));
            }
            ready!(self.timer.as_mut().poll(cx));
            self.timer.as_mut().reset(self.deadline.min(after(Instant::now(), RECHECK)));
        }
    }
}

/// How often a caller checks whether an earlier one has let its turn expire.
const RECHECK: Duration = Duration::from_millis(50);

#[cfg(all(test, not(shuttle)))]
mod tests {
    use std::future::poll_fn;

    use super::*;
    use crate::config::Overload;
    use crate::connection::shared::capacity::tests::{connection, disconnect, submit};

    #[tokio::test(start_paused = true)]
    async fn a_caller_waits_for_capacity_and_not_beyond_its_deadline() {
        let connection = connection(Overload::Wait, 1);
        let begin = Instant::now();
        assert!(submit(&connection, None, begin));
        let deadline = begin + Duration::from_secs(1);
        let mut wait = CapacityWait::new(&connection, 42, deadline, Waker::noop());
        assert_eq!(wait.length(), 42);
        assert_eq!(poll_fn(|cx| wait.poll(cx)).await, None);
        assert_eq!(Instant::now(), deadline);
        drop(wait);

        let mut wait = CapacityWait::new(&connection, 0, deadline + Duration::from_secs(1), Waker::noop());
        disconnect(&connection);
        assert!(poll_fn(|cx| wait.poll(cx)).await.is_some());
        assert_eq!(Instant::now(), deadline);
    }
}
