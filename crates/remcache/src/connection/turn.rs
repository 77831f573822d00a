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

/// A turn in the queue for capacity that is waited for until a deadline.
#[derive(Debug)]
pub(crate) struct Turn {
    queued: Queued,
    length: usize,
    deadline: Instant,
    timer: Pin<Box<Sleep>>,
}

impl Turn {
    /// Queues for capacity for a value of this length.
    pub(crate) fn new(link: &Arc<ConnectionHandle>, length: usize, deadline: Instant, waker: &Waker) -> Self {
        let queued = link.queue(length, waker);
        Self { queued, length, deadline, timer: Box::pin(sleep_until(deadline.min(after(Instant::now(), RECHECK)))) }
    }

    /// The length of the value that is to be submitted.
    pub(crate) fn length(&self) -> usize {
        self.length
    }

    /// The ticket to submit with, or nothing if the deadline came first.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Ticket>> {
        loop {
            let now = Instant::now();
            // Capacity that comes with the deadline, as a server is given up, comes too late.
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

/// How often a caller checks whether an earlier caller skips its turn.
const RECHECK: Duration = Duration::from_millis(50);
