//! A memcached manager for [http-cache]. While the cache is unavailable, requests go to their servers, after at most
//! the manager's [budget](MemcachedManager::budget) for each of its operations;
//! [`on_unavailable`](MemcachedManager::on_unavailable) makes them fail.
//!
//! ```
//! use http_cache::{CacheMode, HttpCache, HttpCacheOptions};
//! use remcache::Client;
//! use remcache_http_cache::MemcachedManager;
//!
//! /// Returns a cache for the middleware of reqwest, tower and other HTTP clients.
//! fn cache(client: &Client) -> HttpCache<MemcachedManager> {
//!     let manager = MemcachedManager::new(client);
//!     HttpCache { mode: CacheMode::Default, manager, options: HttpCacheOptions::default() }
//! }
//! #
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! #     use http_body_util::{BodyExt, Full};
//! #     use http_cache_tower::HttpCacheLayer;
//! #     use tower::{BoxError, Layer, ServiceExt};
//! #
//! #     let memcached = remcache_testkit::Memcached::start(&[]);
//! #     let client = Client::new([memcached.addr()]).unwrap();
//! #     let origin = tower::service_fn(|_: http::Request<Full<bytes::Bytes>>| async {
//! #         let response = http::Response::builder().header("cache-control", "max-age=60");
//! #         Ok::<_, BoxError>(response.body(Full::<bytes::Bytes>::from("Hello"))?)
//! #     });
//! #     let service = HttpCacheLayer::with_cache(cache(&client)).layer(origin);
//! #     for _ in 0..2 {
//! #         let request = http::Request::get("http://example.com/").body(Full::default()).unwrap();
//! #         let Ok(response) = service.clone().oneshot(request).await else { panic!("no response") };
//! #         let Ok(body) = response.into_body().collect().await else { panic!("no body") };
//! #         assert_eq!(body.to_bytes(), "Hello");
//! #     }
//! # }
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
//! # Errors and cancellation
//!
//! With [`FailClosed`](OnUnavailable::FailClosed) the manager returns the client's error, or one that names the
//! exceeded budget, and the request fails. Dropping a request does not affect others; its response may or may not have
//! been stored.
//!
//! [http-cache]: https://docs.rs/http-cache

mod manager;

pub use manager::MemcachedManager;
pub use remcache::recipes::OnUnavailable;

#[doc = include_str!("../README.md")]
#[cfg(doctest)]
struct Readme;
