//! The acceptance tests that actix-session has for its stores.
#![allow(clippy::all, reason = "the included tests follow the lints of their project")]

// The included module finds the crate's items where it expects them.
use actix_session::{Session, SessionExt, SessionMiddleware, config, storage};

include!(concat!(env!("OUT_DIR"), "/actix_session.rs"));

use std::time::Duration;

use remcache::Client;
use remcache_actix_session::{MemcachedSessionStore, OnEvicted};
use remcache_testkit::Memcached;

async fn acceptance_tests(change: fn(MemcachedSessionStore) -> MemcachedSessionStore) {
    let server = Memcached::start(&[]);
    let client = Client::new([server.addr()]).expect("a valid address");
    // A slow machine must not log visitors out.
    let store = change(MemcachedSessionStore::new(&client).budget(Duration::from_secs(60)));
    test_helpers::acceptance_test_suite(move || store.clone(), true).await;
}

#[actix_web::test]
async fn stores_that_discard_evicted_sessions_pass() {
    acceptance_tests(|store| store.on_evicted(OnEvicted::Discard)).await;
}

#[actix_web::test]
async fn stores_that_recreate_evicted_sessions_pass() {
    acceptance_tests(|store| store.on_evicted(OnEvicted::Recreate)).await;
}
