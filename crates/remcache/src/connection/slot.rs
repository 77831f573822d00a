//! Slots: where replies wait for their callers.

use std::collections::VecDeque;
use std::task::{Poll, Waker};

use crate::proto::Reply;

/// The replies to one caller's requests.
#[derive(Debug)]
pub(crate) enum Slot {
    /// The single reply has not arrived; the waker is the caller's.
    Waiting(Waker),
    /// The single reply has arrived.
    Ready(Reply),
    /// Several replies to one request.
    Many(Box<ReplyQueue>),
    /// The replies to a batch of requests.
    Batch(Box<BatchReplies>),
}

/// Several replies to one request, in the order of their arrival.
#[derive(Debug, Default)]
pub(crate) struct ReplyQueue {
    pub(crate) replies: VecDeque<Reply>,
    pub(crate) ended: bool,
    pub(crate) waker: Option<Waker>,
}

/// The replies to a batch of requests, each with the request's index in the batch.
///
/// The caller is woken with the first reply of each read, so that it works on one part while the
/// server works on the next.
#[derive(Debug)]
pub(crate) struct BatchReplies {
    pub(crate) replies: Vec<(u32, Reply)>,
    pub(crate) unanswered: u32,
    pub(crate) waker: Option<Waker>,
}

impl ReplyQueue {
    /// Polls for the next reply; `None` after the last.
    pub(crate) fn next(&mut self, waker: &Waker) -> Poll<Option<Reply>> {
        match self.replies.pop_front() {
            Some(reply) => Poll::Ready(Some(reply)),
            None if self.ended => Poll::Ready(None),
            None => {
                self.waker = Some(waker.clone());
                Poll::Pending
            }
        }
    }
}

/// Initial capacity for the replies to a batch: about as many small ones as one read returns.
const REPLIES_AT_ONCE: u32 = 128;
/// The maximum number of unread replies to one request, which no server's statistics reach; later replies are
/// discarded.
const MAX_REPLIES: usize = 100_000;

impl Slot {
    pub(crate) fn batch(unanswered: u32) -> Self {
        let replies = Vec::with_capacity(unanswered.min(REPLIES_AT_ONCE) as usize);
        Self::Batch(Box::new(BatchReplies { replies, unanswered, waker: None }))
    }

    /// Returns whether a reply is available; registers the waker if not.
    #[inline]
    pub(crate) fn poll(&mut self, waker: &Waker) -> bool {
        match self {
            Self::Ready(_) => true,
            Self::Waiting(known) => {
                if !known.will_wake(waker) {
                    known.clone_from(waker);
                }
                false
            }
            Self::Many(_) => true,
            Self::Batch(batch) => {
                let ready = batch.unanswered == 0 || !batch.replies.is_empty();
                if !ready {
                    batch.waker = Some(waker.clone());
                }
                ready
            }
        }
    }

    /// Stores a reply; returns the waker to wake.
    // Not inlined, the reply is copied once more, which costs as much as everything else here.
    #[inline(always)]
    pub(crate) fn store_reply(&mut self, index: u32, reply: Reply, last: bool) -> Option<Waker> {
        match self {
            Self::Waiting(_) => match std::mem::replace(self, Self::Ready(reply)) {
                Self::Waiting(waker) => Some(waker),
                _ => None,
            },
            Self::Ready(_) => None,
            Self::Many(many) => {
                many.ended |= last;
                if many.replies.len() < MAX_REPLIES || last {
                    many.replies.push_back(reply);
                }
                many.waker.take()
            }
            Self::Batch(batch) => {
                batch.replies.push((index, reply));
                batch.unanswered = batch.unanswered.saturating_sub(u32::from(last));
                batch.waker.take()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::connection::wait_queue::tests::WakeCounter;
    use crate::proto::Status;

    fn reply() -> Reply {
        Reply::new(Status::NoError)
    }

    #[test]
    fn a_single_reply_wakes_its_caller_once() {
        let mut slot = Slot::Waiting(Waker::noop().clone());
        assert!(!slot.poll(Waker::noop()));
        assert!(slot.store_reply(0, reply(), true).is_some());
        assert!(slot.poll(Waker::noop()));
        assert!(slot.store_reply(0, reply(), true).is_none(), "a second reply is discarded");
    }

    #[test]
    fn a_caller_is_woken_by_the_waker_of_its_last_poll() {
        let waker = Waker::from(Arc::<WakeCounter>::default());
        let mut slot = Slot::Waiting(Waker::noop().clone());
        slot.poll(&waker);
        let woken = slot.store_reply(0, reply(), true).expect("a caller waits");
        assert!(woken.will_wake(&waker));
    }

    #[test]
    fn replies_to_a_batch_are_available_before_the_last_one() {
        let mut slot = Slot::batch(2);
        assert!(!slot.poll(Waker::noop()));
        assert!(slot.store_reply(1, reply(), true).is_some());
        assert!(slot.store_reply(0, reply(), false).is_none(), "the caller is already woken");
        assert!(slot.poll(Waker::noop()));
        let Slot::Batch(batch) = &mut slot else { panic!("{slot:?}") };
        assert_eq!(batch.replies.drain(..).map(|(index, _)| index).collect::<Vec<_>>(), [1, 0]);
        assert_eq!(batch.unanswered, 1);
        assert!(!slot.poll(Waker::noop()));
        assert!(slot.store_reply(0, reply(), true).is_some());
        let Slot::Batch(batch) = &mut slot else { panic!("{slot:?}") };
        batch.replies.clear();
        assert!(slot.poll(Waker::noop()), "all requests are answered");
    }

    #[test]
    fn several_replies_end_with_the_last_one() {
        let mut slot = Slot::Many(Box::default());
        let next = |slot: &mut Slot| match slot {
            Slot::Many(many) => many.next(Waker::noop()).map(|reply| reply.is_some()),
            _ => panic!("{slot:?}"),
        };
        assert_eq!(next(&mut slot), Poll::Pending);
        assert!(slot.store_reply(0, reply(), false).is_some());
        assert_eq!((next(&mut slot), next(&mut slot)), (Poll::Ready(true), Poll::Pending));
        slot.store_reply(0, reply(), true);
        assert_eq!((next(&mut slot), next(&mut slot)), (Poll::Ready(true), Poll::Ready(false)));
    }

    #[test]
    fn unread_replies_are_limited_and_the_last_one_is_kept() {
        let mut slot = Slot::Many(Box::default());
        for _ in 0..MAX_REPLIES + 2 {
            slot.store_reply(0, reply(), false);
        }
        slot.store_reply(0, Reply::new(Status::Busy), true);
        let Slot::Many(many) = slot else { panic!("{slot:?}") };
        assert_eq!(many.replies.len(), MAX_REPLIES + 1);
        assert_eq!(many.replies.back().map(|reply| reply.status), Some(Status::Busy));
    }
}
