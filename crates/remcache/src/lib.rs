//! remcache: an asynchronous memcached client.

#[deny(clippy::disallowed_methods, clippy::disallowed_types)]
pub mod proto;

#[cfg(feature = "client")]
pub mod client;
#[cfg(feature = "client")]
#[deny(clippy::disallowed_methods, clippy::disallowed_types)]
pub mod distribution;
#[cfg(feature = "client")]
mod error;

#[cfg(feature = "client")]
pub use client::{Change, Client, Config, Counter, Flow, Item, Outcomes, ServerHandle};
#[cfg(feature = "client")]
pub use error::{Error, ErrorKind};
pub use proto::{Delivery, Key, Reply, Request, Status, Ttl};
