//! A memcached manager for [http-cache]. While the cache is unavailable, requests go to their servers, after at most
//! the manager's [budget](MemcachedManager::budget) for each of its operations;
//! [`on_unavailable`](MemcachedManager::on_unavailable) makes them fail.
//!
//! ```
//! use http_cache::{CacheMode, HttpCache, HttpCacheOptions};
//! use remcache_http_cache::MemcachedManager;
//!
//! let client = remcache::Client::new(["cache1:11211", "cache2:11211"])?; // connects on first use
//! // For the middleware of reqwest, tower and other clients.
//! let cache = HttpCache {
//!     mode: CacheMode::Default,
//!     manager: MemcachedManager::new(&client),
//!     options: HttpCacheOptions::default(),
//! };
//! # Ok::<(), remcache::Error>(())
//! ```
//!
//! # Stored items
//!
//! A response and its policy are stored under a hash of http-cache's key. Responses above 512 KiB are stored in several
//! items, up to 64 MiB. An item that cannot be decoded, for example of another version, counts as missing.
//!
//! Deletes while the cache is unavailable are lost: when it is available again, the response is returned until it is
//! stale.
//!
//! [http-cache]: https://docs.rs/http-cache

mod manager;

pub use manager::MemcachedManager;
pub use remcache::recipes::OnUnavailable;

#[doc = include_str!("../README.md")]
#[cfg(doctest)]
struct Readme;
