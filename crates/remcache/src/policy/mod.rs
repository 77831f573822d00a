//! Failure policies: pure functions of settings, state and time.
//!
//! Nothing here opens a socket, reads a clock or takes a lock.
//!
//! | type | decides | a value can be stale |
//! |---|---|---|
//! | [`Failover`] | where requests are sent while a key's server is down | when the server is back, and again if it fails within the TTL cap |
//! | [`Retries`] | which requests are retried, and the limit | if sets or deletes are opted in, and another client writes between the two attempts |
//! | [`Hedge`] | when a slow read is also sent to a second server | at any time, if the replica that answers first has missed a write |
//! | [`Config::replicas`](crate::config::Config::replicas) | how many servers hold a key | if a replica has missed a write, and those before it are down or have lost the key |
//! | [`Config::breaker`](crate::config::Config::breaker) | when an unresponsive server is marked down | never |
//!
//! All but the breaker are off by default: the keys of a server that is down fail, no request is retried, and no value
//! can be stale.
//!
//! ```
//! use std::time::Duration;
//! use remcache::Config;
//! use remcache::policy::{Failover, Hedge, Retries};
//!
//! let config = Config::new()
//!     .failover(Failover::next().max_ttl(Duration::from_secs(5)))
//!     .retries(Retries::up_to(1))
//!     .replicas(2)
//!     .hedge(Hedge::after(Duration::from_millis(10)));
//! let from_url = Config::from_url("memcached://a,b,c/?failover=next&failover_ttl=5s&retries=1&replicas=2&hedge=10ms")?;
//! # Ok::<(), remcache::Error>(())
//! ```
#![deny(
    clippy::arithmetic_side_effects,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used
)]

mod backoff;
mod breaker;
mod failover;
mod follow_up;
mod hedge;
mod operations;
mod outcome;
mod retry;
mod round_trip;

pub use failover::Failover;
pub use hedge::Hedge;
pub use retry::Retries;

pub(crate) use backoff::Backoff;
pub(crate) use breaker::{Breaker, TimeoutStreak, Tripped};
pub(crate) use failover::capped;
pub(crate) use follow_up::{FollowUp, Step, follow_up, replaces};
pub(crate) use hedge::HedgeBudget;
pub(crate) use operations::{ReplicaPolicy, has_ttl, may_repeat, replica_policy};
pub(crate) use outcome::pick_outcome;
pub(crate) use retry::Budget;
pub(crate) use round_trip::RoundTrip;
