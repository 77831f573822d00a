//! A typed cache against a real memcached: values, chunks, copies near by.

#![cfg(all(feature = "json", feature = "near", feature = "zstd", feature = "deflate"))]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "support/eventually.rs"]
mod eventually;
#[path = "support/patient.rs"]
mod patient;
#[path = "support/stat.rs"]
mod stat;
#[path = "support/text.rs"]
mod text;

#[path = "cache/chunked.rs"]
mod chunked;
#[path = "cache/near.rs"]
mod near;
#[path = "cache/typed.rs"]
mod typed;

use patient::patient;
use remcache::Client;
use remcache_testkit::Memcached;

fn client_of(server: &Memcached) -> Client {
    Client::with_config([server.addr()], patient()).unwrap()
}
