//! What the tests of this workspace share: a real memcached, a proxy that misbehaves on order,
//! bytes seen on a real server, a history of what was written, seeds that can be repeated.
//!
//! Everything here panics when it cannot do its work: a test must fail, with a reason and, when a
//! program is missing, with the line that installs it.

mod certificates;
mod descriptors;
pub mod history;
mod memcached;
mod port;
mod proxy;
mod scratch;
mod seed;
pub mod vectors;

pub use certificates::{Authority, Certificate, Dates};
pub use descriptors::descriptor_limit;
pub use memcached::{Memcached, SASL_PASSWORD, SASL_USER};
pub use port::unused_port;
pub use proxy::{Close, Cut, Direction, Proxy, Rule, Rules, Splits};
pub use scratch::scratch;
pub use seed::{Seed, seed};
