//! One call of the handler for many requests.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::{Router, routing::get as route};
use remcache::Client;
use remcache_testkit::Memcached;
use remcache_tower::ResponseCacheLayer;
use tokio::task::JoinSet;

use crate::support::{client, get, send, text};

/// Creates an application whose only handler is slow and has this `Cache-Control`.
fn app(client: &Client, calls: &Arc<AtomicUsize>, fields: &'static [(&str, &str)]) -> Router {
    let calls = Arc::clone(calls);
    let handler = move || {
        calls.fetch_add(1, Ordering::SeqCst);
        async move {
            tokio::time::sleep(Duration::from_millis(200)).await;
            let fields: http::HeaderMap = fields
                .iter()
                .map(|(name, value)| (name.parse().expect("valid"), value.parse().expect("valid")))
                .collect();
            (fields, "Hello")
        }
    };
    Router::new().route("/", route(handler)).layer(ResponseCacheLayer::new(client).budget(Duration::from_secs(500)))
}

/// Sends 1,000 concurrent requests, to each application in turn.
async fn send_1000(apps: &[Router]) {
    let mut requests = JoinSet::new();
    for app in apps.iter().cycle().take(1000) {
        let app = app.clone();
        requests.spawn(async move { text(send(&app, get("/", &[("accept", "text/html")])).await).await });
    }
    let responses = requests.join_all().await;
    assert!(responses.len() == 1000 && responses.iter().all(|response| response == "Hello"));
}

#[tokio::test]
async fn a_thousand_misses_call_the_handler_once() {
    for fields in [&[("cache-control", "max-age=60")][..], &[("cache-control", "max-age=60"), ("vary", "accept")]] {
        let server = Memcached::start(&[]);
        let calls = Arc::default();
        send_1000(&[app(&client(&server), &calls, fields)]).await;
        assert_eq!(calls.load(Ordering::SeqCst), 1, "{fields:?}");
    }
}

#[tokio::test]
async fn a_thousand_misses_in_four_processes_call_the_handler_once() {
    let server = Memcached::start(&[]);
    let calls = Arc::default();
    // Separate clients share no state, like separate processes.
    let apps: Vec<_> = (0..4).map(|_| app(&client(&server), &calls, &[("cache-control", "max-age=60")])).collect();
    send_1000(&apps).await;
    assert_eq!(calls.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn requests_do_not_take_turns_if_the_response_is_not_storable() {
    let server = Memcached::start(&[]);
    let calls = Arc::default();
    let app = app(&client(&server), &calls, &[("cache-control", "private")]);
    // Executed one after another they would take 200 s, and the budget is longer.
    tokio::time::timeout(Duration::from_secs(150), send_1000(&[app])).await.expect("the requests are not concurrent");
    assert_eq!(calls.load(Ordering::SeqCst), 1000);
}

#[tokio::test]
async fn a_failing_handler_releases_the_others() {
    let server = Memcached::start(&[]);
    let client = client(&server);
    let app = app(&client, &Arc::default(), &[("cache-control", "max-age=60")]);
    let first = tokio::spawn({
        let app = app.clone();
        async move { send(&app, get("/", &[])).await }
    });
    tokio::time::sleep(Duration::from_millis(50)).await;
    first.abort();
    let response = tokio::time::timeout(Duration::from_secs(25), send(&app, get("/", &[]))).await;
    assert_eq!(text(response.expect("the next request calls the handler")).await, "Hello");
}
