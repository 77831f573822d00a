//! The store on real memcached servers, which may be killed or stopped.

mod example;
mod memoized;
mod outage;
mod store;

use std::time::Duration;

use remcache::value::Codec;
use remcache::{Client, Config};
use remcache_cached::MemcachedCache;
use remcache_testkit::Memcached;

/// Returns a client whose own timeouts are longer than any test: only the store's budget can end a call.
fn client(server: &Memcached) -> Client {
    let config = Config::new().timeout(Duration::from_secs(300)).connect_timeout(Duration::from_secs(300));
    Client::with_config([server.addr()], config).expect("a valid address")
}

/// Returns a store without a noticeable budget.
fn patient_store(server: &Memcached, name: &str) -> MemcachedCache<String, String> {
    MemcachedCache::new(&client(server), name, Codec::json()).budget(Duration::from_secs(300))
}
