//! Services behind the middleware of http-cache for tower.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use http_cache_tower::HttpCacheLayer;
use remcache_http_cache::MemcachedManager;
use remcache_testkit::Memcached;
use tower::{Layer, ServiceExt, service_fn};

use crate::{client, patient_manager};

/// Sends a request through the cache, and returns the body; responses are numbered by `calls`.
async fn get(manager: &MemcachedManager, calls: &Arc<AtomicU32>, path: &str) -> String {
    let calls = Arc::clone(calls);
    let origin = service_fn(move |_: Request<Full<Bytes>>| {
        let number = calls.fetch_add(1, Ordering::SeqCst) + 1;
        let response =
            Response::builder().header("cache-control", "max-age=60").body(Full::new(Bytes::from(number.to_string())));
        async move { Ok::<_, Infallible>(response.expect("valid")) }
    });
    let service = HttpCacheLayer::new(manager.clone()).layer(origin);
    let request = Request::get(format!("http://example.com{path}")).body(Full::default()).expect("valid");
    let Ok(response) = service.oneshot(request).await else { panic!("the request failed") };
    let Ok(body) = response.into_body().collect().await else { panic!("the body failed") };
    String::from_utf8(body.to_bytes().to_vec()).expect("text")
}

#[tokio::test]
async fn clients_share_responses() {
    let server = Memcached::start(&[]);
    let calls = Arc::default();
    assert_eq!(get(&patient_manager(&server), &calls, "/a").await, "1");
    assert_eq!(get(&patient_manager(&server), &calls, "/a").await, "1", "another client");
    assert_eq!(get(&patient_manager(&server), &calls, "/b").await, "2");
}

#[tokio::test]
async fn requests_succeed_while_the_cache_is_unavailable() {
    for interrupt in [Memcached::kill, |server: &mut Memcached| server.stop()] {
        let mut server = Memcached::start(&[]);
        let (manager, calls) = (MemcachedManager::new(&client(&server)), Arc::default());
        interrupt(&mut server);
        assert_eq!(get(&manager, &calls, "/a").await, "1");
        assert_eq!(get(&manager, &calls, "/a").await, "2");
    }
}
