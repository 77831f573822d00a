//! What a dead server's keys get, and how long it may live elsewhere.

use std::time::{Duration, SystemTime};

use crate::proto::Ttl;

/// What the keys of a server get that is known to be down: see
/// [`Config::failover`](crate::config::Config::failover).
///
/// With anything but [`Failover::None`] a value can be stale: what was stored elsewhere while the
/// server was down is not seen when it is back, and what it kept is. A server that was only
/// unreachable returns with old values. The cap of the time to live bounds how long a value that was
/// stored elsewhere can be found there, and deletes go to both places.
///
/// A server that refuses our password, or whose certificate does not hold, is not down, and nothing
/// fails over from it: its keys get [`Auth`](crate::error::ErrorKind::Auth) or [`Tls`](crate::error::ErrorKind::Tls)
/// until the configuration is fixed. It is skipped as a fallback for another server.
///
/// Requests with a CAS value, and [`update`](crate::client::Client::update) and [`take`](crate::client::Client::take),
/// stay with the key's own server and fail while it is away: a CAS value says nothing of the item on
/// another.
///
/// The gem's own way, modulo over the servers that are connected, is a distribution and no failover:
/// [`Distribution::REMCACHED`](crate::distribution::Distribution::REMCACHED).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Failover {
    /// They fail as `Disconnected` (the default).
    #[default]
    None,
    /// They go to the next server of the ring that is not down.
    #[non_exhaustive]
    Next {
        /// The longest time to live of what is stored there.
        ttl_cap: Duration,
    },
    /// They go to a pool of spare servers with a ring of their own.
    #[non_exhaustive]
    Gutter {
        /// The spare servers, as addresses.
        servers: Vec<String>,
        /// The longest time to live of what is stored there.
        ttl_cap: Duration,
    },
}

impl Failover {
    /// To the next server of the ring that is not down.
    ///
    /// No machine is idle, and the neighbours of a dead server carry its load.
    pub fn next() -> Self {
        Self::Next { ttl_cap: TTL_CAP }
    }

    /// To these spare servers, whose ring is like that of the others.
    ///
    /// The servers that are left carry no more than before; the spare ones are empty when needed.
    pub fn gutter<S: Into<String>>(servers: impl IntoIterator<Item = S>) -> Self {
        Self::Gutter { servers: servers.into_iter().map(Into::into).collect(), ttl_cap: TTL_CAP }
    }

    /// The longest time to live of what is stored elsewhere (default: 10 s; at least 1 s).
    ///
    /// It is how long a value may be found there after the server is back and was asked to change it.
    #[must_use]
    pub fn ttl_cap(self, cap: Duration) -> Self {
        match self {
            Self::None => Self::None,
            Self::Next { .. } => Self::Next { ttl_cap: cap },
            Self::Gutter { servers, .. } => Self::Gutter { servers, ttl_cap: cap },
        }
    }

    /// The cap, where there is one.
    pub(crate) fn cap(&self) -> Option<Duration> {
        match self {
            Self::None => None,
            Self::Next { ttl_cap } | Self::Gutter { ttl_cap, .. } => Some(*ttl_cap),
        }
    }
}

/// The TTL, limited to the cap.
pub(crate) fn capped(ttl: Ttl, cap: Duration, now: SystemTime) -> Ttl {
    match ttl {
        Ttl::Never => Ttl::After(cap),
        Ttl::After(duration) => Ttl::After(duration.min(cap)),
        Ttl::At(time) if now.checked_add(cap).is_some_and(|latest| latest < time) => Ttl::After(cap),
        other => other,
    }
}

/// The default cap.
const TTL_CAP: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_time_to_live_exceeds_its_cap() {
        let (cap, now) = (TTL_CAP, SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000));
        let seconds = Duration::from_secs;
        for (ttl, expected) in [
            (Ttl::Never, Ttl::After(cap)),
            (Ttl::After(seconds(5)), Ttl::After(seconds(5))),
            (Ttl::After(seconds(500)), Ttl::After(cap)),
            (Ttl::After(Duration::MAX), Ttl::After(cap)),
            (Ttl::After(Duration::ZERO), Ttl::After(Duration::ZERO)),
            (Ttl::At(now + seconds(3)), Ttl::At(now + seconds(3))),
            (Ttl::At(now + seconds(3_000)), Ttl::After(cap)),
            (Ttl::At(now - seconds(3)), Ttl::At(now - seconds(3))),
            (Ttl::Expired, Ttl::Expired),
        ] {
            assert_eq!(capped(ttl, cap, now), expected, "{ttl:?}");
        }
    }

    #[test]
    fn the_cap_is_a_setting() {
        let cap = Duration::from_secs(3);
        assert_eq!(Failover::next().cap(), Some(TTL_CAP));
        assert_eq!(Failover::gutter(["a"]).ttl_cap(cap).cap(), Some(cap));
        assert_eq!(Failover::None.ttl_cap(cap).cap(), None);
    }
}
