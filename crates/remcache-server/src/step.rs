//! Results of processing requests, shared by all protocols.

/// The result of processing the request at the front of the buffer.
pub(crate) enum Step {
    /// The request was processed.
    Done,
    /// The request is incomplete. This is its length as far as it is known, or 0.
    Incomplete(usize),
    /// The connection is closed after the replies that are pending.
    Close,
}

/// The reason why a session stopped processing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum YieldReason {
    /// The buffer holds no complete request.
    NeedsInput,
    /// The pending replies reached the limit.
    OutputFull,
    /// The connection is closed after the replies that are pending.
    Close,
}
