//! What a submission returns, and how replies find their slots.

use crate::proto::{Rejected, Reply, Tag, Ticket};

/// The result of a submit.
#[derive(Debug)]
pub(crate) enum Submitted {
    /// The request is in flight.
    InFlight {
        /// The caller's hold on it.
        flight: Flight,
        /// Whether the connection has no task, or the watchdog does not know of the deadline.
        attend: bool,
    },
    /// The request is in flight; its reply will be discarded.
    Cast {
        /// Whether the connection has no task yet.
        attend: bool,
    },
    /// The outcome is known without asking.
    Refused(Reply),
    /// The limits are reached.
    Full,
}

/// A caller's hold on its request in flight.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Flight {
    pub(crate) slot: usize,
    pub(super) ticket: Ticket,
    /// How often a task of the connection had ended before.
    pub(crate) ends: u32,
}

/// A run of requests that was taken.
#[derive(Debug)]
pub(crate) struct TakenRun {
    /// How many requests were taken, refused ones included.
    pub(crate) taken: u32,
    /// Those that had their outcome without being sent, by their place in the run.
    pub(crate) refused: Vec<(u32, Reply)>,
    /// Where the replies come, if any was sent.
    pub(crate) slot: Option<usize>,
    /// Whether the connection has no task, or the watchdog does not know of the deadline.
    pub(crate) attend: bool,
    /// How often a task of the connection had ended before.
    pub(crate) ends: u32,
}

/// Tags: the slot in the low half, the place within a run in the high half.
pub(super) fn tag(slot: usize, place: u32) -> Tag {
    Tag(slot as u64 | u64::from(place) << 32)
}

pub(super) fn slot_and_place(tag: Tag) -> (usize, u32) {
    ((tag.0 & u64::from(u32::MAX)) as usize, (tag.0 >> 32) as u32)
}

pub(super) fn refused(rejected: Rejected) -> Submitted {
    match rejected {
        Rejected::Invalid(invalid) => Submitted::Refused(Reply::invalid(&invalid)),
        _ => Submitted::Full,
    }
}
