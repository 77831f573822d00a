//! Settings for servers that are slow or down: circuit breaker, failover, retries, replicas, hedging.

use super::Config;
use super::preferred_servers::Preference;
use crate::address::Endpoint;
use crate::policy::{Failover, Hedge, Retries};

/// Settings for servers that are slow or down.
impl Config {
    /// Sets the number of consecutive timeouts after which the circuit breaker marks a server down (default: 3; 0 for
    /// never). Timeouts of a single connection close only that connection.
    ///
    /// The server must also have sent no reply for the [`timeout`](Config::timeout), so that a single caller with
    /// shorter deadlines has no effect, and timeouts caused by a stall of the program itself do not count. Requests
    /// then fail immediately until the server has answered a no-op: accepting connections is not enough. With a lower
    /// number, short pauses of the server fail its requests; with a higher one, more callers wait for a server that is
    /// down.
    #[must_use]
    pub fn breaker(self, timeouts: u32) -> Self {
        Self { breaker: timeouts, ..self }
    }

    /// Sets where requests are sent while the server of their key is down (default: [`Failover::None`], they fail).
    ///
    /// With failover the cache stays useful while a server is down, but values can be stale: when the server is back it
    /// may still have its old items (if it was unreachable and not restarted), and items stored elsewhere are not
    /// visible. When it fails again within the TTL cap, items stored elsewhere become visible again, although the
    /// server may have had newer ones; deletes are sent to both servers. A delete fails if the key's own server cannot
    /// be reached, because the item may come back. Requests with a CAS value fail as well, because CAS values are
    /// specific to one server.
    #[must_use]
    pub fn failover(self, failover: Failover) -> Self {
        Self { failover, ..self }
    }

    /// Sets which requests are retried after a failure (default: [`Retries::none`]).
    ///
    /// Retries do not make values stale, but a set or delete that is retried, if you opt in to that, may undo another
    /// writer's change made in between. Multi-key calls are not retried on the same server.
    #[must_use]
    pub fn retries(self, retries: Retries) -> Self {
        Self { retries, ..self }
    }

    /// Sets the number of servers that store each key (default: 1): the key's own server and the next ones on the ring.
    ///
    /// Sets, touches and deletes are sent to all of them; reads to the first, and to the next one after a miss or a
    /// failure. Writes that depend on the old value (counters, appends, conditions) are sent to the first, and the item
    /// is deleted at the others. Each replica costs memory and a write. A value can be stale if a replica missed a
    /// write because it was down, and is read because those before it are down or have lost the key. A set succeeds if
    /// it is stored on one replica; a delete fails if one cannot be reached.
    #[must_use]
    pub fn replicas(self, copies: usize) -> Self {
        Self { replicas: copies, ..self }
    }

    /// Sets when an unanswered read is sent to the next replica as well (default: never).
    ///
    /// It requires [`replicas`](Config::replicas), and values can be stale: the second replica may answer although the
    /// first has a newer value. Multi-key calls are not hedged.
    #[must_use]
    pub fn hedge(self, hedge: Hedge) -> Self {
        Self { hedge: Some(hedge), ..self }
    }

    /// Sets which servers reads prefer among the replicas of a key, such as those in the same zone (default: the first
    /// replica of the ring).
    ///
    /// It requires [`replicas`](Config::replicas). If a preferred replica is down or misses, the others follow in the
    /// order of the ring. Writes and deletes are not affected. A value has the CAS value of the server that it was read
    /// from: for compare-and-swap use [`update`](crate::Client::update), which reads from the key's primary server.
    ///
    /// ```
    /// use remcache::Config;
    ///
    /// let config = Config::new().replicas(2).prefer(|server| server.name.contains(".eu-west-1a."));
    /// ```
    #[must_use]
    pub fn prefer(self, is_preferred: impl Fn(&Endpoint) -> bool + Send + Sync + 'static) -> Self {
        Self { preference: Some(Preference::new(is_preferred)), ..self }
    }

    /// Returns whether a request may be sent to several servers, or repeatedly to one.
    pub(crate) fn is_routed(&self) -> bool {
        self.failover != Failover::None || self.retries.attempts > 0 || self.replicas > 1
    }
}
