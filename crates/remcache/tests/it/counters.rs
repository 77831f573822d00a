//! Counters, with a real memcached.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use remcache::{Client, Counter, ErrorKind, Request, Status, WriteOutcome};
use remcache_testkit::Memcached;

use crate::support::patient_config;

fn client_of(server: &Memcached) -> Client {
    Client::with_config([server.addr()], patient_config()).unwrap()
}

fn number(counter: Option<Counter>) -> Option<u64> {
    counter.map(|counter| counter.value)
}

#[tokio::test]
async fn an_absent_counter_is_created_only_with_an_initial_value() {
    let server = Memcached::start(&[]);
    let client = client_of(&server);
    assert_eq!(client.increment("n", 1).await.unwrap(), None);
    assert_eq!(client.decrement("n", 1).await.unwrap(), None);
    assert_eq!(client.get("n").await.unwrap(), None);
    assert_eq!(number(client.increment("n", 5).initial(100).await.unwrap()), Some(100), "the initial value itself");
    assert_eq!(number(client.increment("n", 5).initial(100).await.unwrap()), Some(105));
    assert_eq!(number(client.decrement("m", 5).initial(100).await.unwrap()), Some(100));
    assert_eq!(number(client.decrement("m", 5).await.unwrap()), Some(95));
    assert_eq!(number(client.increment("zero", 1).initial(0).await.unwrap()), Some(0));
}

#[tokio::test]
async fn a_counter_wraps_at_the_maximum_and_stops_at_zero() {
    let server = Memcached::start(&[]);
    let client = client_of(&server);
    client.set("n", u64::MAX.to_string()).await.unwrap();
    assert_eq!(number(client.increment("n", 0).await.unwrap()), Some(u64::MAX));
    assert_eq!(number(client.increment("n", 3).await.unwrap()), Some(2));
    assert_eq!(number(client.decrement("n", u64::MAX).await.unwrap()), Some(0));
    assert_eq!(number(client.increment("n", u64::MAX).await.unwrap()), Some(u64::MAX));
}

#[tokio::test]
async fn a_get_returns_a_counter_as_text() {
    let server = Memcached::start(&[]);
    let client = client_of(&server);
    client.set("n", "100").await.unwrap();
    let counter = client.decrement("n", 1).await.unwrap().unwrap();
    let item = client.get("n").await.unwrap().unwrap();
    assert_eq!(counter.value, 99);
    assert_eq!(item.value.trim_ascii_end(), b"99", "the server may pad a number that became shorter");
    assert_eq!(item.cas, counter.cas);
    assert_eq!(client.set("n", "1").cas(counter.cas + 1).await.unwrap(), WriteOutcome::Exists);
    assert!(client.set("n", "1").cas(counter.cas).await.unwrap().is_applied());
}

#[tokio::test]
async fn a_value_that_is_not_a_number_cannot_be_incremented() {
    let server = Memcached::start(&[]);
    let client = client_of(&server);
    for text in ["", "abc", "-1", "12abc", "18446744073709551616"] {
        client.set("n", text).await.unwrap();
        for error in [client.increment("n", 1).await.unwrap_err(), client.decrement("n", 1).await.unwrap_err()] {
            assert_eq!(error.kind(), ErrorKind::NonNumericValue, "{text:?}: {error}");
        }
        assert_eq!(client.get("n").await.unwrap().unwrap().value, text, "the value is unchanged");
    }
}

#[tokio::test]
async fn increments_can_be_conditional() {
    let server = Memcached::start(&[]);
    let client = client_of(&server);
    let cas = client.set("n", "1").await.unwrap().cas().unwrap();
    let wrong = client.call(Request::increment("n", 1).cas(cas + 1)).await;
    assert_eq!(wrong.status, Status::KeyExists);
    let right = client.call(Request::increment("n", 1).cas(cas)).await;
    assert_eq!((right.status, right.number), (Status::NoError, Some(2)));
}

#[tokio::test]
async fn many_counters_in_a_call() {
    let server = Memcached::start(&[]);
    let client = client_of(&server);
    let _ = client.set_many([("a", "10"), ("b", "20"), ("text", "x")]).await;
    let incremented = client.increment_many([("a", 1), ("b", 2), ("absent", 3), ("text", 4)]).await;
    assert_eq!(number(*incremented.get("a").unwrap().unwrap()), Some(11));
    assert_eq!(number(*incremented.get("b").unwrap().unwrap()), Some(22));
    assert_eq!(number(*incremented.get("absent").unwrap().unwrap()), None);
    assert_eq!(incremented.get("text").unwrap().unwrap_err().kind(), ErrorKind::NonNumericValue);
    assert_eq!(incremented.failed().count(), 1);

    let decremented = client.decrement_many([("a", 5), ("new", 5)]).initial(50).ttl(Duration::from_secs(600)).await;
    let numbers: Vec<_> = decremented.iter().map(|(key, counter)| (*key, number(*counter.unwrap()))).collect();
    assert_eq!(numbers, [("a", Some(6)), ("new", Some(50))]);
}

/// Every increment is executed exactly once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_additions_add_up() {
    let server = Memcached::start(&[]);
    let client = client_of(&server);
    client.set("n", "0").await.unwrap();
    let tasks = (0..50_u64).map(|_| {
        let client = client.clone();
        tokio::spawn(async move {
            let mut seen = Vec::new();
            for _ in 0..100 {
                seen.push(client.increment("n", 1).await.unwrap().unwrap().value);
            }
            seen
        })
    });
    let mut seen = Vec::new();
    for task in tasks.collect::<Vec<_>>() {
        seen.extend(task.await.unwrap());
    }
    seen.sort_unstable();
    assert_eq!(seen, (1..=5000).collect::<Vec<_>>(), "each number was returned to one caller");
}
