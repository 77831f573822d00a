//! Failover: where requests go while a key's server is down, and how long items may live there.

use std::time::{Duration, SystemTime};

use crate::proto::Ttl;
use crate::server_list::ServerList;

/// Where requests are sent while the server of their key is down: see
/// [`Config::failover`](crate::config::Config::failover).
///
/// Except with [`Failover::None`] a value can be stale: items stored elsewhere while the server was down are not
/// visible when it is back, and a server that was only unreachable comes back with old items. The TTL cap limits how
/// long items can be found elsewhere, and deletes are sent to both servers.
///
/// A server that refuses the password, or whose certificate is invalid, is not down, and requests do not fail over
/// from it: they fail with [`Auth`](crate::error::ErrorKind::Auth) or [`Tls`](crate::error::ErrorKind::Tls) until the
/// configuration is fixed. It is skipped as a fallback for another server.
///
/// Requests with a CAS value, [`update`](crate::client::Client::update), [`take`](crate::client::Client::take) and
/// [`invalidate`](crate::client::Client::invalidate) stay with the key's primary server and fail while it is down: CAS
/// values are specific to one server. [`fetch`](crate::client::Client::fetch), locks and limiters that begin while it is
/// down use the fallback.
///
/// The failover of the remcached gem, modulo over the connected servers, is a distribution instead:
/// [`Distribution::REMCACHED`](crate::distribution::Distribution::REMCACHED).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Failover {
    /// Requests fail as `Disconnected` (the default).
    #[default]
    None,
    /// Requests are sent to the next server on the ring that is not down.
    #[non_exhaustive]
    Next {
        /// The maximum TTL of items stored there.
        max_ttl: Duration,
    },
    /// Requests are sent to a pool of spare servers with its own ring.
    #[non_exhaustive]
    Gutter {
        /// The spare servers, as addresses.
        servers: Vec<String>,
        /// The maximum TTL of items stored there.
        max_ttl: Duration,
    },
}

impl Failover {
    /// Sends requests to the next server on the ring that is not down.
    ///
    /// This needs no spare servers, but the neighbours of a server that is down carry its load.
    pub fn next() -> Self {
        Self::Next { max_ttl: DEFAULT_MAX_TTL }
    }

    /// Sends requests to these spare servers, which form a ring of the same distribution.
    ///
    /// The load of the remaining servers does not change; the spare servers are empty at first.
    pub fn gutter<M>(servers: impl ServerList<M>) -> Self {
        let servers = servers.into_addresses().map(|address| address.as_ref().to_owned()).collect();
        Self::Gutter { servers, max_ttl: DEFAULT_MAX_TTL }
    }

    /// Sets the maximum TTL of items stored elsewhere (default: 10 s; at least 1 s).
    ///
    /// It limits how long an outdated item may be found there after it was changed on its own server again.
    #[must_use]
    pub fn max_ttl(self, cap: Duration) -> Self {
        match self {
            Self::None => Self::None,
            Self::Next { .. } => Self::Next { max_ttl: cap },
            Self::Gutter { servers, .. } => Self::Gutter { servers, max_ttl: cap },
        }
    }

    /// Returns the TTL cap, if there is failover.
    pub(crate) fn cap(&self) -> Option<Duration> {
        match self {
            Self::None => None,
            Self::Next { max_ttl } | Self::Gutter { max_ttl, .. } => Some(*max_ttl),
        }
    }
}

/// Returns the TTL, limited to the cap.
pub(crate) fn capped(ttl: Ttl, cap: Duration, now: SystemTime) -> Ttl {
    match ttl {
        Ttl::Never => Ttl::After(cap),
        Ttl::After(duration) => Ttl::After(duration.min(cap)),
        Ttl::At(time) if now.checked_add(cap).is_some_and(|latest| latest < time) => Ttl::After(cap),
        other => other,
    }
}

/// The default TTL cap.
const DEFAULT_MAX_TTL: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_time_to_live_exceeds_its_cap() {
        let (cap, now) = (DEFAULT_MAX_TTL, SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000));
        let seconds = Duration::from_secs;
        for (ttl, expected) in [
            (Ttl::Never, Ttl::After(cap)),
            (Ttl::After(seconds(5)), Ttl::After(seconds(5))),
            (Ttl::After(seconds(500)), Ttl::After(cap)),
            (Ttl::After(Duration::MAX), Ttl::After(cap)),
            (Ttl::After(Duration::ZERO), Ttl::After(Duration::ZERO)),
            (Ttl::At(now + seconds(3)), Ttl::At(now + seconds(3))),
            (Ttl::At(now + cap), Ttl::At(now + cap)),
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
        assert_eq!(Failover::next().cap(), Some(DEFAULT_MAX_TTL));
        assert_eq!(Failover::gutter(["a"]).max_ttl(cap).cap(), Some(cap));
        assert_eq!(Failover::None.max_ttl(cap).cap(), None);
    }
}
