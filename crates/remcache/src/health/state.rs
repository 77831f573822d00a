//! What a server is to us, and what that means for requests.

use std::time::SystemTime;

use bytes::Bytes;

/// The state of a server, and since when.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ServerStatus {
    /// What the server is to us now.
    pub condition: ConnectionState,
    /// Since when.
    pub since: SystemTime,
}

/// What a server is to us.
///
/// With [several connections](crate::config::Config::connections) it is connected as long as one of them is, and down when one
/// was lost, or could not be had, and none is open. A server that has stopped answering is down on all of them at once:
/// when the [breaker](crate::config::Config::breaker) of one has opened, and none has heard of it since.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConnectionState {
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

impl ConnectionState {
    /// Whether the server is known to be down.
    pub fn is_down(&self) -> bool {
        matches!(self, Self::Down(_))
    }

    /// The name, as labels of metrics have it.
    #[cfg(feature = "metrics")]
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Connecting => "connecting",
            Self::Connected => "connected",
            Self::Down(_) => "down",
            Self::Closed => "closed",
        }
    }

    /// The connection with the lowest rank represents its server.
    fn rank(&self) -> u8 {
        match self {
            Self::Connected => 0,
            // What is being opened, or was never needed, knows less.
            Self::Down(_) => 1,
            Self::Connecting => 2,
            Self::Idle => 3,
            Self::Closed => 4,
        }
    }

    /// Why requests fail at once, if they do.
    pub(crate) fn refusal(&self) -> Option<Bytes> {
        match self {
            Self::Idle | Self::Connecting | Self::Connected => None,
            Self::Down(reason) => Some(Bytes::copy_from_slice(reason.as_bytes())),
            Self::Closed => Some(Bytes::from_static(b"the client was closed, or the server left its list")),
        }
    }
}

/// The index of the connection that represents the server; for an unresponsive server, one that is down.
pub(crate) fn representative<'a>(
    conditions: impl Iterator<Item = &'a ConnectionState> + Clone,
    is_silent: bool,
) -> Option<usize> {
    let given_up = || conditions.clone().position(ConnectionState::is_down);
    let lowest = || conditions.clone().enumerate().min_by_key(|(_, condition)| condition.rank()).map(|(at, _)| at);
    is_silent.then(given_up).flatten().or_else(lowest)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// i = idle, c = connecting, o = open, d = down, x = closed; what the server is then, and if it is silent.
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
        let reported =
            [false, true].map(|is_silent| conditions[representative(conditions.iter(), is_silent).unwrap()].clone());
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
