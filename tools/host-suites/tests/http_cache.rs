//! The tests that http-cache and http-cache-tower have for their managers.
#![allow(clippy::all, unexpected_cfgs, reason = "the included tests follow the lints and features of their projects")]

// The included modules find these items in their crate.
use http_cache::*;
use http_cache_tower::{HttpCacheBody, HttpCacheError, HttpCacheLayer};

include!(concat!(env!("OUT_DIR"), "/http_cache.rs"));
include!(concat!(env!("OUT_DIR"), "/http_cache_tower.rs"));

use std::path::PathBuf;
use std::sync::LazyLock;
use std::time::Duration;

use remcache::{Client, Config};
use remcache_http_cache::MemcachedManager;
use remcache_testkit::Memcached;

/// One server for all tests; each test has another namespace.
static SERVER: LazyLock<Memcached> = LazyLock::new(|| Memcached::start(&[]));

/// Has the name of the manager that the tests were written for, which stores responses in a directory.
struct CACacheManager;

impl CACacheManager {
    fn new(directory: PathBuf, _: bool) -> MemcachedManager {
        let config = Config::new().namespace(directory.display().to_string());
        let client = Client::with_config([SERVER.addr()], config).expect("a valid address");
        // A slow machine must not lose responses.
        MemcachedManager::new(&client).budget(Duration::from_secs(60))
    }
}
