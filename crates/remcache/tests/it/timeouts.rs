//! The timeout of every operation that takes several requests, with a server that does not answer.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use remcache::recipes::{FetchPolicy, FixedWindow, Gcra, Limiter, OnUnavailable, Rule};
use remcache::value::Codec;
use remcache::{Cache, Client, Config, Error, ErrorKind, Ttl};
use remcache_testkit::Memcached;
use tokio::net::TcpListener;

use crate::support::patient_config;

/// Longer than any test: nothing ends by the client's own timeout.
const LONG: Duration = Duration::from_secs(3600);
const SHORT: Duration = Duration::from_millis(50);
/// Longer than an operation with a short timeout takes on the slowest machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Returns a client of a server that accepts connections and never replies.
async fn client_of_unresponsive_server() -> (Client, TcpListener) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let config = Config::new().timeout(LONG).connect_timeout(LONG);
    let client = Client::with_config([listener.local_addr().unwrap().to_string()], config).unwrap();
    (client, listener)
}

async fn assert_times_out<T>(what: &str, operation: impl IntoFuture<Output = Result<T, Error>>) {
    let ended = tokio::time::timeout(PATIENCE, operation.into_future()).await;
    let error = ended.unwrap_or_else(|_| panic!("{what} does not end")).err().unwrap_or_else(|| panic!("{what}"));
    assert!(error.is_timeout(), "{what}: {error}");
}

#[tokio::test]
async fn every_recipe_ends_by_its_timeout() {
    let (client, _silent) = client_of_unresponsive_server().await;
    let change = |_: Option<&remcache::Item>| Some("value".into());
    assert_times_out("update", client.update("k", Ttl::Never, change).timeout(SHORT)).await;
    assert_times_out("take", client.take("k").timeout(SHORT)).await;
    assert_times_out("exists", client.exists("k").timeout(SHORT)).await;
    assert_times_out("append", client.append_or_create("k", "v", LONG).timeout(SHORT)).await;
    assert_times_out("count", client.increment_or_create("k", 1, 1, LONG).timeout(SHORT)).await;
    assert_times_out("invalidate", client.invalidate("k", LONG).timeout(SHORT)).await;
    assert_times_out("lock", client.lock("k", LONG).timeout(SHORT)).await;
    let cache = Cache::new(&client, "c", Codec::text());
    assert_times_out("a cache's set", cache.set("k", "v").timeout(SHORT)).await;
    let cache = cache.timeout(SHORT);
    assert_times_out("a cache's get", cache.get("k")).await;
    assert_times_out("a cache's take", cache.take("k")).await;
    assert_times_out("a cache's touch", cache.touch("k", LONG)).await;
    assert_times_out("a cache's delete", cache.delete("k")).await;
    assert_times_out("a cache's update", cache.update("k", |_| Some("v"))).await;
    assert_times_out("a handle's get", client.with_timeout(SHORT).get("k")).await;
    let many = client.with_timeout(SHORT).get_many(["k"]).await;
    assert!(many.failed().all(|(_, error)| error.is_timeout()) && !many.is_complete());
}

#[tokio::test]
async fn a_limiter_and_a_lock_follow_their_policy_after_their_timeout() {
    let (client, _silent) = client_of_unresponsive_server().await;
    for rule in [Rule::from(FixedWindow::new(1, LONG)), Gcra::new(1, LONG).into()] {
        let limiter = Limiter::new(&client, "n", rule).unwrap().timeout(SHORT);
        let decision = tokio::time::timeout(PATIENCE, limiter.acquire("ada")).await.unwrap().unwrap();
        assert!(decision.is_allowed && !decision.is_counted, "{rule:?}");
        let closed = limiter.on_unavailable(OnUnavailable::FailClosed);
        assert_times_out("a limiter", closed.acquire("ada")).await;
    }
    let open = client.lock("k", LONG).timeout(SHORT).on_unavailable(OnUnavailable::FailOpen);
    let lock = tokio::time::timeout(PATIENCE, open.into_future()).await.unwrap().unwrap();
    assert_eq!(lock.acquired().unwrap().fencing_token(), None);
}

#[tokio::test]
async fn a_fetch_leaves_time_for_its_loader() {
    let (client, _silent) = client_of_unresponsive_server().await;
    let load = || async { Ok::<_, Error>("loaded") };
    let fetched = client.fetch("k", LONG, load).timeout(Duration::from_secs(4));
    assert_eq!(tokio::time::timeout(PATIENCE, fetched).await.unwrap().unwrap(), "loaded");
    let never = std::future::pending::<Result<&str, Error>>;
    assert_times_out("a loader", client.fetch("k", LONG, never).timeout(SHORT)).await;
    let cache = Cache::new(&client, "c", Codec::text());
    assert_times_out("a cache's loader", cache.fetch("k", LONG, never).timeout(SHORT)).await;
}

#[tokio::test]
async fn a_timeout_of_zero_is_an_error() {
    let server = Memcached::start(&[]);
    let client = Client::with_config([server.addr()], patient_config()).unwrap();
    let load = || async { Ok::<_, Error>("loaded") };
    let errors = [
        client.take("k").timeout(Duration::ZERO).await.map(drop),
        client.lock("k", LONG).timeout(Duration::ZERO).await.map(drop),
        client.fetch("k", LONG, load).timeout(Duration::ZERO).await.map(drop),
        client.with_timeout(Duration::ZERO).get("k").await.map(drop),
    ];
    for error in errors.map(Result::unwrap_err) {
        assert_eq!(error.kind(), ErrorKind::InvalidArguments, "{error}");
    }
}

/// A process that died during a load delays other callers for one second by default, whatever its lease.
#[tokio::test(start_paused = true)]
async fn the_default_wait_for_another_loader_is_a_second() {
    assert_eq!(FetchPolicy::new(LONG), FetchPolicy::new(LONG).wait_up_to(Duration::from_secs(1)));
}
