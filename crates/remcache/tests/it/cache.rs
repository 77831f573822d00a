//! A typed cache with a real memcached: values, chunks, and in-process copies.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod chunked;
mod local;
mod typed;
mod update;

use remcache::Client;
use remcache_testkit::Memcached;

use crate::support::patient_config;

fn client_of(server: &Memcached) -> Client {
    Client::with_config([server.addr()], patient_config()).unwrap()
}
