//! A memcached store for [actix-session]. While the cache is unavailable, visitors are logged out and requests succeed:
//! a session that cannot be loaded within the store's [budget](MemcachedSessionStore::budget) counts as absent, and one
//! that cannot be stored is lost. Both are logged; [`on_unavailable`](MemcachedSessionStore::on_unavailable) makes them
//! errors.
//!
//! ```no_run
//! use actix_session::{Session, SessionMiddleware};
//! use actix_web::{App, HttpServer, cookie::Key, web};
//! use remcache_actix_session::MemcachedSessionStore;
//!
//! async fn count(session: Session) -> actix_web::Result<String> {
//!     let visits = session.get::<u64>("visits")?.unwrap_or(0) + 1;
//!     session.insert("visits", visits)?;
//!     Ok(format!("{visits} visits"))
//! }
//!
//! #[actix_web::main]
//! async fn main() -> std::io::Result<()> {
//!     // One client for all workers; it connects on first use.
//!     let client = remcache::Client::new(["cache1:11211", "cache2:11211"]).expect("valid addresses");
//!     let store = MemcachedSessionStore::new(&client);
//!     let key = Key::generate(); // in a real application from its configuration
//!     HttpServer::new(move || {
//!         let sessions = SessionMiddleware::new(store.clone(), key.clone());
//!         App::new().wrap(sessions).route("/", web::get().to(count))
//!     })
//!     .bind(("127.0.0.1", 8080))?
//!     .run()
//!     .await
//! }
//! ```
//!
//! All workers can share one client, although each has its own runtime. With
//! [`Config::dedicated_thread`](remcache::Config::dedicated_thread) its connections do not depend on a worker.
//!
//! # Sessions in a cache
//!
//! - Sessions survive a restart of the application, but not of the memcached server. A full server evicts sessions: use
//!   dedicated servers for sessions.
//! - A new session never replaces another: if its random key exists, it gets another key.
//! - A session that another request has deleted, or that was evicted, is not stored again: see [`OnEvicted`].
//! - memcached keys are SHA-256 hashes of session keys: access to the cache does not reveal session keys.
//! - Extending a session sends its new TTL, not its state. TTLs above a year are shortened to a year.
//! - A session above the item size limit of the server (1 MiB by default) is an error.
//! - A logout while the cache is unavailable removes the visitor's cookie, but not the session: someone who has copied
//!   the cookie can use it when the cache is available again. Use [`FailClosed`](OnUnavailable::FailClosed) if that
//!   matters.
//!
//! [actix-session]: https://docs.rs/actix-session

mod store;

pub use remcache::recipes::OnUnavailable;
pub use store::{MemcachedSessionStore, OnEvicted};

#[doc = include_str!("../README.md")]
#[cfg(doctest)]
struct Readme;
