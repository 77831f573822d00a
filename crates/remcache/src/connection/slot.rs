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
    Many(Box<Many>),
    /// The replies to a batch of requests.
    Batch(Box<BatchReplies>),
}

/// Several replies to one request, in the order of their arrival.
#[derive(Debug, Default)]
pub(crate) struct Many {
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

impl Many {
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
/// The most unread replies to one request, more than any server's statistics have; replies beyond are discarded.
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
