//! Changes of typed values: per-call TTLs, touch, take and update.

use std::time::Duration;

use remcache::config::ProtocolSetting;
use remcache::value::Codec;
use remcache::{Cache, Client, WriteOutcome};
use remcache_testkit::Memcached;

use crate::support::{patient_config, wait_until};

const PROTOCOLS: [ProtocolSetting; 3] = [ProtocolSetting::Binary, ProtocolSetting::Meta, ProtocolSetting::Text];
/// Longer than any test.
const LONG: Duration = Duration::from_secs(3600);

fn client_of(server: &Memcached, protocol: ProtocolSetting) -> Client {
    Client::with_config([server.addr()], patient_config().protocol(protocol)).unwrap()
}

#[tokio::test]
async fn a_call_can_set_its_ttl() {
    let server = Memcached::start(&[]);
    let (client, second) = (client_of(&server, ProtocolSetting::Auto), Duration::from_secs(1));
    let cache = Cache::new(&client, "ttl", Codec::text()).ttl(LONG);
    cache.set("set", "value").ttl(second).await.unwrap();
    assert!(cache.add("add", "value").ttl(second).await.unwrap().is_applied());
    cache.set("replace", "value").await.unwrap();
    assert!(cache.replace("replace", "value").ttl(second).await.unwrap().is_applied());
    cache.set("kept", "value").await.unwrap();
    for key in ["set", "add", "replace"] {
        wait_until(key, async || cache.get(key).await.unwrap().is_none()).await;
    }
    assert!(cache.get("kept").await.unwrap().is_some());
}

#[tokio::test]
async fn touch_extends_the_item_and_its_chunks() {
    let server = Memcached::start(&[]);
    for protocol in PROTOCOLS {
        let client = client_of(&server, protocol);
        let cache = Cache::new(&client, protocol.to_string(), Codec::text()).chunked(100).ttl(Duration::from_secs(2));
        let long = "x".repeat(1000);
        for key in ["touched", "got", "left"] {
            cache.set(key, &long).await.unwrap();
        }
        assert!(cache.touch("touched", LONG).await.unwrap().is_applied(), "{protocol}");
        assert_eq!(cache.get_and_touch("got", LONG).await.unwrap().as_deref(), Some(long.as_str()), "{protocol}");
        wait_until("it expires", async || cache.get("left").await.unwrap().is_none()).await;
        for key in ["touched", "got"] {
            assert_eq!(cache.get(key).await.unwrap().as_deref(), Some(long.as_str()), "{protocol}: {key}");
        }
        assert_eq!(cache.touch("left", LONG).await.unwrap(), WriteOutcome::NotFound, "{protocol}");
        assert_eq!(cache.get_and_touch("left", LONG).await.unwrap(), None, "{protocol}");
    }
}

#[tokio::test]
async fn one_caller_takes_a_value() {
    let server = Memcached::start(&[]);
    for protocol in PROTOCOLS {
        let client = client_of(&server, protocol);
        let cache = Cache::new(&client, protocol.to_string(), Codec::text()).chunked(100);
        for value in ["short".to_owned(), "x".repeat(1000)] {
            cache.set("key", &value).await.unwrap();
            let (one, other) = tokio::join!(cache.take("key"), cache.take("key"));
            let taken: Vec<_> = [one.unwrap(), other.unwrap()].into_iter().flatten().collect();
            assert_eq!(taken, [value.as_str()], "{protocol}");
            assert_eq!(cache.get("key").await.unwrap(), None, "{protocol}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_update_is_lost() {
    let server = Memcached::start(&[]);
    for protocol in PROTOCOLS {
        let client = client_of(&server, protocol);
        // Every other list is too long for one item.
        let cache = Cache::<Vec<u32>>::new(&client, protocol.to_string(), Codec::json()).chunked(60);
        let tasks = (0..4).map(|task| {
            let cache = cache.clone();
            tokio::spawn(async move {
                for number in 0..8 {
                    let with = |list: Option<Vec<u32>>| {
                        let mut list = list.unwrap_or_default();
                        list.push(task * 100 + number);
                        Some(list)
                    };
                    cache.update("list", with).await.unwrap();
                }
            })
        });
        for task in tasks.collect::<Vec<_>>() {
            task.await.unwrap();
        }
        let mut list = cache.get("list").await.unwrap().unwrap();
        list.sort_unstable();
        let expected: Vec<u32> = (0..4).flat_map(|task| (0..8).map(move |number| task * 100 + number)).collect();
        assert_eq!(list, expected, "{protocol}");
        assert_eq!(cache.update("list", |_| None::<Vec<u32>>).await.unwrap(), None, "{protocol}");
        assert_eq!(cache.get("list").await.unwrap(), None, "{protocol}");
    }
}
