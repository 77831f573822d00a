//! The fault matrix: whatever the server or the network does, every result is correct, no call hangs, and the
//! client recovers by itself.
//!
//! In memory the clock is paused, so that deadlines are exact and long outages cost no time. The same faults are
//! injected on real sockets, and with a real memcached behind a proxy.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

mod at_most_once;
mod cancel;
mod corrupt_replies;
mod embedded_server;
mod isolation;
mod pipelines;
mod real_server;
mod reconnect;
mod server_errors;
mod unresponsive;
