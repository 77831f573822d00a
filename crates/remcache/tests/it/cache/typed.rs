//! Typed values in a namespace.

use std::time::Duration;

use remcache::value::{ClientFormat, Codec, Compression, Flags, Format, Value, ValueError};
use remcache::{Cache, ErrorKind, WriteOutcome};
use remcache_testkit::Memcached;
use serde::{Deserialize, Serialize};

use crate::cache::client_of;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct User {
    name: String,
    age: u8,
}

fn ada() -> User {
    User { name: "Ada".to_owned(), age: 36 }
}

#[tokio::test]
async fn a_value_round_trips() {
    let server = Memcached::start(&[]);
    let client = client_of(&server);
    let users = Cache::<User>::new(&client, "user", Codec::json());
    assert_eq!(users.get("42").await.unwrap(), None);
    assert!(users.set("42", &ada()).await.unwrap().is_applied());
    assert_eq!(users.get("42").await.unwrap(), Some(ada()));
    assert_eq!(client.get("user:42").await.unwrap().unwrap().value, br#"{"name":"Ada","age":36}"#[..]);
    assert_eq!(users.key("42"), b"user:42");
    assert_eq!(users.add("42", &ada()).await.unwrap(), WriteOutcome::Exists);
    assert_eq!(users.replace("43", &ada()).await.unwrap(), WriteOutcome::NotFound);
    assert!(users.delete("42").await.unwrap().is_applied());
    assert_eq!(users.delete("42").await.unwrap(), WriteOutcome::NotFound);
    assert_eq!(users.get("42").await.unwrap(), None);
}

#[tokio::test]
async fn namespaces_are_isolated() {
    let server = Memcached::start(&[]);
    let client = client_of(&server);
    let (one, two) = (Cache::new(&client, "one", Codec::text()), Cache::new(&client, "two", Codec::text()));
    one.set("key", "1").await.unwrap();
    assert_eq!(two.get("key").await.unwrap(), None);
    let bare = Cache::new(&client, "", Codec::text());
    assert_eq!(bare.get("one:key").await.unwrap().as_deref(), Some("1"));
}

#[tokio::test]
async fn values_have_the_ttl_of_the_cache() {
    let server = Memcached::start(&[]);
    let client = client_of(&server);
    let cache = Cache::new(&client, "t", Codec::text()).ttl(Duration::from_secs(600));
    cache.set("one", "1").await.unwrap();
    let _ = cache.set_many([("two", "2")]).await;
    for key in ["t:one", "t:two"] {
        let reply = crate::support::flags_and_ttl(&server.addr(), key).unwrap();
        assert!((300..=600).contains(&reply.1), "{reply:?}");
    }
}

#[tokio::test]
async fn writes_can_be_conditional() {
    let server = Memcached::start(&[]);
    let client = client_of(&server);
    let numbers = Cache::<u64>::new(&client, "n", Codec::integer());
    numbers.set("a", &1).await.unwrap();
    let (value, cas) = numbers.get_with_cas("a").await.unwrap().unwrap();
    assert_eq!(value, 1);
    assert_eq!(numbers.set_with_cas("a", &2, cas + 1).await.unwrap(), WriteOutcome::Exists);
    assert!(numbers.set_with_cas("a", &2, cas).await.unwrap().is_applied());
    assert_eq!(client.increment("n:a", 40).await.unwrap().unwrap().value, 42);
    assert_eq!(numbers.get("a").await.unwrap(), Some(42), "a memcached counter decodes as an integer");
    client.increment("n:b", 1).initial(7).await.unwrap();
    assert_eq!(numbers.get("b").await.unwrap(), Some(7), "also if the server created it");
}

#[tokio::test]
async fn multi_key_calls_return_one_result_per_key() {
    let server = Memcached::start(&[]);
    let client = client_of(&server);
    let cache = Cache::new(&client, "m", Codec::text().compress(Compression::Zstd, 100));
    let long = "a".repeat(1000);
    let stored = cache.set_many([("short", "1"), ("long", &long), ("other", "2")]).await;
    assert_eq!(stored.applied().count(), 3);
    client.set("m:broken", "x").flags(77).await.unwrap();
    let many = cache.get_many(["short", "long", "absent", "broken"]).await;
    let found: Vec<_> = many.found().map(|(key, text)| (*key, text.len())).collect();
    assert_eq!(found, [("short", 1), ("long", 1000)]);
    assert_eq!(many.missing().collect::<Vec<_>>(), [&"absent"]);
    let (key, error) = many.failed().next().unwrap();
    assert_eq!((*key, error.kind()), ("broken", ErrorKind::Decode));
    let deleted = cache.delete_many(["short", "absent"]).await;
    assert_eq!(deleted.applied().collect::<Vec<_>>(), [&"short"]);
}

#[tokio::test]
async fn an_undecodable_value_is_an_error_that_names_key_and_flags() {
    let server = Memcached::start(&[]);
    let client = client_of(&server);
    let users = Cache::<User>::new(&client, "user", Codec::json());
    client.set("user:1", "x").flags(0x0200).await.unwrap();
    client.set("user:2", "{").flags(Flags::new(Format::Json, None).to_bits()).await.unwrap();
    for (key, words) in [("1", "flags 0x00000200"), ("2", "flags 0x72650003")] {
        let error = users.get(key).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Decode);
        let source = std::error::Error::source(&error).unwrap();
        assert!(source.downcast_ref::<ValueError>().is_some(), "{source}");
        let text = error.to_string();
        assert!(text.contains(words) && text.contains(&format!("key user:{key}")), "{text}");
    }
}

#[tokio::test]
async fn a_compressed_value_is_smaller_on_the_server() {
    let server = Memcached::start(&[]);
    let client = client_of(&server);
    let plain = Cache::new(&client, "c", Codec::text());
    let cache = Cache::new(&client, "c", Codec::text().compress(Compression::Zstd, 1024));
    let text = "some text that repeats itself; ".repeat(100);
    cache.set("key", &text).await.unwrap();
    assert!(client.get("c:key").await.unwrap().unwrap().value.len() < 200);
    assert_eq!(plain.get("key").await.unwrap().as_deref(), Some(&*text), "reading needs no configuration");
}

#[tokio::test]
async fn values_of_another_client_are_decoded() {
    let server = Memcached::start(&[]);
    let client = client_of(&server);
    let cache = Cache::new(&client, "", Codec::client_format(ClientFormat::Pymemcache));
    client.set("theirs", "-42").flags(2).await.unwrap();
    assert_eq!(cache.get("theirs").await.unwrap(), Some(Value::Integer(-42)));
    cache.set("ours", &"Grüße".into()).await.unwrap();
    assert_eq!(client.get("ours").await.unwrap().unwrap().flags, 16);
}

#[tokio::test]
async fn without_a_server_calls_fail_as_unavailable() {
    let client = remcache::Client::new(["127.0.0.1:1"]).unwrap();
    let cache = Cache::new(&client, "x", Codec::text());
    assert!(cache.get("key").await.unwrap_err().is_unavailable());
    assert!(cache.set("key", "1").await.unwrap_err().is_unavailable());
    assert_eq!(cache.get_many(["a", "b"]).await.failed().count(), 2);
}
