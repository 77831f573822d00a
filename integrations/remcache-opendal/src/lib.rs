//! A memcached service for [OpenDAL]. While the cache is unavailable, operations fail within the
//! [timeout](Memcached::timeout), with [temporary](opendal_core::Error::is_temporary) errors, which OpenDAL's layers
//! and programs such as sccache handle. With [`FailOpen`](OnUnavailable::FailOpen) no operation fails: reads find
//! nothing and writes are dropped.
//!
//! ```
//! use opendal_core::Operator;
//! use remcache_opendal::Memcached;
//!
//! /// `servers` is a list such as `cache1:11211,cache2:11211`, or a URL: `memcacheds://cache1,cache2/?timeout=250ms`.
//! async fn store_object(servers: &str) -> opendal_core::Result<()> {
//!     let operator = Operator::new(Memcached::new().endpoint(servers).root("/builds"))?;
//!     operator.write("object", "content").await?;
//!     assert_eq!(operator.read("object").await?.to_vec(), b"content");
//!     Ok(())
//! }
//! #
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> opendal_core::Result<()> {
//! #     let memcached = [(); 2].map(|()| remcache_testkit::Memcached::start(&[]));
//! #     let [one, two] = memcached.each_ref().map(|server| server.addr());
//! #     store_object(&format!("memcached://{one},{two}/?timeout=60s")).await
//! # }
//! ```
//!
//! Unlike OpenDAL's own service of the same name it supports TLS (feature `tls`), several servers, passwords for all of
//! them, a timeout for each operation, and objects above 1 MB, and uses one pipelined connection instead of a pool.
//! Objects are compatible with that service up to the length of a chunk.
//!
//! # By URI or by map
//!
//! [`register`] makes the service available to programs that configure OpenDAL with a URI or a map of options:
//!
//! ```
//! use opendal_core::OperatorRegistry;
//!
//! let registry = OperatorRegistry::get();
//! remcache_opendal::register(registry);
//! let operator = registry.load("memcached://cache1:11211/builds?timeout=250ms")?;
//! # Ok::<(), opendal_core::Error>(())
//! ```
//!
//! # Items
//!
//! A path is stored under its percent-encoded form, as by OpenDAL's own service. Paths whose encoded form has more than
//! 200 bytes are stored under a hash. Objects longer than a [chunk](Memcached::chunk_size) are stored in several items;
//! a reader gets the old content or the new one, never a mixture, and nothing if a chunk was evicted.
//!
//! # Errors and cancellation
//!
//! Building the service fails with [`ConfigInvalid`](opendal_core::ErrorKind::ConfigInvalid) for missing or invalid
//! servers and settings. Rejected credentials are a permanent error,
//! [`PermissionDenied`](opendal_core::ErrorKind::PermissionDenied), and TLS errors are permanent too.
//!
//! Dropping the future of an operation does not affect other operations; an object that was being written or deleted
//! may or may not have been, and is never a mixture.
//!
//! [OpenDAL]: https://docs.rs/opendal
// Marks items of features in the documentation of docs.rs, which is built by a nightly toolchain.
#![cfg_attr(docsrs, feature(doc_cfg))]

mod builder;
mod config;
mod core;
mod service;

pub use builder::Memcached;
pub use config::MemcachedConfig;
pub use remcache::recipes::OnUnavailable;

/// The scheme of the service.
pub const MEMCACHED_SCHEME: &str = "memcached";

/// Registers the service under its [scheme](MEMCACHED_SCHEME), instead of OpenDAL's own if that is registered.
pub fn register(registry: &opendal_core::OperatorRegistry) {
    registry.register::<Memcached>(MEMCACHED_SCHEME);
}

#[doc = include_str!("../README.md")]
#[cfg(doctest)]
struct Readme;
