//! Helpers that several test modules use.

use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::{Request, Response};
use axum::{Router, body};
use remcache::{Client, Config};
use remcache_testkit::Memcached;
use tower::ServiceExt;

/// Returns a client whose own timeouts are longer than any test: only a layer's budget can end a call.
pub(crate) fn client(server: &Memcached) -> Client {
    let config = Config::new().timeout(Duration::from_secs(300)).connect_timeout(Duration::from_secs(300));
    Client::with_config([server.addr()], config).expect("a valid address")
}

/// Sends a request to the application.
pub(crate) async fn send(app: &Router, request: Request<Body>) -> Response<Body> {
    app.clone().oneshot(request).await.expect("a router does not fail")
}

/// Creates a request with these fields.
pub(crate) fn request(method: &str, path: &str, fields: &[(&str, &str)], body: &str) -> Request<Body> {
    let request = Request::builder().method(method).uri(path);
    let request = fields.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    request.body(body.to_owned().into()).expect("valid")
}

/// Creates a GET request with these fields.
pub(crate) fn get(path: &str, fields: &[(&str, &str)]) -> Request<Body> {
    request("GET", path, fields, "")
}

/// Returns a field of a response as text.
pub(crate) fn field(response: &Response<Body>, name: &str) -> Option<String> {
    response.headers().get(name).map(|value| value.to_str().expect("text").to_owned())
}

/// Reads the body of a response.
pub(crate) async fn text(response: Response<Body>) -> String {
    let bytes = body::to_bytes(response.into_body(), usize::MAX).await.expect("a body without errors");
    String::from_utf8(bytes.to_vec()).expect("text")
}

/// A way in which a server becomes unavailable.
pub(crate) enum Outage {
    Killed,
    Stopped,
}

impl Outage {
    pub(crate) const ALL: [Self; 2] = [Self::Killed, Self::Stopped];

    pub(crate) fn begin(&self, server: &mut Memcached) {
        match self {
            Self::Killed => server.kill(),
            Self::Stopped => server.stop(),
        }
    }
}

/// Awaits a future that must end by the budget of a layer: the client itself would wait for 300 s.
pub(crate) async fn within_budget<T>(future: impl Future<Output = T>) -> T {
    let started = Instant::now();
    let result = future.await;
    assert!(started.elapsed() < Duration::from_secs(100), "took {:?}", started.elapsed());
    result
}
