//! The tests that tower-sessions has for its stores.
#![allow(clippy::all, reason = "the included tests follow the lints of their project")]

include!(concat!(env!("OUT_DIR"), "/tower_sessions.rs"));

use axum::Router;
use common::build_app;
use remcache::Client;
use remcache_testkit::Memcached;
use remcache_tower_sessions::MemcachedStore;
use std::sync::LazyLock;
use tower_sessions::SessionManagerLayer;

/// One server for all tests, as sessions do not meet.
static SERVER: LazyLock<Memcached> = LazyLock::new(|| Memcached::start(&[]));

async fn app(max_age: Option<Duration>, domain: Option<String>) -> Router {
    let client = Client::new([SERVER.addr()]).expect("a valid address");
    // A slow machine must not log visitors out.
    let store = MemcachedStore::new(&client).budget(std::time::Duration::from_secs(60));
    build_app(SessionManagerLayer::new(store).with_secure(true), max_age, domain)
}

route_tests!(app);
