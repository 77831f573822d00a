//! Compiles and runs the examples of the guides: from other clients, the cookbook, Kubernetes.
//!
//! They are in a separate package, so that the published ones do not depend on the clients that the guides start from.

mod redis_server;

pub use redis_server::Redis;

#[cfg(doctest)]
mod documents {
    #[doc = include_str!("../../../docs/migrating-from-memcache.md")]
    struct FromMemcache;

    #[doc = include_str!("../../../docs/migrating-from-async-memcached.md")]
    struct FromAsyncMemcached;

    #[doc = include_str!("../../../docs/migrating-from-pools.md")]
    struct FromPools;

    #[doc = include_str!("../../../docs/migrating-from-redis.md")]
    struct FromRedis;

    #[doc = include_str!("../../../docs/migrating-from-memorystore.md")]
    struct FromMemorystore;

    #[doc = include_str!("../../../docs/kubernetes.md")]
    struct Kubernetes;

    #[doc = include_str!("../../../crates/remcache/docs/cookbook.md")]
    struct Cookbook;
}
