//! The manager on real memcached servers, which may be killed or stopped.

mod example;
mod manager;
mod outage;
mod service;

use std::time::Duration;

use http_cache::{HttpHeaders, HttpResponse, HttpVersion};
use http_cache_semantics::CachePolicy;
use remcache::{Client, Config};
use remcache_http_cache::MemcachedManager;
use remcache_testkit::Memcached;

/// Returns a client whose own timeouts are longer than any test: only the manager's budget can end a call.
fn client(server: &Memcached) -> Client {
    let config = Config::new().timeout(Duration::from_secs(300)).connect_timeout(Duration::from_secs(300));
    Client::with_config([server.addr()], config).expect("a valid address")
}

/// Returns a manager without a noticeable budget.
fn patient_manager(server: &Memcached) -> MemcachedManager {
    MemcachedManager::new(&client(server)).budget(Duration::from_secs(300))
}

/// Returns a response with this body, and its policy.
fn response(body: impl Into<Vec<u8>>) -> (HttpResponse, CachePolicy) {
    let mut headers = HttpHeaders::default();
    headers.insert("cache-control".to_owned(), "max-age=60".to_owned());
    let request = http::Request::get("http://example.com/").body(()).expect("valid");
    let response = http::Response::builder().header("cache-control", "max-age=60").body(()).expect("valid");
    let policy = CachePolicy::new(&request, &response);
    let response = HttpResponse {
        body: body.into(),
        headers,
        status: 200,
        url: "http://example.com/".parse().expect("valid"),
        version: HttpVersion::Http11,
        metadata: Some(b"metadata".to_vec()),
    };
    (response, policy)
}
