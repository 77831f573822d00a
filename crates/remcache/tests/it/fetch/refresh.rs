//! Values that are due: shown to everybody, and reloaded by one.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use remcache::config::ProtocolSetting;
use remcache::recipes::FetchPolicy;
use remcache::{Client, Error};
use remcache_server::{ManualClock, Server};

use crate::fetch::loader::{Ending, Held, two};
use crate::fetch::{LONG, client_at, fetch, on_all, patient_freshness, stored};
use crate::support::wait_until;

const SECOND: Duration = Duration::from_secs(1);

/// Due a second after the load, and shown for an hour.
fn ahead() -> FetchPolicy {
    patient_freshness().refresh_ahead(LONG - SECOND)
}

/// The same as stale values: fresh for a second, and shown for an hour.
fn stale() -> FetchPolicy {
    FetchPolicy::new(SECOND).lease(LONG).wait(LONG).stale_for(LONG)
}

/// Fetches what is shown until a loader begins, and gives the fetch whose loader that is: it would hang
/// if anybody waited for that.
async fn until_reloading(client: &Client, freshness: FetchPolicy, shown: &str) -> Reload {
    let mut asked = Vec::new();
    loop {
        let (held, began) = Held::ask(client, freshness);
        let (task, ending) = held.apart();
        assert_eq!(task.await.unwrap().unwrap().unwrap(), shown);
        asked.push((began, ending));
        tokio::time::sleep(Duration::from_millis(20)).await;
        if let Some(place) = asked.iter().position(|(began, _)| {
            began.try_acquire().is_ok_and(|permit| {
                permit.forget();
                true
            })
        }) {
            return Reload(asked.swap_remove(place).1);
        }
    }
}

/// The loader of a reload that has begun.
struct Reload(tokio::sync::oneshot::Sender<Ending>);

impl Reload {
    fn end(self, ending: Ending) {
        self.0.send(ending).unwrap();
    }
}

/// Fetches of both clients show this, wait for nobody and load nothing.
async fn assert_shown(clients: [&Client; 2], freshness: FetchPolicy, shown: &str, protocol: ProtocolSetting) {
    for client in clients {
        for _ in 0..20 {
            let load = || async { panic!("another one reloads") };
            let found: Result<_, Error> = client.fetch::<&str, _, _, _>("key", freshness, load).await;
            assert_eq!(found.unwrap().unwrap(), shown, "{protocol}");
        }
    }
}

#[tokio::test]
async fn with_refresh_ahead_no_caller_waits_after_the_first() {
    on_all(async |address, protocol| {
        let (one, other) = two(address, protocol);
        let mut shown = "one";
        assert_eq!(fetch(&one, ahead(), shown).await.unwrap(), shown, "{protocol}");
        assert_shown([&one, &other], ahead(), shown, protocol).await;
        for next in ["two", "three"] {
            let reload = until_reloading(&other, ahead(), shown).await;
            assert_shown([&one, &other], ahead(), shown, protocol).await;
            reload.end(Ending::Value(next));
            wait_until("it is stored", async || stored(&one).await.unwrap() == next).await;
            assert_shown([&one, &other], ahead(), next, protocol).await;
            shown = next;
        }
    })
    .await;
}

#[tokio::test]
async fn stale_values_are_shown_while_one_reloads() {
    on_all(async |address, protocol| {
        let (one, other) = two(address, protocol);
        assert_eq!(fetch(&one, stale(), "one").await.unwrap(), "one", "{protocol}");
        let reload = until_reloading(&one, stale(), "one").await;
        assert_shown([&one, &other], stale(), "one", protocol).await;
        reload.end(Ending::Value("two"));
        wait_until("it is stored", async || stored(&one).await.unwrap() == "two").await;
    })
    .await;
}

#[tokio::test]
async fn a_value_that_is_gone_at_its_source_goes() {
    on_all(async |address, protocol| {
        for (freshness, is_kept) in [(stale(), false), (stale().negative(LONG), true)] {
            let client = client_at(address, protocol);
            client.delete("key").await.unwrap();
            fetch(&client, freshness, "one").await.unwrap();
            until_reloading(&client, freshness, "one").await.end(Ending::Nothing);
            wait_until("it goes", async || stored(&client).await.is_none()).await;
            assert_eq!(client.get("key").await.unwrap().is_some_and(|item| item.is_mark()), is_kept, "{protocol}");
        }
    })
    .await;
}

/// A reload that fails is nobody's trouble, and another process may try at once.
#[tokio::test]
async fn a_reload_that_fails_or_panics_frees_the_others() {
    on_all(async |address, protocol| {
        for ending in [Ending::Failure, Ending::Panic] {
            let (one, other) = two(address, protocol);
            one.delete("key").await.unwrap();
            fetch(&one, stale(), "one").await.unwrap();
            until_reloading(&one, stale(), "one").await.end(ending);
            until_reloading(&other, stale(), "one").await.end(Ending::Value("two"));
            wait_until("it is stored", async || stored(&one).await.unwrap() == "two").await;
        }
    })
    .await;
}

/// A process that died while it reloaded: its lease ends, and the server tells nobody so.
#[tokio::test]
async fn a_reload_that_hangs_is_taken_over() {
    on_all(async |address, protocol| {
        let (dead, client) = two(address, protocol);
        let freshness = stale().lease(SECOND);
        fetch(&dead, freshness, "one").await.unwrap();
        let hangs = until_reloading(&dead, freshness, "one").await;
        until_reloading(&client, freshness, "one").await.end(Ending::Value("two"));
        wait_until(&format!("it is stored, {protocol}"), async || stored(&client).await.unwrap() == "two").await;
        hangs.end(Ending::Value("late"));
        for _ in 0..10 {
            tokio::time::sleep(Duration::from_millis(2)).await;
            assert_eq!(stored(&client).await.unwrap(), "two", "{protocol}: what comes too late is not stored");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_who_see_a_value_that_is_due_reload_it_once() {
    on_all(async |address, protocol| {
        let clients = two(address, protocol);
        fetch(&clients.0, stale(), "one").await.unwrap();
        let loads = Arc::new(AtomicUsize::new(0));
        wait_until("it is reloaded", async || {
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
                        // What is reloaded is fresh for long, so that there is one reload to count.
                        client.fetch("key", stale_once(), load).await.unwrap().unwrap()
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

/// The server's clock says when a value is gone, whatever is due.
#[tokio::test]
async fn no_value_is_shown_after_its_time() {
    for protocol in crate::fetch::PROTOCOLS {
        let clock = ManualClock::new();
        let server = Server::builder().clock(&clock).start().await.unwrap();
        let client = client_at(&server.address(), protocol);
        let freshness = FetchPolicy::new(LONG).lease(LONG).wait(LONG).stale_for(LONG);
        assert_eq!(fetch(&client, freshness, "one").await.unwrap(), "one", "{protocol}");
        clock.advance(LONG - SECOND * 10);
        assert_eq!(fetch(&client, freshness, "two").await.unwrap(), "one", "{protocol}: it is fresh");
        clock.advance(LONG + SECOND * 10);
        assert_eq!(fetch(&client, freshness, "two").await.unwrap(), "two", "{protocol}: it is gone");
        client.invalidate("key", SECOND * 10).await.unwrap();
        clock.advance(SECOND * 11);
        assert_eq!(fetch(&client, freshness, "three").await.unwrap(), "three", "{protocol}: the grace is over");
    }
}

/// Stays fresh for long once it is loaded, and finds what [`stale`] has loaded due.
fn stale_once() -> FetchPolicy {
    FetchPolicy::new(2 * LONG).lease(LONG).wait(LONG).stale_for(LONG)
}
