//! What a server is to us, and what that means for requests.

use std::time::SystemTime;

use bytes::Bytes;

/// The state of a server, and since when.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct State {
    /// What the server is to us now.
    pub condition: Condition,
    /// Since when.
    pub since: SystemTime,
}

/// What a server is to us.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Condition {
    /// Nothing was asked yet, or the server closed an idle connection: the next request connects.
    Idle,
    /// A connection is being opened; requests wait for it.
    Connecting,
    /// A connection is open.
    Connected,
    /// Known to be down, for this reason: requests fail at once until the server is back.
    Down(String),
    /// The client was closed, or the server left its list: requests fail at once.
    Closed,
}

impl Condition {
    /// Whether the server is known to be down.
    pub fn is_down(&self) -> bool {
        matches!(self, Self::Down(_))
    }

    /// The lower, the better for requests.
    pub(super) fn rank(&self) -> u8 {
        match self {
            Self::Connected => 0,
            Self::Connecting => 1,
            Self::Idle => 2,
            Self::Down(_) => 3,
            Self::Closed => 4,
        }
    }

    /// Why requests fail at once, if they do.
    pub(super) fn refusal(&self) -> Option<Bytes> {
        match self {
            Self::Idle | Self::Connecting | Self::Connected => None,
            Self::Down(reason) => Some(Bytes::copy_from_slice(reason.as_bytes())),
            Self::Closed => Some(Bytes::from_static(b"the client was closed, or the server left its list")),
        }
    }
}
