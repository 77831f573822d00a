//! The fault matrix: whatever the server or the network does, no outcome is wrong, no call hangs,
//! and the client works again by itself.
//!
//! In memory the clock is paused, so that deadlines are exact and long outages cost nothing; the
//! same faults run on real sockets, and with real memcached behind a proxy.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

mod cancel;
mod embedded;
mod execution;
mod isolation;
mod pipelines;
mod real;
mod reconnect;
mod refusals;
mod replies;
mod silence;
