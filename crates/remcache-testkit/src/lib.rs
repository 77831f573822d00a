//! Test utilities of this workspace: real memcached and Prometheus processes, a proxy that injects network faults,
//! a DNS server, recorded protocol exchanges, a checker for histories of writes, and reproducible seeds.
//!
//! Everything here panics when it fails, so that the test fails with the reason. If a program is missing, the message
//! says how to install it.

mod certificates;
pub mod dns;
mod example;
mod file_descriptors;
pub mod history;
mod http;
mod memcached;
pub mod prometheus;
mod proxy;
mod seed;
mod temporary_directory;
mod unused_port;
pub mod vectors;

pub use certificates::{Authority, Certificate, Dates};
pub use example::{ServerProcess, example, example_output};
pub use file_descriptors::descriptor_limit;
pub use http::http_get;
pub use memcached::{Memcached, SASL_PASSWORD, SASL_USER};
pub use proxy::{Close, Direction, Disconnect, Proxy, Rule, Rules, Splits};
pub use seed::{Seed, seed};
pub use temporary_directory::scratch;
pub use unused_port::unused_port;
