//! Invalid input: the error names the cause, nothing is sent where the client can detect it, and no other request in
//! flight is affected.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod addresses;
mod configuration;

use std::ops::ControlFlow;
use std::time::{Duration, UNIX_EPOCH};

use remcache::config::ProtocolSetting;
use remcache::{Client, Config, Error, ErrorKind, Request, Status, Ttl};
use remcache_testkit::{Direction, Memcached, Proxy};
use tokio::sync::mpsc;

use crate::support::{only_server, patient_config, stat};

/// A real server behind a proxy that counts connections and bytes, and a connected client.
struct Fixture {
    client: Client,
    proxy: Proxy,
    _server: Memcached,
}

impl Fixture {
    async fn new() -> Self {
        Self::with(patient_config()).await
    }

    async fn with(config: Config) -> Self {
        let server = Memcached::start(&[]);
        let proxy = Proxy::start(server.addr()).await;
        let client = Client::with_config([proxy.addr()], config).unwrap();
        client.set("neighbour", "fine").await.unwrap();
        Self { client, proxy, _server: server }
    }

    /// Makes an invalid call a hundred times among a thousand requests in flight, and returns its results. The other
    /// requests succeed on the same connection.
    async fn among_valid_requests<T>(&self, mut invalid_call: impl AsyncFnMut(&Client) -> T) -> Vec<T> {
        self.proxy.change(|rules| rules.replies.delay = Duration::from_millis(20));
        let mut valid = Vec::new();
        let mut results = Vec::new();
        for _ in 0..100 {
            for _ in 0..10 {
                let client = self.client.clone();
                valid.push(tokio::spawn(async move { client.get("neighbour").await }));
            }
            tokio::task::yield_now().await;
            results.push(invalid_call(&self.client).await);
        }
        for request in valid {
            assert_eq!(request.await.unwrap().unwrap().unwrap().value, "fine");
        }
        assert_eq!(self.proxy.accepted(), 1, "the connection is kept");
        results
    }

    /// Runs a call and asserts that it sends nothing.
    async fn without_sending<T>(&self, call: impl AsyncFnOnce(&Client) -> T) -> T {
        let before = self.proxy.passed(Direction::Requests);
        let result = call(&self.client).await;
        assert_eq!(self.proxy.passed(Direction::Requests), before, "something was sent");
        result
    }
}

fn assert_error(error: &Error, kind: ErrorKind, words: &[&str]) {
    assert_eq!(error.kind(), kind, "{error}");
    let text = error.to_string();
    for word in words {
        assert!(text.contains(word), "{word:?} is missing: {text}");
    }
}

#[tokio::test]
async fn an_empty_key_or_one_of_251_bytes_is_rejected_by_the_client() {
    let fixture = Fixture::new().await;
    for (key, words) in [(String::new(), ["empty", "250"]), ("k".repeat(251), ["251", "250"])] {
        let key = key.as_str();
        let ttl = Duration::from_secs(60);
        let errors = fixture
            .without_sending(async |client| {
                [
                    client.get(key).await.unwrap_err(),
                    client.get_and_touch(key, ttl).await.unwrap_err(),
                    client.set(key, "v").await.unwrap_err(),
                    client.add(key, "v").await.unwrap_err(),
                    client.replace(key, "v").await.unwrap_err(),
                    client.append(key, "v").await.unwrap_err(),
                    client.prepend(key, "v").await.unwrap_err(),
                    client.delete(key).await.unwrap_err(),
                    client.increment(key, 1).await.unwrap_err(),
                    client.decrement(key, 1).await.unwrap_err(),
                    client.touch(key, ttl).await.unwrap_err(),
                    client.locate(key).unwrap_err(),
                ]
            })
            .await;
        for error in errors {
            assert_error(&error, ErrorKind::InvalidKey, &words);
            assert!(!error.may_have_executed() && !error.is_unavailable());
        }
        let reply = fixture.without_sending(async |client| client.call(Request::get(key)).await).await;
        assert_eq!(reply.status, Status::InvalidKey);
        let results = fixture.among_valid_requests(async |client| client.set(key, "v").await).await;
        assert!(results.iter().all(Result::is_err));
    }
}

#[tokio::test]
async fn a_callback_is_called_for_an_invalid_request_too() {
    let fixture = Fixture::new().await;
    let (sender, mut replies) = mpsc::unbounded_channel();
    fixture.client.call_with(Request::get(""), move |reply| {
        sender.send(reply.status).unwrap();
        ControlFlow::Continue(())
    });
    assert_eq!(replies.recv().await, Some(Status::InvalidKey));
    assert_eq!(replies.recv().await, None);
}

#[tokio::test]
async fn requests_that_would_desynchronize_the_connection_are_rejected_by_the_client() {
    let fixture = Fixture::with(patient_config().protocol(ProtocolSetting::Binary)).await;
    let (verbosity, sizes, add) = fixture
        .without_sending(async |client| {
            let server = only_server(client);
            let sizes = server.stats("sizes_enable").collect().await.unwrap_err();
            (server.verbosity(1).await.unwrap_err(), sizes, client.add("k", "v").cas(7).await.unwrap_err())
        })
        .await;
    assert_error(&verbosity, ErrorKind::Unsupported, &["Verbosity", "-v"]);
    assert_error(&sizes, ErrorKind::Unsupported, &["track_sizes"]);
    assert_error(&add, ErrorKind::Unsupported, &["overwrite", "set or replace"]);
    for request in [Request::verbosity(2), Request::stat("sizes_disable"), Request::add("k", "v").cas(7)] {
        let results = fixture.among_valid_requests(async |client| client.call(request.clone()).await.status).await;
        assert!(results.iter().all(|status| *status == Status::Unsupported));
    }
}

#[tokio::test]
async fn a_stats_group_that_is_too_long_is_rejected_by_the_client() {
    let fixture = Fixture::new().await;
    let group = "g".repeat(251);
    let stats = fixture
        .without_sending(async |client| only_server(client).stats(&group).collect().await.map(|stats| stats.len()));
    let error = stats.await.expect_err("the group is too long");
    assert_error(&error, ErrorKind::InvalidKey, &["251", "250"]);
    let results = fixture.among_valid_requests(async |client| client.call(Request::stat(&group)).await.status).await;
    assert!(results.iter().all(|status| *status == Status::InvalidKey));
}

#[tokio::test]
async fn a_value_above_the_limit_is_rejected_by_the_client() {
    let fixture = Fixture::with(patient_config().max_value_size(1000)).await;
    let value = vec![7; 1001];
    let error = fixture.without_sending(async |client| client.set("k", &value).await.unwrap_err()).await;
    assert_error(&error, ErrorKind::ValueTooLarge, &["1001", "1000", "max_value_size"]);
    let results = fixture.among_valid_requests(async |client| client.append("neighbour", &value).await).await;
    assert!(results.iter().all(Result::is_err));
    assert!(fixture.client.set("k", &value[1..]).await.unwrap().is_applied());
}

#[tokio::test]
async fn incrementing_a_text_value_affects_no_other_request() {
    let fixture = Fixture::new().await;
    let results = fixture.among_valid_requests(async |client| client.increment("neighbour", 1).await).await;
    for result in results {
        let error = result.unwrap_err();
        assert_error(&error, ErrorKind::NonNumericValue, &["number", &fixture.proxy.addr()]);
    }
}

#[tokio::test]
async fn a_zero_ttl_is_rejected_instead_of_never_expiring() {
    let fixture = Fixture::new().await;
    let zero = Duration::ZERO;
    let errors = fixture
        .without_sending(async |client| {
            [
                client.set("k", "v").ttl(zero).await.unwrap_err(),
                client.add("k", "v").ttl(zero).await.unwrap_err(),
                client.replace("k", "v").ttl(zero).await.unwrap_err(),
                client.touch("k", zero).await.unwrap_err(),
                client.get_and_touch("k", zero).await.unwrap_err(),
                client.increment("k", 1).initial(1).ttl(zero).await.unwrap_err(),
                client.set_many([("k", "v")]).ttl(zero).await.into_iter().next().unwrap().1.unwrap_err(),
            ]
        })
        .await;
    for error in errors {
        assert_error(&error, ErrorKind::InvalidArguments, &["zero", "Ttl::Never", "Ttl::Expired"]);
    }
}

#[tokio::test]
async fn a_ttl_that_the_protocol_cannot_represent_ends_at_its_last_second() {
    let century = Duration::from_secs(100 * 365 * 86_400);
    let year_2200 = UNIX_EPOCH + Duration::from_secs(7_258_118_400);
    for protocol in [ProtocolSetting::Binary, ProtocolSetting::Meta, ProtocolSetting::Text] {
        let fixture = Fixture::with(patient_config().protocol(protocol)).await;
        let client = &fixture.client;
        for ttl in [Ttl::At(year_2200), Ttl::After(century), Ttl::After(Duration::MAX)] {
            assert!(client.set("k", "v").ttl(ttl).await.unwrap().is_applied(), "{protocol}: {ttl:?}");
            assert!(client.touch("k", ttl).await.unwrap().is_applied(), "{protocol}: {ttl:?}");
            assert!(client.get_and_touch("k", ttl).await.unwrap().is_some(), "{protocol}: {ttl:?}");
            assert!(client.set_many([("k", "v")]).ttl(ttl).await.is_complete(), "{protocol}: {ttl:?}");
            assert!(client.get("k").await.unwrap().is_some(), "{protocol}: {ttl:?}");
        }
        if protocol == ProtocolSetting::Meta {
            let left = client.inspect("k").await.unwrap().unwrap().ttl;
            assert!(matches!(left, Some(Ttl::After(left)) if left > Duration::from_secs(86_400)), "{left:?}");
        }
    }
}

#[tokio::test]
async fn a_zero_timeout_is_rejected_and_affects_no_other_request() {
    let fixture = Fixture::new().await;
    let results =
        fixture.among_valid_requests(async |client| client.get("neighbour").timeout(Duration::ZERO).await).await;
    for result in results {
        let error = result.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArguments, "{error}");
    }
    let expect_rejected = |key: &str, error: &Error| {
        assert_eq!((key, error.kind()), ("neighbour", ErrorKind::InvalidArguments));
        assert!(error.to_string().contains("timeout is zero"), "{error}");
    };
    let many = fixture.client.get_many(["neighbour"]).timeout(Duration::ZERO).await;
    assert_eq!((many.len(), many.failed().count()), (1, 1), "never a miss");
    many.failed().for_each(|(key, error)| expect_rejected(key, error));
    let many = fixture.client.set_many([("neighbour", "not stored")]).timeout(Duration::ZERO).await;
    many.failed().for_each(|(key, error)| expect_rejected(key, error));
    assert_eq!((many.len(), many.failed().count()), (1, 1));
    assert_eq!(fixture.client.get("neighbour").await.unwrap().unwrap().value, "fine");
}

#[tokio::test]
async fn the_longest_timeout_does_not_overflow() {
    let fixture = Fixture::new().await;
    let longest = fixture.client.get("neighbour").timeout(Duration::MAX).await;
    assert_eq!(longest.unwrap().unwrap().value, "fine");
    let longest = fixture.client.get_many(["neighbour"]).timeout(Duration::MAX).await;
    assert_eq!(longest.found().count(), 1);
    let config = Config::new().timeout(Duration::MAX).connect_timeout(Duration::MAX);
    let client = Client::with_config([fixture.proxy.addr()], config).unwrap();
    assert_eq!(client.get("neighbour").await.unwrap().unwrap().value, "fine");
    assert!(!only_server(&client).stats("").collect().await.unwrap().is_empty());
}

#[tokio::test]
async fn keys_and_values_can_contain_any_byte() {
    any_byte(ProtocolSetting::Binary, 250).await;
    // With base64 encoding, fewer bytes of key fit.
    any_byte(ProtocolSetting::Auto, 186).await;
}

async fn any_byte(protocol: ProtocolSetting, longest: usize) {
    let fixture = Fixture::with(patient_config().protocol(protocol)).await;
    let client = &fixture.client;
    for byte in 0..=u8::MAX {
        let keys = [vec![byte], vec![byte, b'x'], vec![b'x', byte], [vec![b'x'; longest - 1], vec![byte]].concat()];
        for key in &keys {
            let value = [&[byte], &key[..], &[byte]].concat();
            assert!(client.set(key, &value).await.unwrap().is_applied(), "{byte:#04x}");
            assert_eq!(client.get(key).await.unwrap().unwrap().value, value, "{byte:#04x}");
            let reply = client.call(Request::get(key).with_key()).await;
            assert_eq!((&reply.key[..], &reply.value[..]), (&key[..], &value[..]), "{byte:#04x}");
        }
        let many = client.get_many(&keys).await;
        assert_eq!(many.found().count(), 4, "{byte:#04x}");
    }
    let all: Vec<u8> = (0..=u8::MAX).collect();
    client.set(&all[..longest], &all).await.unwrap();
    client.set(&all[256 - longest..], &all).await.unwrap();
    assert_eq!(client.get(&all[..longest]).await.unwrap().unwrap().value, all);
    // For the byte `x`, two of the keys are the same: `xx`.
    let items = stat(&only_server(client), "curr_items").await;
    assert_eq!(items, 256 * 4 + 2 + 1 - 1);
    assert_eq!(fixture.proxy.accepted(), 1);
}
