//! The rate limit.

use std::time::Duration;

use axum::{Router, routing::get as route};
use remcache::recipes::{FixedWindow, Gcra, Limiter, OnUnavailable};
use remcache_testkit::Memcached;
use remcache_tower::RateLimitLayer;

use crate::support::{Outage, client, field, get, send, text, within_budget};

/// A window that hardly ends during a test.
const YEAR: Duration = Duration::from_secs(365 * 86_400);
const LONG_BUDGET: Duration = Duration::from_secs(60);

/// Creates an application that limits requests by their field `x-user`.
fn app(limiter: Limiter, configure: impl FnOnce(RateLimitLayer) -> RateLimitLayer) -> Router {
    let layer = RateLimitLayer::new(limiter, |request| {
        request.headers.get("x-user").map(|user| String::from_utf8_lossy(user.as_bytes()).into_owned())
    });
    Router::new().route("/", route(|| async { "Hello" })).layer(configure(layer))
}

#[tokio::test]
async fn a_request_above_the_limit_is_rejected_with_fields() {
    let server = Memcached::start(&[]);
    let limiter = Limiter::new(&client(&server), "test", FixedWindow::new(2, YEAR)).expect("a valid rule");
    let app = app(limiter, |layer| layer.budget(LONG_BUDGET));
    for remaining in ["1", "0"] {
        let response = send(&app, get("/", &[("x-user", "ada")])).await;
        assert_eq!(response.status(), 200);
        assert_eq!(field(&response, "ratelimit-limit").unwrap(), "2");
        assert_eq!(field(&response, "ratelimit-remaining").unwrap(), remaining);
        assert_eq!(field(&response, "retry-after"), None);
        assert_eq!(text(response).await, "Hello");
    }
    let response = send(&app, get("/", &[("x-user", "ada")])).await;
    assert_eq!(response.status(), 429);
    let reset: u64 = field(&response, "ratelimit-reset").unwrap().parse().unwrap();
    assert!(reset > 0 && reset <= YEAR.as_secs(), "{reset}");
    assert_eq!(field(&response, "retry-after").unwrap(), reset.to_string());
    assert_eq!(field(&response, "ratelimit-remaining").unwrap(), "0");
    assert_eq!(field(&response, "ratelimit").unwrap(), format!("\"default\";r=0;t={reset}"));
    assert_eq!(field(&response, "ratelimit-policy").unwrap(), format!("\"default\";q=2;w={}", YEAR.as_secs()));
}

#[tokio::test]
async fn keys_are_counted_separately() {
    let server = Memcached::start(&[]);
    let app = app(Limiter::new(&client(&server), "test", FixedWindow::new(1, YEAR)).expect("a valid rule"), |layer| {
        layer.budget(LONG_BUDGET)
    });
    let long = "x".repeat(1000);
    for user in ["ada", "bob", "with space", "", &long] {
        assert_eq!(send(&app, get("/", &[("x-user", user)])).await.status(), 200, "{user}");
        assert_eq!(send(&app, get("/", &[("x-user", user)])).await.status(), 429, "{user}");
    }
    let response = send(&app, get("/", &[])).await;
    assert_eq!((response.status().as_u16(), field(&response, "ratelimit-limit")), (200, None), "no key, no limit");
}

#[tokio::test]
async fn a_steady_rate_is_limited_too() {
    let server = Memcached::start(&[]);
    let limiter = Limiter::new(&client(&server), "test", Gcra::new(2, YEAR)).expect("a valid rule");
    let app = app(limiter, |layer| layer.budget(LONG_BUDGET));
    for (status, remaining) in [(200, "1"), (200, "0"), (429, "0")] {
        let response = send(&app, get("/", &[("x-user", "ada")])).await;
        assert_eq!(response.status(), status);
        assert_eq!(field(&response, "ratelimit-remaining").unwrap(), remaining);
    }
}

#[tokio::test]
async fn requests_pass_while_the_cache_is_unavailable() {
    for outage in Outage::ALL {
        let mut server = Memcached::start(&[]);
        let app =
            app(Limiter::new(&client(&server), "test", FixedWindow::new(1, YEAR)).expect("a valid rule"), |layer| {
                layer
            });
        send(&app, get("/", &[("x-user", "ada")])).await;
        outage.begin(&mut server);
        for _ in 0..5 {
            let response = within_budget(send(&app, get("/", &[("x-user", "ada")]))).await;
            assert_eq!((response.status().as_u16(), field(&response, "ratelimit-limit")), (200, None));
        }
    }
}

#[tokio::test]
async fn requests_are_rejected_while_the_cache_is_unavailable_if_configured() {
    for outage in Outage::ALL {
        let mut server = Memcached::start(&[]);
        let limiter = Limiter::new(&client(&server), "test", FixedWindow::new(9, YEAR)).expect("a valid rule");
        let app = app(limiter, |layer| layer.on_unavailable(OnUnavailable::FailClosed));
        outage.begin(&mut server);
        let response = within_budget(send(&app, get("/", &[("x-user", "ada")]))).await;
        assert_eq!((response.status().as_u16(), field(&response, "retry-after")), (503, Some("1".to_owned())));
        assert_eq!(within_budget(send(&app, get("/", &[]))).await.status(), 200, "a request without a limit");
    }
}
