//! A memcached store for [actix-session]. While the cache is unavailable, visitors are logged out and requests succeed:
//! a session that cannot be loaded within the store's [budget](MemcachedSessionStore::budget) counts as absent, and one
//! that cannot be stored is lost. Both are logged; [`on_unavailable`](MemcachedSessionStore::on_unavailable) makes them
//! errors.
//!
//! ```
//! use std::net::TcpListener;
//!
//! use actix_session::{Session, SessionMiddleware};
//! use actix_web::{App, HttpServer, cookie::Key, web};
//! use remcache::Client;
//! use remcache_actix_session::MemcachedSessionStore;
//!
//! async fn count(session: Session) -> actix_web::Result<String> {
//!     let visits = session.get::<u64>("visits")?.unwrap_or(0) + 1;
//!     session.insert("visits", visits)?;
//!     Ok(format!("{visits} visits"))
//! }
//!
//! async fn serve(listener: TcpListener, client: &Client, key: Key) -> std::io::Result<()> {
//!     let store = MemcachedSessionStore::new(client);
//!     let app = move || {
//!         let sessions = SessionMiddleware::new(store.clone(), key.clone());
//!         App::new().wrap(sessions).route("/", web::get().to(count))
//!     };
//!     HttpServer::new(app).listen(listener)?.run().await
//! }
//! #
//! # #[actix_web::main]
//! # async fn main() {
//! #     let memcached = remcache_testkit::Memcached::start(&[]);
//! #     let client = Client::new([memcached.addr()]).unwrap();
//! #     let listener = TcpListener::bind("127.0.0.1:0").unwrap();
//! #     let address = listener.local_addr().unwrap().to_string();
//! #     actix_web::rt::spawn(async move { serve(listener, &client, Key::generate()).await });
//! #     let response = web::block(move || remcache_testkit::http_get(&address, "/")).await;
//! #     assert_eq!(response.unwrap(), Some((200, "1 visits".to_owned())));
//! # }
//! ```
//!
//! `serve` runs until the server is stopped. All workers share one client, although each has its own runtime. With
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
//! # Errors and cancellation
//!
//! A session above the item size limit, and one that cannot be serialized, are errors with either setting of
//! [`on_unavailable`](MemcachedSessionStore::on_unavailable). Dropping the future of an operation does not affect other
//! operations; a session that was being stored or deleted may or may not have been.
//!
//! [actix-session]: https://docs.rs/actix-session

mod store;

pub use remcache::recipes::OnUnavailable;
pub use store::{MemcachedSessionStore, OnEvicted};

#[doc = include_str!("../README.md")]
#[cfg(doctest)]
struct Readme;
