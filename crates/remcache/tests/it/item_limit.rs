//! Values around a server's item size limit: a write that is too large leaves the stored item unchanged.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use bytes::Bytes;
use remcache::config::ProtocolSetting;
use remcache::value::Codec;
use remcache::{Cache, Client, Error, ErrorKind, Request, Status, Ttl};
use remcache_testkit::Memcached;

use crate::support::{patient_config, wait_until};

const PROTOCOLS: [ProtocolSetting; 3] = [ProtocolSetting::Binary, ProtocolSetting::Meta, ProtocolSetting::Text];

fn client_of(server: &Memcached, protocol: ProtocolSetting) -> Client {
    Client::with_config([server.addr()], patient_config().protocol(protocol).max_value_size(8 << 20)).unwrap()
}

async fn value(client: &Client, key: &str) -> Option<Bytes> {
    client.get(key).await.unwrap().map(|item| item.value)
}

#[track_caller]
fn assert_too_large<T: std::fmt::Debug>(result: Result<T, Error>, what: &str) -> Error {
    let error = result.expect_err(what);
    assert_eq!(error.kind(), ErrorKind::ValueTooLarge, "{what}: {error}");
    error
}

/// Returns the length of the longest value that memcached accepts.
fn longest(limit: usize, key: &str, flags: u32, has_cas: bool) -> usize {
    let (cas, flags) = (if has_cas { 8 } else { 0 }, if flags == 0 { 0 } else { 4 });
    limit - 51 - cas - flags - key.len()
}

#[tokio::test]
async fn a_value_one_byte_too_long_leaves_the_old_value() {
    for (size, limit) in [("512k", 512 << 10), ("1536k", 1536 << 10), ("1m", 1 << 20), ("2m", 2 << 20)] {
        for has_cas in [true, false] {
            let args = ["-I", size, "-C"];
            let server = Memcached::start(if has_cas { &args[..2] } else { &args });
            for protocol in PROTOCOLS {
                let client = client_of(&server, protocol);
                for (key, flags) in [("k", 0), ("k", 7), (&"l".repeat(250), 0), (&"l".repeat(250), 7)] {
                    let what = format!("-I {size}, CAS {has_cas}, {protocol}, {} bytes of key, {flags}", key.len());
                    let longest = vec![b'x'; longest(limit, key, flags, has_cas)];
                    assert!(client.set(key, &longest).flags(flags).await.unwrap().is_applied(), "{what}");
                    assert_eq!(value(&client, key).await.map(|value| value.len()), Some(longest.len()), "{what}");
                    client.set(key, "old").flags(flags).await.unwrap();
                    let larger = [&longest[..], b"x"].concat();
                    let error = assert_too_large(client.set(key, &larger).flags(flags).await, &what);
                    assert!(error.to_string().contains(&limit.to_string()), "{what}: {error}");
                    assert!(error.server().is_some(), "{what}: {error}");
                    assert_eq!(value(&client, key).await.as_deref(), Some(&b"old"[..]), "{what}");
                }
            }
        }
    }
}

#[tokio::test]
async fn conditional_stores_keep_existing_items() {
    let server = Memcached::start(&["-I", "512k"]);
    for protocol in PROTOCOLS {
        let client = client_of(&server, protocol);
        let large = Bytes::from(vec![b'x'; 512 << 10]);
        client.set("k", "old").await.unwrap();
        let cas = client.get("k").await.unwrap().unwrap().cas;
        let what = protocol.to_string();
        assert_too_large(client.set("k", &large).await, &what);
        assert_too_large(client.set("k", &large).cas(cas).await, &what);
        assert_too_large(client.compare_and_swap("k", &large, cas + 1).await, &what);
        assert_too_large(client.add("k", &large).await, &what);
        assert_too_large(client.replace("k", &large).await, &what);
        assert_too_large(client.append("k", &large).await, &what);
        assert_too_large(client.prepend("k", &large).await, &what);
        let changed = large.clone();
        assert_too_large(client.update("k", Ttl::Never, move |_| Some(changed.clone())).await, &what);
        let cache = Cache::new(&client, "", Codec::bytes());
        assert_too_large(cache.set("k", &large).await, &what);
        let replies = client.call_many([Request::set("k", &large), Request::get("k")]).await;
        assert_eq!(replies[0].status, Status::ValueTooLarge, "{what}");
        assert_eq!(replies[1].value, "old", "{what}");
        assert_eq!(value(&client, "k").await.as_deref(), Some(&b"old"[..]), "{what}");
    }
}

#[tokio::test]
async fn a_multi_key_call_refuses_only_values_that_are_too_large() {
    let server = Memcached::start(&["-I", "512k", "-m", "256"]);
    for protocol in PROTOCOLS {
        let client = client_of(&server, protocol);
        let keys: Vec<String> = (0..40).map(|n| format!("{protocol}{n}")).collect();
        let _ = client.set_many(keys.iter().map(|key| (key, "old"))).await;
        let length = |n: usize| if n.is_multiple_of(7) { 600_000 } else { 200_000 * (n % 2) + 1 };
        let values: Vec<Vec<u8>> = (0..keys.len()).map(|n| vec![b'x'; length(n)]).collect();
        let stored = client.set_many(keys.iter().zip(&values)).await;
        for (n, (key, result)) in stored.into_iter().enumerate() {
            let now = value(&client, key).await.unwrap();
            match n.is_multiple_of(7) {
                true => {
                    assert_too_large(result, key);
                    assert_eq!(now, "old", "{key}");
                }
                false => {
                    assert!(result.unwrap().is_applied(), "{key}");
                    assert_eq!(now.len(), length(n), "{key}");
                }
            }
        }
    }
}

#[tokio::test]
async fn values_that_are_too_large_are_refused_with_replicas_and_retries() {
    let servers = [Memcached::start(&["-I", "512k"]), Memcached::start(&["-I", "512k"])];
    let config = patient_config().max_value_size(8 << 20).replicas(2);
    let client = Client::with_config(servers.each_ref().map(Memcached::addr), config).unwrap();
    client.set("k", "old").await.unwrap();
    assert_too_large(client.set("k", vec![0; 600_000]).await, "set");
    assert_eq!(client.set_many([("k", vec![0; 600_000])]).await.failed().count(), 1);
    assert_eq!(value(&client, "k").await.as_deref(), Some(&b"old"[..]));
}

#[tokio::test]
async fn a_small_limit_is_learned_from_the_first_refusal() {
    let server = Memcached::start(&["-I", "16k", "-o", "slab_chunk_max=8192"]);
    for protocol in PROTOCOLS {
        let client = client_of(&server, protocol);
        assert_too_large(client.set("first", vec![0; 20_000]).await, "the first");
        client.set("k", "old").await.unwrap();
        let longest = longest(16 << 10, "k", 0, true);
        assert_too_large(client.set("k", vec![0; longest + 1]).await, "the second");
        assert_eq!(value(&client, "k").await.as_deref(), Some(&b"old"[..]), "{protocol}");
        assert!(client.set("k", vec![0; longest]).await.unwrap().is_applied(), "{protocol}");
    }
}

#[tokio::test]
async fn a_small_limit_is_requested_before_the_first_refusal_if_configured() {
    let server = Memcached::start(&["-I", "16k", "-o", "slab_chunk_max=8192"]);
    for protocol in PROTOCOLS {
        let config = patient_config().protocol(protocol).check_item_size_from(512);
        let client = Client::with_config([server.addr()], config).unwrap();
        client.set("k", "old").await.unwrap();
        assert_too_large(client.set("k", vec![0; 16 << 10]).await, "the first");
        assert_eq!(value(&client, "k").await.as_deref(), Some(&b"old"[..]), "{protocol}");
    }
}

#[tokio::test]
async fn the_limit_is_requested_again_after_a_restart() {
    let mut server = Memcached::start(&["-I", "512k"]);
    let client = client_of(&server, ProtocolSetting::Meta);
    assert_too_large(client.set("k", vec![0; 600_000]).await, "before");
    server.kill();
    server.restart();
    wait_until("the client is back", async || client.set("k", "old").await.is_ok()).await;
    assert_too_large(client.set("k", vec![0; 600_000]).await, "after");
    assert_eq!(value(&client, "k").await.as_deref(), Some(&b"old"[..]));
}
