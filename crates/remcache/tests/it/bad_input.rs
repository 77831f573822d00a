//! Invalid input: the error names the cause, nothing is sent where the client can detect it, and no other request in
//! flight is affected.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::ops::ControlFlow;
use std::time::{Duration, UNIX_EPOCH};

use remcache::config::ProtocolSetting;
use remcache::health::ConnectionState;
use remcache::{Client, Config, Delivery, Error, ErrorKind, Request, Status, Ttl};
use remcache_testkit::{Direction, Memcached, Proxy, unused_port};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use crate::support::{only_server, patient_config, stat, wait_until};

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

// ---- Requests ----

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

// ---- Configuration ----

#[test]
fn an_invalid_server_list_is_explained() {
    let empty: [&str; 0] = [];
    assert_error(&Client::new(empty).unwrap_err(), ErrorKind::Config, &["empty", "localhost:11211"]);
    for (text, words) in [
        ("", ["empty", "host:port"]),
        ("a,,b", ["empty", "host:port"]),
        ("cache:", ["cache:", "port"]),
        ("cache:0", ["cache:0", "port"]),
        ("cache:65536", ["65536", "port"]),
        ("cache:memcached", ["memcached", "port"]),
        ("cache:11211:0", ["cache:11211:0", "weight"]),
        ("cache:1:2:3", ["cache:1:2:3", "[::1]:11211"]),
        ("my cache", ["my cache", "host"]),
        ("[::1", ["[::1", "bracket"]),
        ("[cache]:11211", ["cache", "IPv6"]),
        ("unix://socket", ["socket", "/"]),
        ("http://cache", ["http", "memcached"]),
    ] {
        assert_error(&Client::new([text]).unwrap_err(), ErrorKind::Config, &words);
        assert_error(&Client::new(["localhost", text]).unwrap_err(), ErrorKind::Config, &words);
    }
    let twice = Client::new(["a", "b:11211:3", "a:11211"]).unwrap_err();
    assert_error(&twice, ErrorKind::Config, &["0 and 2", "\"a\"", "list it once"]);
}

#[test]
fn an_invalid_url_option_is_explained() {
    for (url, words) in [
        ("memcached://cache/?tiemout=1s", &["tiemout", "timeout", "connections"][..]),
        ("memcached://cache/?timeout=0s", &["timeout=0s", "250ms"]),
        ("memcached://cache/?timeout=soon", &["timeout=soon", "250ms"]),
        ("memcached://cache/?timeout=-1s", &["timeout=-1s", "250ms"]),
        ("memcached://cache/?timeout", &["timeout", "name=value"]),
        ("memcached://cache/?connections=0", &["connections=0", "number"]),
        ("memcached://cache/?max_value_size=big", &["max_value_size=big", "number"]),
        ("memcached://cache/?distribution=random", &["random", "ketama"]),
        ("memcached://", &["empty"]),
    ] {
        assert_error(&Config::from_url(url).unwrap_err(), ErrorKind::Config, words);
        assert_error(&Client::new([url]).unwrap_err(), ErrorKind::Config, words);
    }
}

#[test]
fn an_invalid_configuration_value_is_named() {
    let (zero, second) = (Duration::ZERO, Duration::from_secs(1));
    for (config, word) in [
        (Config::new().timeout(zero), "timeout"),
        (Config::new().connect_timeout(zero), "connect_timeout"),
        (Config::new().keepalive(zero, second), "keepalive"),
        (Config::new().keepalive(second, zero), "keepalive's timeout"),
        (Config::new().reconnect_delay(second, zero), "reconnect_delay"),
        (Config::new().reconnect_delay(zero, second), "reconnect_delay"),
        (Config::new().connections(0), "connections"),
        (Config::new().max_in_flight(0), "max_in_flight"),
        (Config::new().max_output(0), "max_output"),
        (Config::new().max_value_size(0), "max_value_size"),
        (Config::new().namespace("n".repeat(250)), "namespace"),
    ] {
        let result = Client::with_config(["localhost"], config).map(|_| word);
        assert_error(&result.expect_err(word), ErrorKind::Config, &[word]);
    }
}

// ---- Addresses where no memcached answers ----

/// Sends a request and returns the error, after checking that the client considers the server down.
async fn error_from(address: &str, protocol: ProtocolSetting) -> Error {
    let config = patient_config().protocol(protocol);
    let client = Client::with_config([address], config).unwrap();
    // Its length byte is a line feed, so a server that reads lines receives a complete line.
    let error = client.get("ten-bytes!").await.unwrap_err();
    assert_eq!(error.server(), Some(address), "{error}");
    assert!(error.to_string().contains(address), "{error}");
    let condition = only_server(&client).status().state;
    assert!(!client.is_usable() && matches!(condition, ConnectionState::Down(_)), "{protocol}: {condition:?}: {error}");
    let again = client.get("ten-bytes!").await.unwrap_err();
    assert_eq!(again.kind(), ErrorKind::Disconnected(Delivery::NotSent), "{again}");
    error
}

#[tokio::test]
async fn a_host_name_that_does_not_resolve_is_named() {
    let error = error_from("nonexistent.invalid:11211", ProtocolSetting::Auto).await;
    assert_error(&error, ErrorKind::Disconnected(Delivery::NotSent), &["nonexistent.invalid", "resolve"]);
}

#[tokio::test]
async fn a_refused_connection_is_named() {
    let error = error_from(&format!("127.0.0.1:{}", unused_port()), ProtocolSetting::Auto).await;
    assert_error(&error, ErrorKind::Disconnected(Delivery::NotSent), &["refused"]);
    let error = error_from("/nonexistent/memcached.sock", ProtocolSetting::Auto).await;
    assert_error(&error, ErrorKind::Disconnected(Delivery::NotSent), &["No such file"]);
}

/// Starts a server that answers every request with these bytes, and returns its address.
async fn start_answering(answer: &'static [u8]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 1024];
            let _ = stream.read(&mut request).await;
            let _ = stream.write_all(answer).await;
            let _ = stream.shutdown().await;
            while matches!(stream.read(&mut request).await, Ok(1..)) {}
        }
    });
    address
}

#[tokio::test]
async fn a_server_that_is_not_memcached_is_identified() {
    let http = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    for (answer, word) in [
        (&http[..], "HTTP"),
        // A TLS alert: unexpected message.
        (b"\x15\x03\x01\x00\x02\x02\x0a", "TLS"),
        // The first bytes of a TLS handshake.
        (b"\x16\x03\x03\x00\x7a\x02\x00\x00\x76\x03\x03", "TLS"),
        (b"CLIENT_ERROR bad command line format\r\n", "text"),
        (b"ERROR\r\n", "text"),
        (b"-ERR unknown command\r\n", "not memcached"),
    ] {
        let error = error_from(&start_answering(answer).await, ProtocolSetting::Binary).await;
        assert_error(&error, ErrorKind::Disconnected(Delivery::MaybeSent), &[word]);
        if word != "text" {
            let error = error_from(&start_answering(answer).await, ProtocolSetting::Auto).await;
            assert_error(&error, ErrorKind::Disconnected(Delivery::NotSent), &[word]);
        }
    }
}

#[tokio::test]
async fn a_text_only_server_is_identified() {
    let server = Memcached::start(&["-B", "ascii"]);
    let error = error_from(&server.addr(), ProtocolSetting::Binary).await;
    assert_error(&error, ErrorKind::Disconnected(Delivery::MaybeSent), &["text"]);
}

#[tokio::test]
async fn a_server_that_closes_without_a_reply_is_not_a_miss() {
    for protocol in ProtocolSetting::ALL {
        let error = error_from(&start_answering(b"").await, protocol).await;
        assert_error(&error, ErrorKind::Disconnected(Delivery::MaybeSent), &["closed"]);
    }
}

#[tokio::test]
async fn a_server_that_requires_authentication_is_not_a_miss() {
    let server = Memcached::start_sasl(&[]);
    let client = Client::with_config([server.addr()], patient_config()).unwrap();
    let error = client.get("k").await.unwrap_err();
    assert_error(&error, ErrorKind::Auth, &[&server.addr(), "authentication"]);
    for _ in 0..20 {
        assert!(client.get("k").await.is_err());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    wait_until("nothing is in flight", async || only_server(&client).in_flight() == 0).await;
}

#[tokio::test]
async fn an_invalid_server_does_not_affect_the_others() {
    let server = Memcached::start(&[]);
    let addresses =
        [server.addr(), start_answering(b"HTTP/1.1 400 Bad Request\r\n\r\n").await, "nonexistent.invalid".into()];
    let client = Client::with_config(addresses, patient_config()).unwrap();
    let keys: Vec<String> = (0..600).map(|n| format!("key{n}")).collect();
    let is_on_server = |key: &str| client.locate(key).unwrap().unwrap().name() == server.addr();
    let on_server = keys.iter().filter(|key| is_on_server(key)).count();
    assert!((50..550).contains(&on_server));
    for _ in 0..5 {
        let stored = client.set_many(keys.iter().map(|key| (key, key))).await;
        assert_eq!((stored.applied().count(), stored.failed().count()), (on_server, 600 - on_server));
        assert!(stored.failed().all(|(key, error)| !is_on_server(key) && error.is_disconnected()));
    }
}
