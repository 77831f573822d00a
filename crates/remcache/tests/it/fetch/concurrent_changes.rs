//! Changes to a key while its value is loaded: the load never undoes them.

use std::time::Duration;

use bytes::Bytes;
use remcache::Client;
use remcache::config::ProtocolSetting;

use crate::fetch::paused_fetch::{LoadResult, PausedFetch, two_clients};
use crate::fetch::{LONG, fetch, on_all_servers, patient_policy, stored};
use crate::support::wait_until;

const GRACE: Duration = LONG;

/// A change that another process makes to the key, and the value that is stored after it.
type Step = (&'static str, AsyncStep, Option<&'static str>);
type AsyncStep = for<'c> fn(&'c Client) -> std::pin::Pin<Box<dyn Future<Output = ()> + Send + 'c>>;

fn steps() -> Vec<Step> {
    vec![
        ("delete", |client| Box::pin(async { assert!(client.delete("key").await.unwrap().is_applied()) }), None),
        (
            "delete with a tombstone",
            |client| Box::pin(async { assert!(client.delete("key").tombstone(LONG).await.unwrap().is_applied()) }),
            None,
        ),
        (
            "set",
            |client| Box::pin(async { assert!(client.set("key", "set").await.unwrap().is_applied()) }),
            Some("set"),
        ),
        (
            "delete and set",
            |client| {
                Box::pin(async {
                    client.delete("key").await.unwrap();
                    assert!(client.add("key", "added").await.unwrap().is_applied());
                })
            },
            Some("added"),
        ),
        (
            "flush",
            |client| {
                Box::pin(async {
                    client.flush().await[0].1.as_ref().unwrap();
                })
            },
            None,
        ),
        (
            "delete, and another fetch",
            |client| {
                Box::pin(async {
                    client.delete("key").await.unwrap();
                    assert_eq!(fetch(client, patient_policy(), "newer").await.unwrap(), "newer");
                })
            },
            Some("newer"),
        ),
        ("take", |client| Box::pin(async { drop(client.take("key").await.unwrap()) }), None),
    ]
}

/// During the first load of a key, the change replaces a placeholder.
#[tokio::test]
async fn a_first_load_does_not_undo_concurrent_changes() {
    on_all_servers(async |address, protocol| {
        for (name, step, expected) in steps() {
            let (one, other) = two_clients(address, protocol);
            one.delete("key").await.unwrap();
            let paused = PausedFetch::start(&one, patient_policy()).await;
            step(&other).await;
            assert_eq!(
                paused.finish(LoadResult::Value("old")).await.unwrap().unwrap(),
                "old",
                "{protocol}, {name}: its own value"
            );
            assert_eq!(stored(&other).await.as_deref(), expected.map(str::as_bytes), "{protocol}, {name}");
        }
    })
    .await;
}

/// During a reload, the change replaces the stale value.
#[tokio::test]
async fn a_reload_does_not_undo_concurrent_changes() {
    on_all_servers(async |address, protocol| {
        for (name, step, expected) in steps() {
            let (one, other) = two_clients(address, protocol);
            one.set("key", "shown").await.unwrap();
            one.invalidate("key", GRACE).await.unwrap();
            let (paused, started) = PausedFetch::spawn(&one, patient_policy());
            started.acquire().await.unwrap().forget();
            step(&other).await;
            let before = one.get("key").await.unwrap();
            assert_eq!(paused.finish(LoadResult::Value("old")).await.unwrap().unwrap(), "shown", "{protocol}, {name}");
            expect_unchanged(&one, &before, protocol, name).await;
            assert_eq!(stored(&other).await.as_deref(), expected.map(str::as_bytes), "{protocol}, {name}");
        }
    })
    .await;
}

/// Waits until a reload has tried to store, since later requests on the same connection are answered later, and checks
/// that the value is unchanged.
async fn expect_unchanged(client: &Client, before: &Option<remcache::Item>, protocol: ProtocolSetting, name: &str) {
    for _ in 0..20 {
        tokio::task::yield_now().await;
        tokio::time::sleep(Duration::from_millis(2)).await;
        let now = client.get("key").await.unwrap();
        assert_eq!(now.as_ref().map(|item| &item.value), before.as_ref().map(|item| &item.value), "{protocol}, {name}");
    }
}

#[tokio::test]
async fn a_value_invalidated_during_its_load_is_not_stored() {
    on_all_servers(async |address, protocol| {
        let (one, other) = two_clients(address, protocol);
        // Invalidate a placeholder.
        let paused = PausedFetch::start(&one, patient_policy()).await;
        assert!(other.invalidate("key", GRACE).await.unwrap().is_applied(), "{protocol}");
        assert_eq!(paused.finish(LoadResult::Value("old")).await.unwrap().unwrap(), "old", "{protocol}");
        assert_eq!(stored(&other).await, None, "{protocol}");
        assert_eq!(fetch(&other, patient_policy(), "new").await.unwrap(), "new", "{protocol}: the lease is free");
        // Invalidate a stale value.
        one.set("key", "shown").await.unwrap();
        one.invalidate("key", GRACE).await.unwrap();
        let (paused, started) = PausedFetch::spawn(&one, patient_policy());
        started.acquire().await.unwrap().forget();
        assert!(other.invalidate("key", GRACE).await.unwrap().is_applied(), "{protocol}");
        paused.finish(LoadResult::Value("old")).await.unwrap();
        wait_until("the next reload is stored", async || {
            let shown = fetch(&other, patient_policy(), "new").await.unwrap();
            assert_ne!(shown, "old", "{protocol}");
            shown == "new"
        })
        .await;
    })
    .await;
}

#[tokio::test]
async fn a_fetch_after_a_delete_never_returns_a_value_loaded_before_it() {
    on_all_servers(async |address, protocol| {
        let client = crate::fetch::client_at(address, protocol);
        let paused = PausedFetch::start(&client, patient_policy()).await;
        client.delete("key").await.unwrap();
        // The same process waits for the load but does not use its value.
        let (late, started) = PausedFetch::spawn(&client, patient_policy());
        wait_until("the fetch waits", async || client.servers()[0].in_flight() == 0).await;
        assert_eq!(paused.finish(LoadResult::Value("old")).await.unwrap().unwrap(), "old", "{protocol}");
        started.acquire().await.unwrap().forget();
        assert_eq!(late.finish(LoadResult::Value("new")).await.unwrap().unwrap(), "new", "{protocol}");
        assert_eq!(stored(&client).await.unwrap(), "new", "{protocol}");
    })
    .await;
}

#[tokio::test]
async fn a_tombstone_prevents_adds_and_loaders_run() {
    on_all_servers(async |address, protocol| {
        let client = crate::fetch::client_at(address, protocol);
        client.set("key", "old").await.unwrap();
        assert!(client.delete("key").tombstone(LONG).await.unwrap().is_applied(), "{protocol}");
        assert!(!client.add("key", "added").await.unwrap().is_applied(), "{protocol}");
        for value in ["one", "two"] {
            assert!(!client.invalidate("key", GRACE).await.unwrap().is_applied(), "{protocol}: there is no value");
            assert_eq!(fetch(&client, patient_policy(), value).await.unwrap(), value, "{protocol}");
            assert_eq!(stored(&client).await, None, "{protocol}");
        }
        assert!(client.set("key", "set").await.unwrap().is_applied(), "{protocol}");
        assert_eq!(fetch(&client, patient_policy(), "loaded").await.unwrap(), "set", "{protocol}");
    })
    .await;
}

#[tokio::test]
async fn a_tombstone_expires_and_can_be_conditional() {
    on_all_servers(async |address, protocol| {
        let client = crate::fetch::client_at(address, protocol);
        client.set("key", "value").await.unwrap();
        let item = client.get("key").await.unwrap().unwrap();
        let late = client.delete("key").tombstone(LONG).cas(item.cas + 1).await.unwrap();
        assert!(!late.is_applied() && stored(&client).await.is_some(), "{protocol}");
        assert!(client.delete("key").cas(item.cas).tombstone(Duration::from_secs(1)).await.unwrap().is_applied());
        wait_until("the tombstone expires", async || client.add("key", "added").await.unwrap().is_applied()).await;
        let error = client.delete("").tombstone(LONG).await.unwrap_err();
        assert_eq!(error.kind(), remcache::ErrorKind::InvalidKey, "{protocol}");
    })
    .await;
}

#[tokio::test]
async fn an_invalidated_value_is_returned_while_one_caller_reloads_it() {
    on_all_servers(async |address, protocol| {
        let (one, other) = two_clients(address, protocol);
        assert!(!one.invalidate("key", GRACE).await.unwrap().is_applied(), "{protocol}: the key is absent");
        let value = Bytes::from(vec![b'v'; 5000]);
        one.set("key", &value).flags(9).await.unwrap();
        assert!(one.invalidate("key", GRACE).await.unwrap().is_applied(), "{protocol}");
        let item = one.get("key").await.unwrap().unwrap();
        assert_eq!((&item.value, item.flags), (&value, 9), "{protocol}: plain gets return the value");
        let loads = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
        wait_until("the value is reloaded", async || {
            let counter = std::sync::Arc::clone(&loads);
            let load = move || async move {
                counter.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                Ok::<_, remcache::Error>(Some("new"))
            };
            other.fetch_optional("key", patient_policy(), load).await.unwrap().unwrap() == "new"
        })
        .await;
        assert_eq!(loads.load(std::sync::atomic::Ordering::SeqCst), 1, "{protocol}");
    })
    .await;
}
