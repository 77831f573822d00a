//! A memcached store for [tower-sessions]. While the cache is unavailable, visitors are logged out and requests
//! succeed: a session that cannot be loaded within the store's [budget](MemcachedStore::budget) counts as absent, and
//! one that cannot be stored is lost. Both are logged; [`on_unavailable`](MemcachedStore::on_unavailable) makes them
//! errors.
//!
//! ```
//! use axum::{Router, http::StatusCode, routing::get};
//! use remcache::Client;
//! use remcache_tower_sessions::MemcachedStore;
//! use tower_sessions::{Session, SessionManagerLayer};
//!
//! async fn count(session: Session) -> Result<String, StatusCode> {
//!     let failed = |_| StatusCode::INTERNAL_SERVER_ERROR;
//!     let visits = session.get::<u64>("visits").await.map_err(failed)?.unwrap_or(0) + 1;
//!     session.insert("visits", visits).await.map_err(failed)?;
//!     Ok(format!("{visits} visits"))
//! }
//!
//! fn app(client: &Client) -> Router {
//!     let sessions = SessionManagerLayer::new(MemcachedStore::new(client));
//!     Router::new().route("/", get(count)).layer(sessions)
//! }
//! #
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! #     use axum::body::to_bytes;
//! #     use tower::ServiceExt;
//! #
//! #     let memcached = remcache_testkit::Memcached::start(&[]);
//! #     let app = app(&Client::new([memcached.addr()]).unwrap());
//! #     let response = app.oneshot(axum::http::Request::new(axum::body::Body::empty())).await.unwrap();
//! #     assert!(response.headers().contains_key("set-cookie"));
//! #     assert_eq!(to_bytes(response.into_body(), 100).await.unwrap(), "1 visits");
//! # }
//! ```
//!
//! # Sessions in a cache
//!
//! - Sessions survive a restart of the application, but not of the memcached server. A full server evicts sessions: use
//!   dedicated servers for sessions, or a database with this store as its cache, in a
//!   [`CachingSessionStore`](tower_sessions_core::CachingSessionStore).
//! - A new session never replaces another: if its random ID exists, it gets another ID.
//! - A session that another request has deleted, or that was evicted, is not stored again: see [`OnEvicted`].
//! - Keys are SHA-256 hashes of IDs, and items do not contain the ID: access to the cache does not reveal session IDs.
//! - A session may have any expiry; the store keeps it for at most a year after it was saved.
//! - A session above the item size limit of the server (1 MiB by default) is an error.
//! - A logout while the cache is unavailable removes the visitor's cookie, but not the session: someone who has copied
//!   the cookie can use it when the cache is available again. Use [`FailClosed`](OnUnavailable::FailClosed) if that
//!   matters.
//!
//! # Errors and cancellation
//!
//! A session above the item size limit, and one that cannot be serialized, are errors with either setting of
//! [`on_unavailable`](MemcachedStore::on_unavailable). Dropping the future of an operation does not affect other
//! operations; a session that was being stored or deleted may or may not have been.
//!
//! [tower-sessions]: https://docs.rs/tower-sessions

mod record;
mod store;

pub use remcache::recipes::OnUnavailable;
pub use store::{MemcachedStore, OnEvicted};

#[doc = include_str!("../README.md")]
#[cfg(doctest)]
struct Readme;
