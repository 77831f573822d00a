//! OpenDAL's memcached service of version 0.58, which sccache uses, implemented by remcache-opendal, which is one of
//! version 0.59.

mod builder;
mod service;

pub use builder::{Memcached, MemcachedConfig};

/// The scheme of the service.
pub const MEMCACHED_SCHEME: &str = "memcached";

/// Registers the service under its [scheme](MEMCACHED_SCHEME).
pub fn register_memcached_service(registry: &opendal_core::OperatorRegistry) {
    registry.register::<Memcached>(MEMCACHED_SCHEME);
}
