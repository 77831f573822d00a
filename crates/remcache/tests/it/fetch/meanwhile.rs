//! What happens to a key while its value is loaded: the load never undoes it.

use std::time::Duration;

use bytes::Bytes;
use remcache::Client;
use remcache::config::ProtocolSetting;

use crate::fetch::loader::{Ending, Held, two};
use crate::fetch::{LONG, fetch, on_all, patient_freshness, stored};
use crate::support::wait_until;

const GRACE: Duration = LONG;

/// What another process does to the key, and what is stored then for everybody.
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
                    client.add("key", "added").await.unwrap();
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
                    assert_eq!(fetch(client, patient_freshness(), "newer").await.unwrap(), "newer");
                })
            },
            Some("newer"),
        ),
        ("take", |client| Box::pin(async { drop(client.take("key").await.unwrap()) }), None),
    ]
}

/// The first load of a key: a placeholder is what the step meets.
#[tokio::test]
async fn a_first_load_undoes_nothing_that_was_done_meanwhile() {
    on_all(async |address, protocol| {
        for (name, step, expected) in steps() {
            let (one, other) = two(address, protocol);
            one.delete("key").await.unwrap();
            let held = Held::begin(&one, patient_freshness()).await;
            step(&other).await;
            assert_eq!(held.end(Ending::Value("old")).await.unwrap().unwrap(), "old", "{protocol}, {name}: its own");
            assert_eq!(stored(&other).await.as_deref(), expected.map(str::as_bytes), "{protocol}, {name}");
        }
    })
    .await;
}

/// A reload of a value that is shown: the value is what the step meets.
#[tokio::test]
async fn a_reload_undoes_nothing_that_was_done_meanwhile() {
    on_all(async |address, protocol| {
        for (name, step, expected) in steps() {
            let (one, other) = two(address, protocol);
            one.set("key", "shown").await.unwrap();
            one.invalidate("key", GRACE).await.unwrap();
            let (held, began) = Held::ask(&one, patient_freshness());
            began.acquire().await.unwrap().forget();
            step(&other).await;
            let before = one.get("key").await.unwrap();
            assert_eq!(held.end(Ending::Value("old")).await.unwrap().unwrap(), "shown", "{protocol}, {name}");
            settled(&one, &before, protocol, name).await;
            assert_eq!(stored(&other).await.as_deref(), expected.map(str::as_bytes), "{protocol}, {name}");
        }
    })
    .await;
}

/// Waits until a reload has tried to store: a later request on the same connection is answered later.
async fn settled(client: &Client, before: &Option<remcache::Item>, protocol: ProtocolSetting, name: &str) {
    for _ in 0..20 {
        tokio::task::yield_now().await;
        tokio::time::sleep(Duration::from_millis(2)).await;
        let now = client.get("key").await.unwrap();
        assert_eq!(now.as_ref().map(|item| &item.value), before.as_ref().map(|item| &item.value), "{protocol}, {name}");
    }
}

#[tokio::test]
async fn what_was_invalidated_meanwhile_is_not_stored() {
    on_all(async |address, protocol| {
        let (one, other) = two(address, protocol);
        // A placeholder.
        let held = Held::begin(&one, patient_freshness()).await;
        assert!(other.invalidate("key", GRACE).await.unwrap().is_applied(), "{protocol}");
        assert_eq!(held.end(Ending::Value("old")).await.unwrap().unwrap(), "old", "{protocol}");
        assert_eq!(stored(&other).await, None, "{protocol}");
        assert_eq!(
            fetch(&other, patient_freshness(), "new").await.unwrap(),
            "new",
            "{protocol}: nobody holds the lease"
        );
        // A value that is shown.
        one.set("key", "shown").await.unwrap();
        one.invalidate("key", GRACE).await.unwrap();
        let (held, began) = Held::ask(&one, patient_freshness());
        began.acquire().await.unwrap().forget();
        assert!(other.invalidate("key", GRACE).await.unwrap().is_applied(), "{protocol}");
        held.end(Ending::Value("old")).await.unwrap();
        wait_until("the next reload is stored", async || {
            let shown = fetch(&other, patient_freshness(), "new").await.unwrap();
            assert_ne!(shown, "old", "{protocol}");
            shown == "new"
        })
        .await;
    })
    .await;
}

#[tokio::test]
async fn who_asks_after_a_delete_never_gets_what_was_loaded_before() {
    on_all(async |address, protocol| {
        let client = crate::fetch::client_at(address, protocol);
        let held = Held::begin(&client, patient_freshness()).await;
        client.delete("key").await.unwrap();
        // The same process: it follows the load, and takes nothing of it.
        let (late, began) = Held::ask(&client, patient_freshness());
        wait_until("it waits", async || client.servers()[0].in_flight() == 0).await;
        assert_eq!(held.end(Ending::Value("old")).await.unwrap().unwrap(), "old", "{protocol}");
        began.acquire().await.unwrap().forget();
        assert_eq!(late.end(Ending::Value("new")).await.unwrap().unwrap(), "new", "{protocol}");
        assert_eq!(stored(&client).await.unwrap(), "new", "{protocol}");
    })
    .await;
}

#[tokio::test]
async fn a_tombstone_lets_nothing_be_added_and_loaders_run() {
    on_all(async |address, protocol| {
        let client = crate::fetch::client_at(address, protocol);
        client.set("key", "old").await.unwrap();
        assert!(client.delete("key").tombstone(LONG).await.unwrap().is_applied(), "{protocol}");
        assert!(!client.add("key", "added").await.unwrap().is_applied(), "{protocol}");
        for value in ["one", "two"] {
            assert!(!client.invalidate("key", GRACE).await.unwrap().is_applied(), "{protocol}: there is no value");
            assert_eq!(fetch(&client, patient_freshness(), value).await.unwrap(), value, "{protocol}");
            assert_eq!(stored(&client).await, None, "{protocol}");
        }
        assert!(client.set("key", "set").await.unwrap().is_applied(), "{protocol}");
        assert_eq!(fetch(&client, patient_freshness(), "loaded").await.unwrap(), "set", "{protocol}");
    })
    .await;
}

#[tokio::test]
async fn a_tombstone_ends_and_has_conditions() {
    on_all(async |address, protocol| {
        let client = crate::fetch::client_at(address, protocol);
        client.set("key", "value").await.unwrap();
        let item = client.get("key").await.unwrap().unwrap();
        let late = client.delete("key").tombstone(LONG).cas(item.cas + 1).await.unwrap();
        assert!(!late.is_applied() && stored(&client).await.is_some(), "{protocol}");
        assert!(client.delete("key").cas(item.cas).tombstone(Duration::from_secs(1)).await.unwrap().is_applied());
        wait_until("the tombstone ends", async || client.add("key", "added").await.unwrap().is_applied()).await;
        let error = client.delete("").tombstone(LONG).await.unwrap_err();
        assert_eq!(error.kind(), remcache::ErrorKind::InvalidKey, "{protocol}");
    })
    .await;
}

#[tokio::test]
async fn an_invalidated_value_is_shown_while_one_reloads_it() {
    on_all(async |address, protocol| {
        let (one, other) = two(address, protocol);
        assert!(!one.invalidate("key", GRACE).await.unwrap().is_applied(), "{protocol}: there is nothing");
        let value = Bytes::from(vec![b'v'; 5000]);
        one.set("key", &value).flags(9).await.unwrap();
        assert!(one.invalidate("key", GRACE).await.unwrap().is_applied(), "{protocol}");
        let item = one.get("key").await.unwrap().unwrap();
        assert_eq!((&item.value, item.flags), (&value, 9), "{protocol}: plain gets see the value");
        let loads = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
        wait_until("it is reloaded", async || {
            let counter = std::sync::Arc::clone(&loads);
            let load = move || async move {
                counter.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                Ok::<_, remcache::Error>(Some("new"))
            };
            let freshness = patient_freshness().lease(Duration::from_secs(1));
            other.fetch("key", freshness, load).await.unwrap().unwrap() == "new"
        })
        .await;
        assert_eq!(loads.load(std::sync::atomic::Ordering::SeqCst), 1, "{protocol}");
    })
    .await;
}
