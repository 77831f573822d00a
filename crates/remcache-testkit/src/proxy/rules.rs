//! What the proxy does to the bytes of a direction, as data.

use std::time::Duration;

/// The rules of both directions; by default everything passes unchanged.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct Rules {
    /// From the client to the server.
    pub requests: Rule,
    /// From the server to the client.
    pub replies: Rule,
}

/// A direction of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Direction {
    /// From the client to the server.
    Requests,
    /// From the server to the client.
    Replies,
}

/// What happens to the bytes of one direction.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct Rule {
    /// Everything arrives this much later; order and bandwidth stay.
    pub delay: Duration,
    /// At most so many bytes a second.
    pub bytes_per_second: Option<u32>,
    /// Random pieces instead of what was read at once.
    pub splits: Option<Splits>,
    /// The end of each connection.
    pub cut: Option<Cut>,
    /// Bytes are read and go nowhere. A connection that lost bytes this way never passes another
    /// one in this direction: what followed would be out of step.
    pub black_hole: bool,
}

/// Random pieces: each connection and direction splits in its own way, the same for a seed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Splits {
    pub(super) seed: u64,
    pub(super) longest: usize,
}

impl Splits {
    /// Pieces of one to `longest` bytes.
    #[must_use]
    pub fn new(seed: u64, longest: usize) -> Self {
        Self { seed, longest: longest.max(1) }
    }
}

/// The end of a connection after a number of bytes in one direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    pub(super) after: u64,
    pub(super) how: Close,
}

impl Cut {
    /// Closes a connection when `after` bytes of it have passed in this direction; with 0, when
    /// the first byte would pass.
    #[must_use]
    pub fn new(after: u64, how: Close) -> Self {
        Self { after, how }
    }
}

/// How a connection is closed, towards both ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Close {
    /// In order: each end reads all that was passed, then the end of the stream.
    Fin,
    /// By a reset.
    Rst,
}
