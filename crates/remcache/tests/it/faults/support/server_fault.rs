//! Faults of a fake server, as values.

use std::time::Duration;

use bytes::Bytes;

/// A fault that a fake server injects into its connections.
#[derive(Clone, Debug)]
pub(crate) enum ServerFault {
    None,
    RefuseConnections,
    /// Connection attempts never complete.
    Unreachable,
    /// Closes the connection after this many bytes of replies.
    CloseAfterSending(usize, CloseKind),
    /// Resets the connection after reading this many bytes; complete requests among them are executed.
    ResetAfterReading(usize),
    /// Sends replies in random pieces of at most this length, from this seed.
    SplitReplies(usize, u64),
    /// Answers every request with these bytes.
    AnswerWith(Bytes),
    /// Like `AnswerWith`, and also in response to the version probe of a text connection.
    NotMemcached(Bytes),
    /// Corrupts one of the first replies that can be corrupted detectably, from this seed, and none after it.
    CorruptReply(Corruption, u64),
    /// Sends replies of at least 100 kB at one byte per interval.
    Drip(Duration),
    /// Reads requests and never answers.
    NeverAnswer,
    /// Accepts connections and never reads.
    NeverRead,
}

impl ServerFault {
    /// Returns whether the fault starts only after the version probe of a text connection was answered.
    pub(crate) fn starts_after_version_probe(&self) -> bool {
        matches!(self, Self::AnswerWith(_) | Self::NeverAnswer | Self::NeverRead)
    }
}

/// The way in which a connection is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CloseKind {
    Fin,
    Rst,
}

/// A corruption of one reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Corruption {
    Swap,
    Repeat,
    Omit,
    /// Changes the opcode, the return code or the first word.
    ChangeKind,
    /// Changes the opaque, or the key of an item if there is no opaque.
    ChangeOwner,
    InsertGarbage,
}

impl Corruption {
    pub(crate) const ALL: [Self; 6] =
        [Self::Swap, Self::Repeat, Self::Omit, Self::ChangeKind, Self::ChangeOwner, Self::InsertGarbage];
}
