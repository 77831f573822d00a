//! `fetch_many`: one batch loader for the keys that the cache lacks.

use std::sync::{Arc, Mutex};

use remcache::value::Codec;
use remcache::{Cache, ErrorKind};
use remcache_testkit::Memcached;

use super::paused_fetch::{LoadResult, PausedFetch};
use super::*;

type Loads = Arc<Mutex<Vec<Vec<&'static str>>>>;

/// Returns a loader that records the requested keys, and finds all but "none".
fn loader(loads: &Loads) -> impl FnMut(Vec<&'static str>) -> Loading + Send + 'static {
    let loads = Arc::clone(loads);
    move |keys| {
        loads.lock().unwrap().push(keys.clone());
        let found = keys.into_iter().filter(|key| *key != "none").map(|key| (key, key.to_uppercase())).collect();
        std::future::ready(Ok(found))
    }
}

type Loading = std::future::Ready<Result<Vec<(&'static str, String)>, Error>>;

#[tokio::test]
async fn missing_keys_are_loaded_in_one_batch_and_stored() {
    on_all_servers(async |address, protocol| {
        let client = client_at(address, protocol);
        client.set("a", "stored").await.unwrap();
        let (loads, policy) = (Loads::default(), patient_policy().negative_ttl(LONG));
        for round in 0..2 {
            let found = client.fetch_many(["a", "b", "none", "c", "b"], policy, loader(&loads)).await.unwrap();
            let values: Vec<_> = found.iter().map(|(_, value)| value.unwrap().clone()).collect();
            let expected = [Some("stored"), Some("B"), None, Some("C"), Some("B")];
            assert_eq!(values, expected.map(|value| value.map(Bytes::from)), "{protocol}, round {round}");
        }
        assert_eq!(*loads.lock().unwrap(), [["b", "none", "c"]], "{protocol}");
        assert_eq!(client.get("c").await.unwrap().unwrap().value, "C", "{protocol}");
        assert_eq!(client.get("none").await.unwrap(), None, "{protocol}");
    })
    .await;
}

#[tokio::test]
async fn a_value_that_is_changed_during_the_load_is_not_stored() {
    on_all_servers(async |address, protocol| {
        let (client, other) = (client_at(address, protocol), client_at(address, protocol));
        let load = async |_: Vec<&str>| {
            other.delete("a").await?;
            other.set("b", "newer").await?;
            Ok::<_, Error>([("a", "old"), ("b", "old"), ("c", "old")])
        };
        let found = client.fetch_many(["a", "b", "c"], patient_policy(), |keys| Box::pin(load(keys))).await.unwrap();
        assert!(
            found.into_found().all(|(_, value)| value == "old"),
            "{protocol}: the calls started before the changes"
        );
        let stored: Vec<_> = client.get_many(["a", "b", "c"]).await.into_found().collect();
        let stored: Vec<_> = stored.iter().map(|(key, item)| (*key, item.value.as_ref())).collect();
        assert_eq!(stored, [("b", &b"newer"[..]), ("c", b"old")], "{protocol}");
    })
    .await;
}

#[tokio::test]
async fn keys_that_another_client_loads_are_waited_for() {
    on_all_servers(async |address, protocol| {
        let (one, other) = (client_at(address, protocol), client_at(address, protocol));
        let paused = PausedFetch::start(&one, patient_policy()).await;
        let loads = Loads::default();
        let many = {
            let (other, load) = (other.clone(), loader(&loads));
            tokio::spawn(async move { other.fetch_many(["key", "mine"], patient_policy(), load).await })
        };
        crate::support::wait_until("the batch is loaded", async || !loads.lock().unwrap().is_empty()).await;
        assert!(paused.finish(LoadResult::Value("theirs")).await.is_ok(), "{protocol}");
        let values: Vec<_> = many.await.unwrap().unwrap().into_found().map(|(_, value)| value).collect();
        assert_eq!(values, ["theirs", "MINE"], "{protocol}");
        assert_eq!(*loads.lock().unwrap(), [["mine"]], "{protocol}");
    })
    .await;
}

#[tokio::test]
async fn a_loader_that_fails_or_is_dropped_releases_its_keys() {
    on_all_servers(async |address, protocol| {
        let client = client_at(address, protocol);
        let fail =
            |_: Vec<&str>| async { Err::<Vec<(&str, &str)>, _>(Error::from(remcache::proto::InvalidKey::Empty)) };
        assert!(client.fetch_many(["key"], patient_policy(), fail).await.is_err(), "{protocol}");
        assert_eq!(fetch(&client, patient_policy(), "mine").await.unwrap(), "mine", "{protocol}");

        client.delete("key").await.unwrap();
        let never = |_: Vec<&str>| std::future::pending::<Result<Vec<(&str, &str)>, Error>>();
        let short = Duration::from_millis(50);
        let error = client.fetch_many(["key"], patient_policy(), never).timeout(short).await.unwrap_err();
        assert!(error.is_timeout(), "{protocol}: {error}");
        assert_eq!(fetch(&client, patient_policy(), "mine").await.unwrap(), "mine", "{protocol}");
    })
    .await;
}

#[tokio::test]
async fn without_a_server_the_loader_gets_all_keys() {
    let server = Memcached::start(&[]);
    let client = client_at(&server.addr(), ProtocolSetting::Auto);
    drop(server);
    let loads = Loads::default();
    let found = client.fetch_many(["a", "none"], patient_policy(), loader(&loads)).await.unwrap();
    assert_eq!((found.found().count(), found.missing().count()), (1, 1));
    assert_eq!(*loads.lock().unwrap(), [["a", "none"]]);
}

#[tokio::test]
async fn a_server_without_cas_values_and_policies_that_refresh_are_errors() {
    let server = Memcached::start(&["-C"]);
    let loads = Loads::default();
    for protocol in PROTOCOLS {
        let client = client_at(&server.addr(), protocol);
        let found = client.fetch_many(["a"], patient_policy(), loader(&loads)).await.unwrap();
        let (_, error) = found.failed().next().unwrap();
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{protocol}: {error}");
        let stale = patient_policy().stale_for(LONG);
        let error = client.fetch_many(["a"], stale, loader(&loads)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArguments, "{protocol}: {error}");
    }
    assert!(loads.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_cache_fetches_many_values_through_its_codec_and_in_chunks() {
    on_all_servers(async |address, protocol| {
        let client = client_at(address, protocol);
        let cache = Cache::new(&client, "text", Codec::text()).chunked(100);
        let (loads, long) = (Loads::default(), "x".repeat(1000));
        let load = |keys: Vec<&'static str>| {
            loads.lock().unwrap().push(keys.clone());
            let values = keys.into_iter().map(|key| (key, if key == "long" { long.clone() } else { key.to_owned() }));
            std::future::ready(Ok::<_, Error>(values.collect::<Vec<_>>()))
        };
        let (load, policy) = (&load, patient_policy());
        for _ in 0..2 {
            let found = cache.fetch_many(["long", "short"], policy, load).await.unwrap();
            let found: Vec<_> = found.into_found().map(|(_, value)| value).collect();
            assert_eq!(found, [long.as_str(), "short"], "{protocol}");
        }
        assert_eq!(loads.lock().unwrap().len(), 1, "{protocol}");
        assert_eq!(cache.get("long").await.unwrap().as_deref(), Some(long.as_str()), "{protocol}");
    })
    .await;
}
