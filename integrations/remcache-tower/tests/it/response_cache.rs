//! What the response cache stores, and which requests get it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use axum::{Router, routing::any};
use remcache_testkit::Memcached;
use remcache_tower::ResponseCacheLayer;

use crate::support::{Outage, client, field, get, request, send, text, within_budget};

/// An application whose responses are numbered, and have the fields that the request names:
/// `x-respond-with: NAME: VALUE`.
struct Site {
    app: Router,
    calls: Arc<AtomicUsize>,
}

impl Site {
    fn new(layer: ResponseCacheLayer) -> Self {
        let calls = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&calls);
        let handler = move |request: HeaderMap| {
            let number = count.fetch_add(1, Ordering::SeqCst) + 1;
            async move { response(number, &request) }
        };
        let app = Router::new().route("/{*path}", any(handler)).layer(layer);
        Self { app, calls }
    }

    fn with_long_budget(server: &Memcached) -> Self {
        Self::new(ResponseCacheLayer::new(&client(server)).budget(Duration::from_secs(100)))
    }

    fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }

    /// Returns the body of the response to a GET request.
    async fn get(&self, path: &str, fields: &[(&str, &str)]) -> String {
        text(send(&self.app, get(path, fields)).await).await
    }

    async fn send(&self, method: &str, path: &str, fields: &[(&str, &str)]) {
        send(&self.app, request(method, path, fields, "")).await;
    }
}

fn response(number: usize, request: &HeaderMap) -> Response {
    let mut response = format!("response {number}").into_response();
    for value in request.get_all("x-respond-with") {
        let (name, value) = value.to_str().expect("text").split_once(": ").expect("NAME: VALUE");
        match name {
            "status" => *response.status_mut() = value.parse().expect("valid"),
            "body" if value == "stream" => *response.body_mut() = Body::from_stream(Once(Some(Bytes::from("stream")))),
            "body" => *response.body_mut() = Body::from("x".repeat(value.parse().expect("valid"))),
            _ => {
                let name: http::HeaderName = name.parse().expect("valid");
                response.headers_mut().append(name, value.parse().expect("valid"));
            }
        }
    }
    response
}

/// A stream of one item, whose length is unknown.
struct Once(Option<Bytes>);

impl futures_core::Stream for Once {
    type Item = Result<Bytes, std::convert::Infallible>;

    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        std::task::Poll::Ready(self.0.take().map(Ok))
    }
}

const MINUTE: (&str, &str) = ("x-respond-with", "cache-control: max-age=60");
const PUBLIC: (&str, &str) = ("x-respond-with", "cache-control: public, max-age=60");

#[tokio::test]
async fn a_response_that_names_its_lifetime_is_stored() {
    let server = Memcached::start(&[]);
    let site = Site::with_long_budget(&server);
    assert_eq!(site.get("/a", &[MINUTE, ("x-respond-with", "x-own: kept")]).await, "response 1");
    let response = send(&site.app, get("/a", &[])).await;
    assert_eq!(field(&response, "x-own").unwrap(), "kept");
    assert!(field(&response, "cache-status").unwrap().starts_with("remcache; hit; ttl="));
    assert!(field(&response, "age").unwrap().parse::<u64>().unwrap() < 60);
    assert_eq!(text(response).await, "response 1");

    assert_eq!(site.get("/a?query", &[MINUTE]).await, "response 2");
    assert_eq!(site.get("/a", &[("host", "other"), MINUTE]).await, "response 3");
    assert_eq!(site.get("/b", &[MINUTE]).await, "response 4");
    // Another process, or this one after a restart.
    let other = Site::with_long_budget(&server);
    assert_eq!(other.get("/a", &[]).await, "response 1");
    assert_eq!(other.calls(), 0);
}

#[tokio::test]
async fn other_responses_are_not_stored() {
    let server = Memcached::start(&[]);
    let site = Site::with_long_budget(&server);
    let cases: [&[(&str, &str)]; 9] = [
        &[],
        &[("x-respond-with", "cache-control: max-age=0")],
        &[MINUTE, ("x-respond-with", "cache-control: no-store")],
        &[MINUTE, ("x-respond-with", "cache-control: private")],
        &[MINUTE, ("x-respond-with", "set-cookie: id=1")],
        &[MINUTE, ("x-respond-with", "vary: *")],
        &[MINUTE, ("x-respond-with", "status: 500")],
        &[MINUTE, ("x-respond-with", "body: stream")],
        &[MINUTE, ("x-respond-with", "body: 600000")],
    ];
    for (number, fields) in cases.iter().enumerate() {
        for _ in 0..3 {
            let path = format!("/{number}");
            assert_eq!(field(&send(&site.app, get(&path, fields)).await, "cache-status"), None, "{fields:?}");
        }
        assert_eq!(site.calls(), 3 * (number + 1), "{fields:?}");
    }
    assert_eq!(site.get("/stream", &[MINUTE, ("x-respond-with", "body: stream")]).await, "stream");
}

#[tokio::test]
async fn a_response_expires() {
    let server = Memcached::start(&[]);
    let site = Site::with_long_budget(&server);
    let second = ("x-respond-with", "cache-control: max-age=1");
    assert_eq!(site.get("/a", &[second]).await, "response 1");
    while site.get("/a", &[MINUTE]).await == "response 1" {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(site.get("/a", &[MINUTE]).await, "response 2");
}

#[tokio::test]
async fn variants_are_separate() {
    let server = Memcached::start(&[]);
    let site = Site::with_long_budget(&server);
    let vary = ("x-respond-with", "vary: Accept-Language");
    let ask = |language| [MINUTE, vary, ("accept-language", language)];
    assert_eq!(site.get("/a", &ask("de")).await, "response 1");
    assert_eq!(site.get("/a", &ask("en")).await, "response 2");
    assert_eq!(site.get("/a", &[MINUTE, vary]).await, "response 3");
    for (language, expected) in [("en", "response 2"), ("de", "response 1")] {
        assert_eq!(site.get("/a", &ask(language)).await, expected);
    }
    assert_eq!(site.get("/a", &[MINUTE, vary, ("accept", "other")]).await, "response 3");
    site.send("POST", "/a", &[]).await;
    assert_eq!(site.get("/a", &ask("de")).await, "response 5");
}

#[tokio::test]
async fn requests_of_users_get_only_public_responses() {
    let server = Memcached::start(&[]);
    let site = Site::with_long_budget(&server);
    let (ada, bob) = (("authorization", "Bearer ada"), ("authorization", "Bearer bob"));
    assert_eq!(site.get("/own", &[MINUTE, ada]).await, "response 1");
    assert_eq!(site.get("/own", &[MINUTE, bob]).await, "response 2");
    assert_eq!(site.get("/own", &[MINUTE]).await, "response 3", "a response to a user is not stored");
    assert_eq!(site.get("/own", &[MINUTE, ada]).await, "response 4", "a user does not get the response of another");
    assert_eq!(site.get("/own", &[]).await, "response 3");

    assert_eq!(site.get("/public", &[PUBLIC, ada]).await, "response 5");
    assert_eq!(site.get("/public", &[PUBLIC, bob]).await, "response 5");
    site.send("DELETE", "/public", &[ada]).await;
    assert_eq!(site.get("/public", &[PUBLIC, bob]).await, "response 7");
}

#[tokio::test]
async fn directives_of_requests_are_honoured() {
    let server = Memcached::start(&[]);
    let site = Site::with_long_budget(&server);
    let cache = |directive| [MINUTE, ("cache-control", directive)];
    let response = send(&site.app, get("/a", &cache("only-if-cached"))).await;
    assert_eq!((response.status().as_u16(), site.calls()), (504, 0));
    assert_eq!(site.get("/a", &cache("no-store")).await, "response 1");
    assert_eq!(site.get("/a", &[MINUTE]).await, "response 2", "it was not stored");
    assert_eq!(site.get("/a", &cache("only-if-cached")).await, "response 2");
    assert_eq!(site.get("/a", &cache("max-age=50")).await, "response 2");
    assert_eq!(site.get("/a", &cache("no-cache")).await, "response 3");
    assert_eq!(site.get("/a", &[MINUTE]).await, "response 3", "the stored response was replaced");
    assert_eq!(site.get("/a", &[("range", "bytes=0-1")]).await, "response 4");
}

#[tokio::test]
async fn a_conditional_request_gets_304() {
    let server = Memcached::start(&[]);
    let site = Site::with_long_budget(&server);
    let tag = ("x-respond-with", "etag: \"v1\"");
    assert_eq!(site.get("/a", &[MINUTE, tag]).await, "response 1");
    let response = send(&site.app, get("/a", &[("if-none-match", "\"v0\", W/\"v1\"")])).await;
    assert_eq!((response.status().as_u16(), field(&response, "etag").unwrap()), (304, "\"v1\"".to_owned()));
    assert_eq!(text(response).await, "");
    assert_eq!(site.get("/a", &[("if-none-match", "\"v2\"")]).await, "response 1");
}

#[tokio::test]
async fn a_change_of_a_uri_removes_its_response() {
    let server = Memcached::start(&[]);
    let site = Site::with_long_budget(&server);
    let mut number = 0;
    for method in ["POST", "PUT", "PATCH", "DELETE"] {
        number += 1;
        assert_eq!(site.get("/a", &[MINUTE]).await, format!("response {number}"), "{method}");
        site.send(method, "/a", &[]).await;
        number += 1;
    }
    assert_eq!(site.get("/a", &[MINUTE]).await, "response 9");
    site.send("POST", "/a", &[("x-respond-with", "status: 400")]).await;
    site.send("HEAD", "/a", &[]).await;
    assert_eq!(site.get("/a", &[MINUTE]).await, "response 9");
}

#[tokio::test]
async fn an_item_that_is_not_an_entry_is_ignored() {
    let server = Memcached::start(&[]);
    let client = client(&server);
    let site = Site::new(ResponseCacheLayer::new(&client).prefix("p:").budget(Duration::from_secs(100)));
    assert_eq!(site.get("/a", &[MINUTE]).await, "response 1");
    let mut dump = client.servers()[0].metadump();
    let mut keys = Vec::new();
    while let Some(item) = dump.next().await {
        keys.push(item.expect("a dump").key);
    }
    assert_eq!(keys.len(), 1);
    client.set(&keys[0][..], "garbage").await.unwrap();
    assert_eq!(site.get("/a", &[MINUTE]).await, "response 2");
}

#[tokio::test]
async fn requests_reach_the_handler_while_the_cache_is_unavailable() {
    for outage in Outage::ALL {
        let mut server = Memcached::start(&[]);
        let site = Site::new(ResponseCacheLayer::new(&client(&server)));
        assert_eq!(site.get("/a", &[MINUTE]).await, "response 1");
        outage.begin(&mut server);
        for number in 2..5 {
            assert_eq!(within_budget(site.get("/a", &[MINUTE])).await, format!("response {number}"));
        }
        within_budget(site.send("POST", "/a", &[])).await;
        assert_eq!(within_budget(site.get("/a", &[("cache-control", "no-cache")])).await, "response 6");
    }
}
