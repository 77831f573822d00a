//! Test utilities of this workspace: real memcached and Prometheus processes, a proxy that injects network faults,
//! recorded protocol exchanges, a checker for histories of writes, and reproducible seeds.
//!
//! Everything here panics when it fails, so that the test fails with the reason. If a program is missing, the message
//! says how to install it.

mod certificates;
mod descriptors;
mod example;
pub mod history;
mod memcached;
mod port;
pub mod prometheus;
mod proxy;
mod scratch;
mod seed;
pub mod vectors;

pub use certificates::{Authority, Certificate, Dates};
pub use descriptors::descriptor_limit;
pub use example::{ExampleServer, example, example_output};
pub use memcached::{Memcached, SASL_PASSWORD, SASL_USER};
pub use port::unused_port;
pub use proxy::{Close, Direction, Disconnect, Proxy, Rule, Rules, Splits};
pub use scratch::scratch;
pub use seed::{Seed, seed};
