//! The results of submitting requests, and the tags that map replies to slots.

use crate::proto::{Rejected, Reply, RequestId, Tag};

/// The result of a submit.
#[derive(Debug)]
pub(crate) enum Submitted {
    /// The request is in flight.
    InFlight {
        /// Identifies the request.
        flight: Flight,
        /// Whether the caller has to start the connection's task or register the deadline with the watchdog.
        needs_attention: bool,
    },
    /// The request is in flight; its reply will be discarded.
    NoReply {
        /// Whether the caller has to start the connection's task.
        needs_attention: bool,
    },
    /// The request failed without being sent.
    Refused(Reply),
    /// A limit of the connection is reached.
    Full,
}

/// A request in flight.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Flight {
    pub(crate) slot: usize,
    pub(super) request_id: RequestId,
    /// The connection's epoch: how many of its tasks had ended.
    pub(crate) epoch: u32,
}

/// The result of submitting a batch.
#[derive(Debug)]
pub(crate) struct SubmittedBatch {
    /// The number of processed requests, including refused ones.
    pub(crate) processed: u32,
    /// Requests that failed without being sent, by their index in the batch.
    pub(crate) refused: Vec<(u32, Reply)>,
    /// The slot that receives the replies, if any request was submitted.
    pub(crate) slot: Option<usize>,
    /// Whether the caller has to start the connection's task or register the deadline with the watchdog.
    pub(crate) needs_attention: bool,
    /// The connection's epoch: how many of its tasks had ended.
    pub(crate) epoch: u32,
}

/// Encodes a tag: the slot in the low half, the index within a batch in the high half.
pub(super) fn tag(slot: usize, index: u32) -> Tag {
    Tag(slot as u64 | u64::from(index) << 32)
}

pub(super) fn slot_and_index(tag: Tag) -> (usize, u32) {
    ((tag.0 & u64::from(u32::MAX)) as usize, (tag.0 >> 32) as u32)
}

pub(super) fn refused(rejected: Rejected) -> Submitted {
    match rejected {
        Rejected::Invalid(invalid) => Submitted::Refused(Reply::invalid(&invalid)),
        _ => Submitted::Full,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::InvalidRequest;

    #[test]
    fn a_tag_has_a_slot_and_an_index() {
        for (slot, index) in [(0, 0), (7, 0), (0, 3), (7, 3), (u32::MAX as usize, u32::MAX)] {
            assert_eq!(slot_and_index(tag(slot, index)), (slot, index));
        }
    }

    #[test]
    fn an_invalid_request_does_not_wait_for_capacity() {
        assert!(matches!(refused(Rejected::Invalid(InvalidRequest::Unsupported("a test"))), Submitted::Refused(_)));
        assert!(matches!(refused(Rejected::Full), Submitted::Full));
    }
}
