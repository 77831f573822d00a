//! What a client does about failures: pure functions of settings, state and time.
//!
//! Nothing here opens a socket, reads a clock or takes a lock: durations and statuses are handed in,
//! decisions come out; sharing them is up to the caller.
//!
//! | type | decides | a value can be stale |
//! |---|---|---|
//! | [`Failover`] | what a dead server's keys get | when the server is back, and again if it fails within the cap of the time to live |
//! | [`Retries`] | what is sent a second time, and how often at most | if sets or deletes are opted in, and another writer came between the two |
//! | [`Hedge`] | when a slow read is asked of a second server | at any time, if the copy that answers first has missed a change |
//! | [`Config::replicas`](crate::config::Config::replicas) | how many servers hold a key | if a copy has missed a change, and those before it are away or have lost the key |
//! | [`Config::breaker`](crate::config::Config::breaker) | when a silent server counts as down | never |
//!
//! Each of them is off unless it is asked for: by default a dead server's keys fail, nothing is sent
//! twice, and no value can be stale.
//!
//! ```
//! use std::time::Duration;
//! use remcache::Config;
//! use remcache::policy::{Failover, Hedge, Retries};
//!
//! let config = Config::new()
//!     .failover(Failover::next().ttl_cap(Duration::from_secs(5)))
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
mod hedge;
mod operations;
mod outcome;
mod retry;
mod round_trip;

pub use failover::Failover;
pub use hedge::Hedge;
pub use retry::Retries;

pub(crate) use backoff::Backoff;
pub(crate) use breaker::{Breaker, Row, Tripped};
pub(crate) use failover::capped;
pub(crate) use hedge::Allowance;
pub(crate) use operations::{ReplicaPolicy, has_ttl, may_repeat, replica_policy};
pub(crate) use outcome::pick_outcome;
pub(crate) use retry::{Budget, FailureKind};
pub(crate) use round_trip::RoundTrip;
