//! A memcached store for [cached]. While the cache is unavailable, functions are called as if nothing was stored, after
//! at most the store's [budget](MemcachedCache::budget); [`on_unavailable`](MemcachedCache::on_unavailable) makes these
//! calls errors.
//!
//! ```
//! use std::time::Duration;
//!
//! use cached::macros::concurrent_cached;
//! use remcache::value::Codec;
//! use remcache_cached::{Error, MemcachedCache};
//!
//! async fn connect() -> MemcachedCache<u64, String> {
//!     let client = remcache::Client::new(["cache1:11211", "cache2:11211"]).expect("valid addresses");
//! #   let client = remcache::Client::new([ADDRESS.get().unwrap()]).unwrap();
//!     MemcachedCache::new(&client, "user names", Codec::json()).ttl(Duration::from_secs(600))
//! }
//!
//! #[concurrent_cached(
//!     map_error = r#"|error| error"#,
//!     ty = "MemcachedCache<u64, String>",
//!     create = r#"{ connect().await }"#
//! )]
//! async fn user_name(id: u64) -> Result<String, Error> {
//!     Ok(format!("user {id}")) // from a database
//! }
//! #
//! # static ADDRESS: std::sync::OnceLock<String> = std::sync::OnceLock::new();
//! #
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Error> {
//! #     let memcached = remcache_testkit::Memcached::start(&[]);
//! #     ADDRESS.set(memcached.addr()).unwrap();
//! #     for _ in 0..2 {
//! #         assert_eq!(user_name(42).await?, "user 42");
//! #     }
//! #     Ok(())
//! # }
//! ```
//!
//! # Stored items
//!
//! A value is stored under the text of its key, after the name of the cache and a colon; text that is not a valid
//! memcached key is hashed. A value that the codec cannot decode, for example of an older version of a program, counts
//! as missing and is replaced.
//!
//! Storing and removing return the previous value, as the trait requires. That takes a second command, and another
//! process may change the value in between. The macro does not use it.
//!
//! # Errors and cancellation
//!
//! With [`FailClosed`](OnUnavailable::FailClosed) an unavailable cache is an [`Error`]; requests that a server rejects,
//! such as those without permission, always are. Dropping the future of an operation does not affect other operations;
//! a value that was being stored or removed may or may not have been.
//!
//! [cached]: https://docs.rs/cached
// Marks items of features in the documentation of docs.rs, which is built by a nightly toolchain.
#![cfg_attr(docsrs, feature(doc_cfg))]

mod error;
mod key;
mod store;

pub use error::Error;
pub use remcache::recipes::OnUnavailable;
pub use store::MemcachedCache;

#[doc = include_str!("../README.md")]
#[cfg(doctest)]
struct Readme;
