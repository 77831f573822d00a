//! Values that are due for a reload: all callers get the old value, and one of them reloads it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use remcache::config::ProtocolSetting;
use remcache::recipes::FetchPolicy;
use remcache::{Client, Error};
use remcache_server::{ManualClock, Server};
use remcache_testkit::Memcached;

use crate::fetch::paused_fetch::{LoadResult, PausedFetch, two_clients};
use crate::fetch::{LONG, PROTOCOLS, client_at, fetch, on_all_servers, patient_policy, stored};
use crate::support::{patient_config, wait_until};

const SECOND: Duration = Duration::from_secs(1);

/// Values are due for a reload three seconds after they were loaded, and returned for an hour.
fn refresh_ahead_policy() -> FetchPolicy {
    patient_policy().refresh_ahead(LONG - 3 * SECOND)
}

/// Values are fresh for a second, then stale and returned for an hour.
fn stale_policy() -> FetchPolicy {
    FetchPolicy::new(SECOND).lease(LONG).wait_up_to(LONG).stale_for(LONG)
}

/// Fetches the old value until a reload starts, and returns that reload. It would block if a fetch waited for the
/// reload.
async fn fetch_until_reload(client: &Client, policy: FetchPolicy, shown: &str) -> Reload {
    let mut fetches = Vec::new();
    loop {
        let (paused, started) = PausedFetch::spawn(client, policy);
        let (task, result) = paused.into_parts();
        assert_eq!(task.await.unwrap().unwrap().unwrap(), shown);
        fetches.push((started, result));
        tokio::time::sleep(Duration::from_millis(20)).await;
        if let Some(index) = fetches.iter().position(|(started, _)| {
            started.try_acquire().is_ok_and(|permit| {
                permit.forget();
                true
            })
        }) {
            return Reload(fetches.swap_remove(index).1);
        }
    }
}

/// The loader of a reload in progress.
struct Reload(tokio::sync::oneshot::Sender<LoadResult>);

impl Reload {
    fn end(self, result: LoadResult) {
        self.0.send(result).unwrap();
    }
}

/// Checks that fetches of both clients return this value, neither waiting nor loading; a value that was loaded more
/// than a second ago may be due again.
async fn expect_shown(
    clients: [&Client; 2],
    policy: FetchPolicy,
    shown: &'static str,
    loaded: Option<Instant>,
    protocol: ProtocolSetting,
) {
    for client in clients {
        for _ in 0..20 {
            let load = move || async move {
                let may_be_due = loaded.is_some_and(|loaded| loaded.elapsed() > SECOND);
                assert!(may_be_due, "a fetch loads a value that is fresh or being reloaded");
                Ok::<_, Error>(Some(shown))
            };
            let found = client.fetch_optional("key", policy, load).await;
            assert_eq!(found.unwrap().unwrap(), shown, "{protocol}");
        }
    }
}

#[tokio::test]
async fn with_refresh_ahead_no_caller_waits_after_the_first() {
    on_all_servers(async |address, protocol| {
        let (one, other) = two_clients(address, protocol);
        let mut shown = "one";
        let mut loaded = Instant::now();
        assert_eq!(fetch(&one, refresh_ahead_policy(), shown).await.unwrap(), shown, "{protocol}");
        expect_shown([&one, &other], refresh_ahead_policy(), shown, Some(loaded), protocol).await;
        for next in ["two", "three"] {
            let reload = fetch_until_reload(&other, refresh_ahead_policy(), shown).await;
            expect_shown([&one, &other], refresh_ahead_policy(), shown, None, protocol).await;
            loaded = Instant::now();
            reload.end(LoadResult::Value(next));
            wait_until("the value is stored", async || stored(&one).await.unwrap() == next).await;
            expect_shown([&one, &other], refresh_ahead_policy(), next, Some(loaded), protocol).await;
            shown = next;
        }
    })
    .await;
}

#[tokio::test]
async fn stale_values_are_returned_while_one_caller_reloads() {
    on_all_servers(async |address, protocol| {
        let (one, other) = two_clients(address, protocol);
        assert_eq!(fetch(&one, stale_policy(), "one").await.unwrap(), "one", "{protocol}");
        let reload = fetch_until_reload(&one, stale_policy(), "one").await;
        expect_shown([&one, &other], stale_policy(), "one", None, protocol).await;
        reload.end(LoadResult::Value("two"));
        wait_until("the value is stored", async || stored(&one).await.unwrap() == "two").await;
    })
    .await;
}

#[tokio::test]
async fn a_value_deleted_from_its_source_is_deleted_by_the_reload() {
    on_all_servers(async |address, protocol| {
        for (policy, is_kept) in [(stale_policy(), false), (stale_policy().negative_ttl(LONG), true)] {
            let client = client_at(address, protocol);
            client.delete("key").await.unwrap();
            fetch(&client, policy, "one").await.unwrap();
            fetch_until_reload(&client, policy, "one").await.end(LoadResult::Nothing);
            wait_until("the value is deleted", async || stored(&client).await.is_none()).await;
            assert_eq!(
                client.get("key").with_sentinels().await.unwrap().is_some_and(|item| item.is_sentinel()),
                is_kept,
                "{protocol}"
            );
        }
    })
    .await;
}

/// A reload that fails affects no caller, and another process may reload immediately.
#[tokio::test]
async fn a_reload_that_fails_or_panics_releases_its_lease() {
    on_all_servers(async |address, protocol| {
        for result in [LoadResult::Failure, LoadResult::Panic] {
            let (one, other) = two_clients(address, protocol);
            one.delete("key").await.unwrap();
            fetch(&one, stale_policy(), "one").await.unwrap();
            fetch_until_reload(&one, stale_policy(), "one").await.end(result);
            fetch_until_reload(&other, stale_policy(), "one").await.end(LoadResult::Value("two"));
            wait_until("the value is stored", async || stored(&one).await.unwrap() == "two").await;
        }
    })
    .await;
}

/// The lease of a process that died during a reload expires.
#[tokio::test]
async fn a_hanging_reload_is_taken_over() {
    on_all_servers(async |address, protocol| {
        let (dead, client) = two_clients(address, protocol);
        let policy = stale_policy().lease(SECOND);
        fetch(&dead, policy, "one").await.unwrap();
        let hanging = fetch_until_reload(&dead, policy, "one").await;
        fetch_until_reload(&client, policy, "one").await.end(LoadResult::Value("two"));
        wait_until(&format!("the value is stored, {protocol}"), async || stored(&client).await.unwrap() == "two").await;
        hanging.end(LoadResult::Value("late"));
        for _ in 0..10 {
            tokio::time::sleep(Duration::from_millis(2)).await;
            assert_eq!(stored(&client).await.unwrap(), "two", "{protocol}: a late value is not stored");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_fetches_of_a_value_that_is_due_reload_it_once() {
    on_all_servers(async |address, protocol| {
        let clients = two_clients(address, protocol);
        fetch(&clients.0, stale_policy(), "one").await.unwrap();
        let loads = Arc::new(AtomicUsize::new(0));
        wait_until("the value is reloaded", async || {
            let tasks: Vec<_> = (0..100)
                .map(|number| {
                    let client = [&clients.0, &clients.1][number % 2].clone();
                    let loads = Arc::clone(&loads);
                    tokio::spawn(async move {
                        let load = move || async move {
                            loads.fetch_add(1, Ordering::SeqCst);
                            tokio::time::sleep(Duration::from_millis(50)).await;
                            Ok::<_, Error>(Some("two"))
                        };
                        // The reloaded value stays fresh, so that there is only one reload.
                        client.fetch_optional("key", stale_once(), load).await.unwrap().unwrap()
                    })
                })
                .collect();
            let mut is_new = true;
            for task in tasks {
                is_new &= task.await.unwrap() == "two";
            }
            is_new
        })
        .await;
        assert_eq!(loads.load(Ordering::SeqCst), 1, "{protocol}");
    })
    .await;
}

/// Values expire by the server's clock, whether or not they are due.
#[tokio::test]
async fn no_value_is_returned_after_it_expired() {
    for protocol in PROTOCOLS {
        let clock = ManualClock::new();
        let server = Server::builder().clock(&clock).start().await.unwrap();
        let client = client_at(&server.address(), protocol);
        let policy = FetchPolicy::new(LONG).lease(LONG).wait_up_to(LONG).stale_for(LONG);
        assert_eq!(fetch(&client, policy, "one").await.unwrap(), "one", "{protocol}");
        clock.advance(LONG - SECOND * 10);
        assert_eq!(fetch(&client, policy, "two").await.unwrap(), "one", "{protocol}: the value is fresh");
        clock.advance(LONG + SECOND * 10);
        assert_eq!(fetch(&client, policy, "two").await.unwrap(), "two", "{protocol}: the value has expired");
        client.invalidate("key", SECOND * 10).await.unwrap();
        clock.advance(SECOND * 11);
        assert_eq!(fetch(&client, policy, "three").await.unwrap(), "three", "{protocol}: the grace period is over");
    }
}

/// Values stay fresh for an hour, but those that [`stale`] has loaded are due.
fn stale_once() -> FetchPolicy {
    FetchPolicy::new(2 * LONG).lease(LONG).wait_up_to(LONG).stale_for(LONG)
}

/// Returns two servers, and a client that has a replica on each and reads the one that is not the key's primary.
fn reader_of_another_replica(protocol: ProtocolSetting) -> ([Memcached; 2], Client) {
    let servers = [Memcached::start(&[]), Memcached::start(&[])];
    let addresses = servers.each_ref().map(Memcached::addr);
    let config = patient_config().protocol(protocol).replicas(2);
    let primary = {
        let client = Client::with_config(addresses.clone(), config.clone()).unwrap();
        client.locate("key").unwrap().unwrap().name().to_owned()
    };
    let config = config.prefer(move |server| *server.name != *primary);
    (servers, Client::with_config(addresses, config).unwrap())
}

#[tokio::test]
async fn readers_of_another_replica_reload_values_that_are_due() {
    for protocol in PROTOCOLS {
        let (_servers, client) = reader_of_another_replica(protocol);
        assert_eq!(fetch(&client, stale_policy(), "one").await.unwrap(), "one", "{protocol}");
        wait_until(&format!("the value is reloaded, {protocol}"), async || {
            fetch(&client, stale_policy(), "two").await.unwrap() == "two"
        })
        .await;
    }
}

#[tokio::test]
async fn readers_of_another_replica_reload_invalidated_values() {
    for protocol in PROTOCOLS {
        let (_servers, client) = reader_of_another_replica(protocol);
        assert_eq!(fetch(&client, patient_policy(), "one").await.unwrap(), "one", "{protocol}");
        assert!(client.invalidate("key", LONG).await.unwrap().is_applied(), "{protocol}");
        wait_until(&format!("the value is reloaded, {protocol}"), async || {
            fetch(&client, patient_policy(), "two").await.unwrap() == "two"
        })
        .await;
    }
}
