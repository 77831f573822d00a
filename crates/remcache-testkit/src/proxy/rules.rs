//! The rules of the proxy.

use std::time::Duration;

/// The rules of both directions. By default everything is forwarded unchanged.
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

/// The faults of one direction.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct Rule {
    /// The delay of all bytes. Order and bandwidth stay the same.
    pub delay: Duration,
    /// The maximum rate.
    pub bytes_per_second: Option<u32>,
    /// Forwards data in random pieces.
    pub splits: Option<Splits>,
    /// Closes each connection after a number of bytes.
    pub disconnect: Option<Disconnect>,
    /// Reads and discards bytes. A connection that has lost bytes never forwards any more in this direction, because
    /// the receiver would be out of sync.
    pub black_hole: bool,
}

/// Random splits. Each connection and direction is split differently, but always in the same way for a seed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Splits {
    pub(super) seed: u64,
    pub(super) longest: usize,
}

impl Splits {
    /// Splits data into pieces of 1 to `longest` bytes.
    #[must_use]
    pub fn new(seed: u64, longest: usize) -> Self {
        Self { seed, longest: longest.max(1) }
    }
}

/// Closes a connection after a number of bytes in one direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Disconnect {
    pub(super) after: u64,
    pub(super) close: Close,
}

impl Disconnect {
    /// Closes a connection when `after` of its bytes have been forwarded in this direction; with 0, when the first byte
    /// would be forwarded.
    #[must_use]
    pub fn new(after: u64, close: Close) -> Self {
        Self { after, close }
    }
}

/// The way in which a connection is closed, to both sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Close {
    /// In order: each side reads everything that was forwarded, then the end of the stream.
    Fin,
    /// With a reset.
    Rst,
}
