//! Locks, limiters and counters with real memcacheds and the embedded server, on each protocol.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;

use remcache::config::ProtocolSetting;
use remcache::recipes::{FixedWindow, Gcra, Limiter, OnUnavailable, Rule};
use remcache::{Client, ErrorKind, WriteOutcome};
use remcache_server::Server;
use remcache_testkit::Memcached;

use crate::support::{patient_config, wait_until};

const PROTOCOLS: [ProtocolSetting; 3] = [ProtocolSetting::Binary, ProtocolSetting::Meta, ProtocolSetting::Text];
/// Longer than any test.
const LONG: Duration = Duration::from_secs(3600);

fn client_at(address: &str, protocol: ProtocolSetting) -> Client {
    Client::with_config([address], patient_config().protocol(protocol)).unwrap()
}

async fn on_all_servers(case: impl AsyncFn(Client, Client, ProtocolSetting)) {
    for protocol in PROTOCOLS.into_iter().chain([ProtocolSetting::Auto]) {
        let (real, embedded) = (Memcached::start(&[]), Server::start().await.unwrap());
        for address in [real.addr(), embedded.address()] {
            case(client_at(&address, protocol), client_at(&address, protocol), protocol).await;
        }
    }
}

fn unreachable_client() -> Client {
    Client::new(["127.0.0.1:1"]).unwrap()
}

#[tokio::test]
async fn a_lock_has_one_holder_and_its_fencing_tokens_increase() {
    on_all_servers(async |one, other, protocol| {
        let mut highest = 0;
        for _ in 0..3 {
            let lock = one.lock("lock", LONG).await.unwrap().acquired().unwrap();
            assert!(!other.lock("lock", LONG).await.unwrap().is_acquired(), "{protocol}");
            let token = lock.fencing_token().unwrap();
            assert!(token > highest, "{protocol}: {token} after {highest}");
            highest = token;
            assert!(lock.unlock().await.unwrap(), "{protocol}");
            assert_eq!(one.get("lock").await.unwrap(), None, "{protocol}");
        }
    })
    .await;
}

/// No two tasks hold the lock at the same time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn holders_of_a_lock_exclude_each_other() {
    on_all_servers(async |one, other, protocol| {
        let (inside, rounds) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let tasks: Vec<_> = (0..10)
            .map(|number| {
                let client = [&one, &other][number % 2].clone();
                let (inside, rounds) = (Arc::clone(&inside), Arc::clone(&rounds));
                tokio::spawn(async move {
                    for round in 0..5 {
                        let lock = client.lock("lock", LONG).wait_up_to(LONG).await.unwrap().acquired().unwrap();
                        assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                        tokio::task::yield_now().await;
                        inside.fetch_sub(1, Ordering::SeqCst);
                        rounds.fetch_add(1, Ordering::SeqCst);
                        match round % 2 {
                            0 => assert!(lock.unlock().await.unwrap()),
                            _ => drop(lock),
                        }
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        assert_eq!(rounds.load(Ordering::SeqCst), 50, "{protocol}");
    })
    .await;
}

#[tokio::test]
async fn a_lock_whose_server_has_left_the_list_is_lost() {
    let servers = [Memcached::start(&[]), Memcached::start(&[])];
    let client = client_at(&servers[0].addr(), ProtocolSetting::Auto);
    let mut lock = client.lock("lock", LONG).await.unwrap().acquired().unwrap();
    client.set_servers([servers[1].addr()]).unwrap();
    assert!(client.lock("lock", LONG).await.unwrap().is_acquired(), "other clients ask the new server");
    assert_eq!(lock.renew().await.unwrap_err().kind(), ErrorKind::Conflict);
}

#[tokio::test]
async fn a_renewed_lock_is_kept_and_an_expired_one_is_reported() {
    on_all_servers(async |one, other, protocol| {
        let mut lock = one.lock("lock", LONG).await.unwrap().acquired().unwrap();
        let token = lock.fencing_token();
        for _ in 0..3 {
            lock.renew().await.unwrap();
            assert_eq!(lock.fencing_token(), token, "{protocol}");
            assert!(!other.lock("lock", LONG).await.unwrap().is_acquired(), "{protocol}");
        }
        assert!(lock.unlock().await.unwrap(), "{protocol}: with the CAS value of the last renewal");

        let mut expired = one.lock("lock", LONG).await.unwrap().acquired().unwrap();
        other.delete("lock").await.unwrap();
        let next = other.lock("lock", LONG).await.unwrap().acquired().unwrap();
        assert_eq!(expired.renew().await.unwrap_err().kind(), ErrorKind::Conflict, "{protocol}");
        assert!(!expired.unlock().await.unwrap(), "{protocol}: another holder has the lock");
        assert!(
            !one.lock("lock", LONG).await.unwrap().is_acquired(),
            "{protocol}: the other holder still has the lock"
        );
        assert!(next.unlock().await.unwrap(), "{protocol}");
    })
    .await;
}

#[tokio::test]
async fn a_lock_expires_with_its_ttl() {
    on_all_servers(async |one, other, protocol| {
        let dead = one.lock("lock", Duration::from_secs(2)).await.unwrap().acquired().unwrap();
        let next = other.lock("lock", LONG).wait_up_to(LONG).await.unwrap().acquired().unwrap();
        assert!(next.fencing_token() > dead.fencing_token(), "{protocol}");
        drop(dead);
        one.get("later").await.unwrap();
        assert!(next.unlock().await.unwrap(), "{protocol}: dropping an expired lock releases nothing");
    })
    .await;
}

#[tokio::test]
async fn dropping_a_lock_releases_it_outside_a_runtime_too() {
    on_all_servers(async |one, other, protocol| {
        let lock = one.lock("lock", LONG).await.unwrap().acquired().unwrap();
        std::thread::spawn(move || drop(lock)).join().unwrap();
        assert!(other.lock("lock", LONG).wait_up_to(LONG).await.unwrap().is_acquired(), "{protocol}");
    })
    .await;
}

/// Drops the wait for a lock after some polls, which must leave it unlocked.
#[tokio::test]
async fn waiting_for_a_lock_can_be_dropped_at_every_poll() {
    for protocol in PROTOCOLS {
        let server = Server::start().await.unwrap();
        let client = client_at(&server.address(), protocol);
        let other = client_at(&server.address(), protocol);
        for times in 0.. {
            let locking = client.lock("lock", LONG);
            let mut locking: Pin<Box<dyn Future<Output = _> + Send>> = Box::pin(locking.into_future());
            let mut polls = 0;
            let taken = poll_fn(|cx| {
                polls += 1;
                cx.waker().wake_by_ref();
                match locking.as_mut().poll(cx) {
                    Poll::Ready(lock) => Poll::Ready(Some(lock)),
                    Poll::Pending if polls > times => Poll::Ready(None),
                    Poll::Pending => Poll::Pending,
                }
            })
            .await;
            drop(locking);
            let acquired = taken.is_some();
            drop(taken);
            let next = other.lock("lock", LONG).wait_up_to(LONG).await.unwrap().acquired().unwrap();
            assert!(next.unlock().await.unwrap(), "{protocol}, {times} polls");
            if acquired {
                assert!(times > 2, "{protocol}: acquired before it could be dropped");
                break;
            }
        }
    }
}

#[tokio::test]
async fn without_a_server_a_lock_follows_its_policy() {
    let client = unreachable_client();
    assert!(client.lock("lock", LONG).await.unwrap_err().is_unavailable(), "fails by default");
    let mut lock = client.lock("lock", LONG).on_unavailable(OnUnavailable::FailOpen).await.unwrap().acquired().unwrap();
    assert_eq!(lock.fencing_token(), None);
    lock.renew().await.unwrap();
    assert!(!lock.unlock().await.unwrap());
    let server = Memcached::start(&["-C"]);
    for protocol in PROTOCOLS {
        let client = client_at(&server.addr(), protocol);
        let error = client.lock("lock", LONG).on_unavailable(OnUnavailable::FailOpen).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{protocol}: {error}");
        assert_eq!(client.get("lock").await.unwrap(), None, "{protocol}: no item is left");
    }
}

/// Acquires in concurrent tasks, half of them with another client. Returns how many were allowed.
async fn acquire_concurrently(limiters: [&Limiter; 2], tasks: usize) -> usize {
    let tasks: Vec<_> = (0..tasks)
        .map(|number| {
            let limiter = limiters[number % 2].clone();
            tokio::spawn(async move { limiter.acquire("ada").await.unwrap().is_allowed })
        })
        .collect();
    let mut allowed = 0;
    for task in tasks {
        allowed += usize::from(task.await.unwrap());
    }
    allowed
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_window_allows_its_limit_to_concurrent_callers() {
    on_all_servers(async |one, other, protocol| {
        // A window of five years does not end during the test.
        let years = Duration::from_secs(5 * 365 * 86_400);
        let limiters = [one, other].map(|client| Limiter::new(&client, "window", FixedWindow::new(7, years)).unwrap());
        assert_eq!(acquire_concurrently(limiters.each_ref(), 50).await, 7, "{protocol}");
        let refusal = limiters[0].acquire("ada").await.unwrap();
        assert!(!refusal.is_allowed && refusal.is_counted && refusal.remaining == 0, "{protocol}");
        assert!(refusal.retry_after > Duration::ZERO && refusal.retry_after <= years, "{protocol}");
        assert_eq!((refusal.limit, refusal.reset_after), (7, refusal.retry_after), "{protocol}");
        let decision = limiters[0].acquire_many("bob", 5).await.unwrap();
        assert!(decision.is_allowed && decision.remaining == 2, "{protocol}: each key has its own limit");
        assert!(!limiters[1].acquire_many("bob", 3).await.unwrap().is_allowed, "{protocol}");
    })
    .await;
}

#[tokio::test]
async fn a_window_expires() {
    on_all_servers(async |one, _, _| {
        let limiter = Limiter::new(&one, "short", FixedWindow::new(1, Duration::from_millis(500))).unwrap();
        wait_until("a call is allowed", async || limiter.acquire("ada").await.unwrap().is_allowed).await;
        wait_until("a call is refused", async || !limiter.acquire("ada").await.unwrap().is_allowed).await;
        wait_until("a call is allowed again", async || limiter.acquire("ada").await.unwrap().is_allowed).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rate_allows_its_burst_to_concurrent_callers() {
    on_all_servers(async |one, other, protocol| {
        let limiters =
            [one, other].map(|client| Limiter::new(&client, "rate", Gcra::new(24, LONG * 24).burst(5)).unwrap());
        assert_eq!(acquire_concurrently(limiters.each_ref(), 16).await, 5, "{protocol}");
        let refusal = limiters[0].acquire("ada").await.unwrap();
        assert!(!refusal.is_allowed && refusal.remaining == 0, "{protocol}");
        assert!(refusal.retry_after > Duration::ZERO && refusal.retry_after <= LONG, "{protocol}: {refusal:?}");
        let decision = limiters[1].acquire_many("bob", 3).await.unwrap();
        assert!(decision.is_allowed && decision.remaining == 2, "{protocol}");
        assert!(!limiters[0].acquire_many("bob", 3).await.unwrap().is_allowed, "{protocol}");
        assert!(
            limiters[0].acquire_many("bob", 2).await.unwrap().is_allowed,
            "{protocol}: a refused call consumes nothing"
        );
    })
    .await;
}

#[tokio::test]
async fn without_a_server_a_limiter_follows_its_policy() {
    let client = unreachable_client();
    for rule in [Rule::from(FixedWindow::new(1, LONG)), Gcra::new(1, LONG).into()] {
        let limiter = Limiter::new(&client, "n", rule).unwrap();
        for _ in 0..3 {
            let decision = limiter.acquire("ada").await.unwrap();
            assert!(decision.is_allowed && !decision.is_counted, "allowed by default");
        }
        let closed = limiter.on_unavailable(OnUnavailable::FailClosed);
        assert!(closed.acquire("ada").await.unwrap_err().is_unavailable());
    }
}

#[tokio::test]
async fn an_invalid_limiter_is_an_error() {
    let client = unreachable_client();
    for rule in [Rule::from(FixedWindow::new(0, LONG)), Gcra::new(0, LONG).into(), Gcra::new(1, LONG).burst(0).into()] {
        let error = Limiter::new(&client, "n", rule).expect_err("it would allow nothing");
        assert_eq!(error.kind(), ErrorKind::InvalidArguments, "{rule:?}");
    }
}

#[tokio::test]
async fn more_actions_than_a_limiter_ever_allows_are_an_error() {
    let client = unreachable_client();
    for rule in [Rule::from(FixedWindow::new(50, LONG)), Gcra::new(100, LONG).burst(50).into()] {
        let limiter = Limiter::new(&client, "n", rule).unwrap();
        let error = limiter.acquire_many("ada", 51).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArguments, "{rule:?}");
        assert!(error.to_string().contains("at most 50"), "{error}");
        assert_eq!(limiter.acquire_many("ada", 0).await.unwrap_err().kind(), ErrorKind::InvalidArguments);
        assert!(limiter.acquire_many("ada", 50).await.unwrap().is_allowed, "without the cache it fails open");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn counters_are_created_on_demand_and_lose_no_increment() {
    on_all_servers(async |one, other, protocol| {
        let tasks: Vec<_> = (0..40)
            .map(|number| {
                let client = [&one, &other][number % 2].clone();
                tokio::spawn(async move { client.increment_or_create("n", 2, 2, LONG).await.unwrap().value })
            })
            .collect();
        let mut values = Vec::new();
        for task in tasks {
            values.push(task.await.unwrap());
        }
        values.sort_unstable();
        assert_eq!(values, (1..=40).map(|n| 2 * n).collect::<Vec<_>>(), "{protocol}");
    })
    .await;
}

/// The TTL starts with the first increment, and later ones do not extend it.
#[tokio::test]
async fn a_counter_keeps_the_ttl_it_was_created_with() {
    on_all_servers(async |one, _, protocol| {
        one.increment_or_create("n", 1, 10, Duration::from_secs(2)).await.unwrap();
        wait_until("the window ends", async || {
            let counter = one.increment_or_create("n", 1, 10, Duration::from_secs(2)).await.unwrap();
            // On a slow machine the new counter may have expired as well.
            counter.value == 10 && one.get("n").await.unwrap().is_some()
        })
        .await;
        let error = one.increment_or_create("", 1, 1, LONG).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidKey, "{protocol}");
    })
    .await;
}

#[tokio::test]
async fn compare_and_swap_replaces_only_the_item_that_was_read() {
    on_all_servers(async |one, other, protocol| {
        assert_eq!(one.compare_and_swap("k", "v", 7).await.unwrap(), WriteOutcome::NotFound, "{protocol}");
        one.set("k", "1").await.unwrap();
        let seen = one.get("k").await.unwrap().unwrap();
        assert!(
            other.compare_and_swap("k", "2", seen.cas).ttl(LONG).flags(3).await.unwrap().is_applied(),
            "{protocol}"
        );
        assert_eq!(one.compare_and_swap("k", "3", seen.cas).await.unwrap(), WriteOutcome::Exists, "{protocol}");
        assert_eq!(
            one.compare_and_swap("k", "4", 0).await.unwrap(),
            WriteOutcome::Exists,
            "{protocol}: no item has the CAS value 0"
        );
        let item = one.get("k").await.unwrap().unwrap();
        assert_eq!((&item.value[..], item.flags), (&b"2"[..], 3), "{protocol}");
    })
    .await;
}

#[tokio::test]
async fn get_and_touch_changes_the_ttl() {
    on_all_servers(async |one, _, protocol| {
        assert_eq!(one.get_and_touch("k", LONG).await.unwrap(), None, "{protocol}");
        one.set("k", "v").ttl(LONG).flags(3).await.unwrap();
        let item = one.get_and_touch("k", Duration::from_secs(1)).await.unwrap().unwrap();
        assert_eq!((&item.value[..], item.flags), (&b"v"[..], 3), "{protocol}");
        wait_until("the item expires", async || one.get("k").await.unwrap().is_none()).await;
    })
    .await;
}
