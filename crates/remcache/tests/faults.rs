//! The fault matrix: whatever the server or the network does, no outcome is wrong, no call hangs,
//! and the client works again by itself.
//!
//! In memory the clock is paused, so that deadlines are exact and long outages cost nothing; the
//! same faults run on real sockets, and with real memcached behind a proxy.

#![cfg(feature = "client")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod faults_support;
#[path = "support/on_each_wire.rs"]
mod on_each_wire;
#[path = "support/serving.rs"]
mod serving;
#[path = "support/speaking.rs"]
mod speaking;

#[path = "faults/cancel.rs"]
mod cancel;
#[path = "faults/embedded.rs"]
mod embedded;
#[path = "faults/execution.rs"]
mod execution;
#[path = "faults/isolation.rs"]
mod isolation;
#[path = "faults/pipelines.rs"]
mod pipelines;
#[path = "faults/real.rs"]
mod real;
#[path = "faults/reconnect.rs"]
mod reconnect;
#[path = "faults/refusals.rs"]
mod refusals;
#[path = "faults/replies.rs"]
mod replies;
#[path = "faults/silence.rs"]
mod silence;
