//! Idempotency keys.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::http::StatusCode;
use axum::{Router, routing::post};
use remcache::recipes::OnUnavailable;
use remcache_testkit::Memcached;
use remcache_tower::IdempotencyLayer;
use tokio::sync::Semaphore;

use crate::support::{Outage, client, field, request, send, text, within_budget};

/// An application that counts payments. Each waits for a permit.
struct Shop {
    app: Router,
    payments: Arc<AtomicUsize>,
    permits: Arc<Semaphore>,
    /// Has a permit for each payment that has started.
    started: Arc<Semaphore>,
}

impl Shop {
    fn new(layer: IdempotencyLayer) -> Self {
        let payments = Arc::new(AtomicUsize::new(0));
        let [permits, started] = [(); 2].map(|()| Arc::new(Semaphore::new(0)));
        let (counter, permit, start) = (Arc::clone(&payments), Arc::clone(&permits), Arc::clone(&started));
        let pay = move |body: String| async move {
            start.add_permits(1);
            permit.acquire().await.expect("the semaphore is open").forget();
            let number = counter.fetch_add(1, Ordering::SeqCst) + 1;
            match body.as_str() {
                "broken" => (StatusCode::BAD_GATEWAY, format!("failed {number}")),
                _ => (StatusCode::CREATED, format!("paid {number}")),
            }
        };
        let app = Router::new().route("/pay", post(pay.clone()).put(pay)).layer(layer);
        Self { app, payments, permits, started }
    }

    fn with_long_budget(server: &Memcached) -> Self {
        let shop = Self::new(IdempotencyLayer::new(&client(server)).budget(Duration::from_secs(100)));
        shop.permits.add_permits(100);
        shop
    }

    fn payments(&self) -> usize {
        self.payments.load(Ordering::SeqCst)
    }

    async fn pay(&self, fields: &[(&str, &str)], body: &str) -> (u16, Option<String>, String) {
        let response = send(&self.app, request("POST", "/pay", fields, body)).await;
        let (status, replayed) = (response.status().as_u16(), field(&response, "idempotency-replayed"));
        (status, replayed, text(response).await)
    }
}

fn replayed() -> Option<String> {
    Some("true".to_owned())
}

#[tokio::test]
async fn a_repeated_request_gets_the_first_response() {
    let server = Memcached::start(&[]);
    let shop = Shop::with_long_budget(&server);
    let key = [("idempotency-key", "\"8e03978e\"")];
    assert_eq!(shop.pay(&key, "5").await, (201, None, "paid 1".to_owned()));
    assert_eq!(shop.pay(&key, "5").await, (201, replayed(), "paid 1".to_owned()));
    assert_eq!(shop.pay(&key, "6").await, (422, None, String::new()), "another request");
    let typed = [("idempotency-key", "\"8e03978e\""), ("content-type", "text/plain")];
    assert_eq!(shop.pay(&typed, "5").await, (422, None, String::new()), "another content type");
    assert_eq!(shop.payments(), 1);
}

#[tokio::test]
async fn other_requests_are_executed() {
    let server = Memcached::start(&[]);
    let shop = Shop::with_long_budget(&server);
    let key = |value| [("idempotency-key", value)];
    assert_eq!(shop.pay(&key("a"), "5").await.2, "paid 1");
    assert_eq!(shop.pay(&key("b"), "5").await.2, "paid 2");
    assert_eq!(shop.pay(&[], "5").await.2, "paid 3");
    assert_eq!(shop.pay(&[], "5").await.2, "paid 4");
    for user in ["Bearer ada", "Bearer bob"] {
        let fields = [("idempotency-key", "a"), ("authorization", user)];
        assert_eq!(shop.pay(&fields, "5").await.1, None, "users have separate keys");
    }
    let put = send(&shop.app, request("PUT", "/pay", &key("a"), "5")).await;
    assert_eq!(text(put).await, "paid 7", "PUT is idempotent without a key");
}

#[tokio::test]
async fn a_failed_request_can_be_tried_again() {
    let server = Memcached::start(&[]);
    let shop = Shop::with_long_budget(&server);
    let key = [("idempotency-key", "a")];
    assert_eq!(shop.pay(&key, "broken").await, (502, None, "failed 1".to_owned()));
    assert_eq!(shop.pay(&key, "broken").await, (502, None, "failed 2".to_owned()));
}

#[tokio::test]
async fn one_of_many_concurrent_requests_is_executed() {
    let server = Memcached::start(&[]);
    let shop = Shop::with_long_budget(&server);
    let requests = (0..50).map(|_| {
        let app = shop.app.clone();
        tokio::spawn(
            async move { send(&app, request("POST", "/pay", &[("idempotency-key", "a")], "5")).await.status() },
        )
    });
    let requests: Vec<_> = requests.collect();
    for request in requests {
        let status = request.await.unwrap();
        assert!([201, 409].contains(&status.as_u16()), "{status}");
    }
    assert_eq!(shop.payments(), 1);
}

#[tokio::test]
async fn a_client_that_disconnects_does_not_interrupt_the_handler() {
    let server = Memcached::start(&[]);
    let layer = IdempotencyLayer::new(&client(&server)).budget(Duration::from_secs(100));
    let shop = Shop::new(layer);
    let key = [("idempotency-key", "a")];
    let first = tokio::spawn({
        let app = shop.app.clone();
        async move { send(&app, request("POST", "/pay", &[("idempotency-key", "a")], "5")).await }
    });
    shop.started.acquire().await.unwrap().forget();
    assert_eq!(shop.pay(&key, "5").await.0, 409, "the first request is still executed");
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());
    shop.permits.add_permits(1);
    while shop.pay(&key, "5").await.0 == 409 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(shop.pay(&key, "5").await, (201, replayed(), "paid 1".to_owned()));
}

#[tokio::test]
async fn requests_are_executed_while_the_cache_is_unavailable() {
    for outage in Outage::ALL {
        let mut server = Memcached::start(&[]);
        let shop = Shop::new(IdempotencyLayer::new(&client(&server)));
        shop.permits.add_permits(100);
        outage.begin(&mut server);
        for number in 1..4 {
            let response = within_budget(shop.pay(&[("idempotency-key", "a")], "5")).await;
            assert_eq!(response, (201, None, format!("paid {number}")));
        }
    }
}

#[tokio::test]
async fn requests_are_rejected_while_the_cache_is_unavailable_if_configured() {
    for outage in Outage::ALL {
        let mut server = Memcached::start(&[]);
        let layer = IdempotencyLayer::new(&client(&server)).on_unavailable(OnUnavailable::FailClosed);
        let shop = Shop::new(layer);
        shop.permits.add_permits(100);
        outage.begin(&mut server);
        assert_eq!(within_budget(shop.pay(&[("idempotency-key", "a")], "5")).await, (503, None, String::new()));
        assert_eq!(within_budget(shop.pay(&[], "5")).await.0, 201, "a request without a key");
        assert_eq!(shop.payments(), 1);
    }
}
