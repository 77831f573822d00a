//! The states of servers and connections.

use std::time::SystemTime;

use bytes::Bytes;

/// The state of a server, and since when it has it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ServerStatus {
    /// The server's current state.
    pub state: ConnectionState,
    /// When the server entered the state.
    pub since: SystemTime,
}

/// The state of a server, or of one connection to it.
///
/// With [several connections](crate::config::Config::connections) a server is connected as long as one of them is. It
/// is down when none is open and one was lost or could not be opened, or when the
/// [circuit breaker](crate::config::Config::breaker) of one has opened and none has received a reply since.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConnectionState {
    /// No request was sent yet, or the server closed an idle connection: the next request connects.
    Idle,
    /// A connection is being opened; requests wait for it.
    Connecting,
    /// A connection is open.
    Connected,
    /// The server is down, for this reason: requests fail immediately until it is back.
    Down(String),
    /// The client was closed, or the server was removed from its list: requests fail immediately.
    Closed,
}

impl ConnectionState {
    /// Returns whether the server is known to be down.
    pub fn is_down(&self) -> bool {
        matches!(self, Self::Down(_))
    }

    /// Returns the name used in metric labels.
    #[cfg(any(feature = "metrics", feature = "opentelemetry"))]
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Connecting => "connecting",
            Self::Connected => "connected",
            Self::Down(_) => "down",
            Self::Closed => "closed",
        }
    }

    /// Returns the rank: the connection with the lowest one represents its server.
    fn rank(&self) -> u8 {
        match self {
            Self::Connected => 0,
            // Connections that are being opened or were never used reveal less about the server.
            Self::Down(_) => 1,
            Self::Connecting => 2,
            Self::Idle => 3,
            Self::Closed => 4,
        }
    }

    /// Returns why requests fail immediately; `None` if they do not.
    pub(crate) fn refusal(&self) -> Option<Bytes> {
        match self {
            Self::Idle | Self::Connecting | Self::Connected => None,
            Self::Down(reason) => Some(Bytes::copy_from_slice(reason.as_bytes())),
            Self::Closed => Some(Bytes::from_static(b"the client was closed, or the server left its list")),
        }
    }
}

/// Returns the index of the connection that represents the server; for an unresponsive one, one that is down.
pub(crate) fn representative<'a>(
    conditions: impl Iterator<Item = &'a ConnectionState> + Clone,
    is_unresponsive: bool,
) -> Option<usize> {
    let given_up = || conditions.clone().position(ConnectionState::is_down);
    let lowest = || conditions.clone().enumerate().min_by_key(|(_, condition)| condition.rank()).map(|(at, _)| at);
    is_unresponsive.then(given_up).flatten().or_else(lowest)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// i = idle, c = connecting, o = open, d = down, x = closed; checks the state of a responsive server and of an
    /// unresponsive one.
    #[track_caller]
    fn check(conditions: &str, expected: &str) {
        let condition = |letter| match letter {
            'i' => ConnectionState::Idle,
            'c' => ConnectionState::Connecting,
            'o' => ConnectionState::Connected,
            'd' => ConnectionState::Down("lost".to_owned()),
            _ => ConnectionState::Closed,
        };
        let conditions: Vec<_> = conditions.chars().map(condition).collect();
        let reported = [false, true]
            .map(|is_unresponsive| conditions[representative(conditions.iter(), is_unresponsive).unwrap()].clone());
        assert_eq!(reported.to_vec(), expected.chars().map(condition).collect::<Vec<_>>());
    }

    #[test]
    fn one_open_connection_is_enough_unless_the_server_is_silent() {
        check("oooo", "oo");
        check("oiii", "oo");
        check("dood", "od");
        check("xxxx", "xx");
    }

    #[test]
    fn a_loss_tells_more_than_what_was_never_open() {
        check("diii", "dd");
        check("cdci", "dd");
        check("iiic", "cc");
        check("xdxx", "dd");
    }
}
