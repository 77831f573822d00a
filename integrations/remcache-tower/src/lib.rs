//! [tower] middleware backed by memcached. By default no request fails because the cache is unavailable: a
//! [rate limit](RateLimitLayer) lets requests pass uncounted, a [response cache](ResponseCacheLayer) calls the handler,
//! and [idempotency keys](IdempotencyLayer) are ignored, each after at most its time budget. Rate limits and
//! idempotency keys can [fail closed](remcache::recipes::OnUnavailable::FailClosed) instead.
//!
//! The layers work with any service of HTTP requests: axum, tonic, hyper. All processes that use the same servers share
//! the state.
//!
//! ```
//! use std::time::Duration;
//!
//! use axum::{Router, routing::get};
//! use remcache::{Client, recipes::{FixedWindow, Limiter}};
//! use remcache_tower::{IdempotencyLayer, RateLimitLayer, ResponseCacheLayer};
//!
//! fn app(client: &Client) -> Result<Router, remcache::Error> {
//!     let limiter = Limiter::new(client, "api", FixedWindow::new(100, Duration::from_secs(60)))?;
//!     let by_token = |request: &http::request::Parts| {
//!         let token = request.headers.get("x-api-token")?;
//!         Some(String::from_utf8_lossy(token.as_bytes()).into_owned())
//!     };
//!     Ok(Router::new()
//!         .route("/", get(|| async { ([("cache-control", "public, max-age=60")], "Hello") }))
//!         .layer(IdempotencyLayer::new(client))
//!         .layer(ResponseCacheLayer::new(client))
//!         .layer(RateLimitLayer::new(limiter, by_token)))
//! }
//! #
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), remcache::Error> {
//! #     use axum::body::{Body, to_bytes};
//! #     use tower::ServiceExt;
//! #
//! #     let memcached = remcache_testkit::Memcached::start(&[]);
//! #     let app = app(&Client::new([memcached.addr()])?)?;
//! #     for _ in 0..2 {
//! #         let request = http::Request::get("/").header("x-api-token", "ada").body(Body::empty()).unwrap();
//! #         let response = app.clone().oneshot(request).await.unwrap();
//! #         assert_eq!(to_bytes(response.into_body(), 100).await.unwrap(), "Hello");
//! #     }
//! #     Ok(())
//! # }
//! ```
//!
//! The last layer added is the first to see a request. Put compression outside of the response cache, so that it stores
//! each response once.
//!
//! # Time budgets
//!
//! Each layer limits the time that it adds to a request while the cache is slow or unavailable: see its `budget`
//! method. A client with an equally short [`timeout`](remcache::Config::timeout) detects an unresponsive server sooner;
//! requests do not wait for a server that is down.
//!
//! # Keys
//!
//! Keys are SHA-256 hashes of the parts that identify a request: they are always valid, a client cannot choose them,
//! and they do not reveal tokens.
//!
//! # Cancel safety
//!
//! When a client disconnects, its request is dropped. It may or may not have been counted by the rate limit; its
//! response is not stored, and another request that waits for it calls the handler. A request with an idempotency key
//! is executed to its end.
//!
//! [tower]: https://docs.rs/tower

mod digest;
mod idempotency;
mod rate_limit;
mod response_cache;
mod service;
mod stored_response;

pub use idempotency::{Idempotency, IdempotencyLayer};
pub use rate_limit::{RateLimit, RateLimitLayer};
pub use response_cache::{ResponseCache, ResponseCacheLayer};
pub use service::ResponseFuture;

#[doc = include_str!("../README.md")]
#[cfg(doctest)]
struct Readme;
