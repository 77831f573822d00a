//! Where a caller's replies wait for it.

use std::collections::VecDeque;
use std::task::{Poll, Waker};

use crate::proto::Reply;

/// Where the replies to one caller wait.
#[derive(Debug)]
pub(crate) enum Slot {
    /// The single reply has not come; this wakes the caller.
    Waiting(Waker),
    /// The single reply is there.
    Ready(Reply),
    /// The replies of a request that has many.
    Many(Box<Many>),
    /// The replies of a run of requests.
    Run(Box<Run>),
}

/// ReplyStream to one request, as they come.
#[derive(Debug, Default)]
pub(crate) struct Many {
    pub(crate) replies: VecDeque<Reply>,
    pub(crate) ended: bool,
    pub(crate) waker: Option<Waker>,
}

/// ReplyStream to a run of requests, each with its place in the run.
///
/// The caller is woken with the first reply of each read, so that it works on one part while the
/// server works on the next.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) replies: Vec<(u32, Reply)>,
    pub(crate) unanswered: u32,
    pub(crate) waker: Option<Waker>,
}

impl Many {
    /// The next reply; `None` after the last.
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

/// How many replies of a run there is room for at first: about what one read gives of small ones.
const REPLIES_AT_ONCE: u32 = 128;
/// More packets than any server's statistics have: past it they are read and thrown away.
const MOST_REPLIES: usize = 100_000;

impl Slot {
    pub(crate) fn run(unanswered: u32) -> Self {
        let replies = Vec::with_capacity(unanswered.min(REPLIES_AT_ONCE) as usize);
        Self::Run(Box::new(Run { replies, unanswered, waker: None }))
    }

    /// Whether there is something for the caller; remembers its waker if not.
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
            Self::Run(run) => {
                let ready = run.unanswered == 0 || !run.replies.is_empty();
                if !ready {
                    run.waker = Some(waker.clone());
                }
                ready
            }
        }
    }

    /// Stores a reply; returns the waker to wake.
    // A reply that is handed over in memory costs as much as all that is done with it.
    #[inline(always)]
    pub(crate) fn settle(&mut self, place: u32, reply: Reply, last: bool) -> Option<Waker> {
        match self {
            Self::Waiting(_) => match std::mem::replace(self, Self::Ready(reply)) {
                Self::Waiting(waker) => Some(waker),
                _ => None,
            },
            Self::Ready(_) => None,
            Self::Many(many) => {
                many.ended |= last;
                if many.replies.len() < MOST_REPLIES || last {
                    many.replies.push_back(reply);
                }
                many.waker.take()
            }
            Self::Run(run) => {
                run.replies.push((place, reply));
                run.unanswered = run.unanswered.saturating_sub(u32::from(last));
                run.waker.take()
            }
        }
    }
}
