//! Bad input: an error that names the thing, before anything is sent where that is possible, and no
//! neighbour in flight is harmed.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use remcache::config::ProtocolSetting;
use remcache::health::ConnectionState;
use remcache::{Client, Config, Delivery, Error, ErrorKind, Flow, Request, Status, Ttl};
use remcache_testkit::{Direction, Memcached, Proxy, unused_port};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use crate::support::{only_server, patient_config, stat, wait_until};

/// A real server behind a proxy that counts, and a client that is connected.
struct Setting {
    client: Client,
    proxy: Proxy,
    _server: Memcached,
}

impl Setting {
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

    /// Does something bad a hundred times among a thousand requests in flight, and gives what came
    /// of it. The neighbours are fine, and the connection is the same.
    async fn among_neighbours<T>(&self, mut bad: impl AsyncFnMut(&Client) -> T) -> Vec<T> {
        self.proxy.change(|rules| rules.replies.delay = Duration::from_millis(20));
        let mut neighbours = Vec::new();
        let mut outcomes = Vec::new();
        for _ in 0..100 {
            for _ in 0..10 {
                let client = self.client.clone();
                neighbours.push(tokio::spawn(async move { client.get("neighbour").await }));
            }
            tokio::task::yield_now().await;
            outcomes.push(bad(&self.client).await);
        }
        for neighbour in neighbours {
            assert_eq!(neighbour.await.unwrap().unwrap().unwrap().value, "fine");
        }
        assert_eq!(self.proxy.accepted(), 1, "the connection is the same");
        outcomes
    }

    /// Nothing reaches the server while this is done.
    async fn without_a_byte<T>(&self, quiet: impl AsyncFnOnce(&Client) -> T) -> T {
        let before = self.proxy.passed(Direction::Requests);
        let outcome = quiet(&self.client).await;
        assert_eq!(self.proxy.passed(Direction::Requests), before, "something was sent");
        outcome
    }
}

fn assert_says(error: &Error, kind: ErrorKind, words: &[&str]) {
    assert_eq!(error.kind(), kind, "{error}");
    let text = error.to_string();
    for word in words {
        assert!(text.contains(word), "{word:?} is missing: {text}");
    }
}

// ---- Requests ----

#[tokio::test]
async fn a_key_of_no_bytes_or_of_251_is_refused_here() {
    let setting = Setting::new().await;
    for (key, words) in [(String::new(), ["empty", "250"]), ("k".repeat(251), ["251", "250"])] {
        let key = key.as_str();
        let ttl = Duration::from_secs(60);
        let errors = setting
            .without_a_byte(async |client| {
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
            assert_says(&error, ErrorKind::InvalidKey, &words);
            assert!(!error.may_have_executed() && !error.is_unavailable());
        }
        let reply = setting.without_a_byte(async |client| client.call(Request::get(key)).await).await;
        assert_eq!(reply.status, Status::InvalidArguments);
        let outcomes = setting.among_neighbours(async |client| client.set(key, "v").await).await;
        assert!(outcomes.iter().all(Result::is_err));
    }
}

#[tokio::test]
async fn a_callback_hears_of_an_invalid_request_too() {
    let setting = Setting::new().await;
    let (sender, mut replies) = mpsc::unbounded_channel();
    setting.client.call_with(Request::get(""), move |reply| {
        sender.send(reply.status).unwrap();
        Flow::Proceed
    });
    assert_eq!(replies.recv().await, Some(Status::InvalidArguments));
    assert_eq!(replies.recv().await, None);
}

#[tokio::test]
async fn what_would_lose_step_is_refused_here() {
    let setting = Setting::with(patient_config().protocol(ProtocolSetting::Binary)).await;
    let (verbosity, sizes, add) = setting
        .without_a_byte(async |client| {
            let server = only_server(client);
            let sizes = server.stats("sizes_enable").collect().await.unwrap_err();
            (server.verbosity(1).await.unwrap_err(), sizes, client.add("k", "v").cas(7).await.unwrap_err())
        })
        .await;
    assert_says(&verbosity, ErrorKind::Unsupported, &["Verbosity", "-v"]);
    assert_says(&sizes, ErrorKind::Unsupported, &["track_sizes"]);
    assert_says(&add, ErrorKind::Unsupported, &["overwrite", "set or replace"]);
    for request in [Request::verbosity(2), Request::stat("sizes_disable"), Request::add("k", "v").cas(7)] {
        let outcomes = setting.among_neighbours(async |client| client.call(request.clone()).await.status).await;
        assert!(outcomes.iter().all(|status| *status == Status::Unsupported));
    }
}

#[tokio::test]
async fn a_group_of_statistics_too_long_is_refused_here() {
    let setting = Setting::new().await;
    let group = "g".repeat(251);
    let asked = setting
        .without_a_byte(async |client| only_server(client).stats(&group).collect().await.map(|stats| stats.len()));
    let error = asked.await.expect_err("not the general statistics");
    assert_says(&error, ErrorKind::InvalidArguments, &["251", "250"]);
    let outcomes = setting.among_neighbours(async |client| client.call(Request::stat(&group)).await.status).await;
    assert!(outcomes.iter().all(|status| *status == Status::InvalidArguments));
}

#[tokio::test]
async fn a_value_above_the_limit_is_refused_here() {
    let setting = Setting::with(patient_config().max_value_size(1000)).await;
    let value = vec![7; 1001];
    let error = setting.without_a_byte(async |client| client.set("k", &value).await.unwrap_err()).await;
    assert_says(&error, ErrorKind::ValueTooLarge, &["1001", "1000", "max_value_size"]);
    let outcomes = setting.among_neighbours(async |client| client.append("neighbour", &value).await).await;
    assert!(outcomes.iter().all(Result::is_err));
    assert!(setting.client.set("k", &value[1..]).await.unwrap().is_applied());
}

#[tokio::test]
async fn a_counter_on_text_harms_nobody() {
    let setting = Setting::new().await;
    let outcomes = setting.among_neighbours(async |client| client.increment("neighbour", 1).await).await;
    for outcome in outcomes {
        let error = outcome.unwrap_err();
        assert_says(&error, ErrorKind::NonNumericValue, &["number", &setting.proxy.addr()]);
    }
}

#[tokio::test]
async fn a_zero_time_to_live_is_not_for_ever() {
    let setting = Setting::new().await;
    let zero = Duration::ZERO;
    let errors = setting
        .without_a_byte(async |client| {
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
        assert_says(&error, ErrorKind::InvalidArguments, &["zero", "Ttl::Never", "Ttl::Expired"]);
    }
}

#[tokio::test]
async fn a_time_to_live_past_the_protocol_is_refused_here() {
    let setting = Setting::new().await;
    let year_2200 = UNIX_EPOCH + Duration::from_secs(7_258_118_400);
    for ttl in [Ttl::At(year_2200), Ttl::After(Duration::from_secs(100 * 365 * 86_400)), Ttl::After(Duration::MAX)] {
        let error = setting.without_a_byte(async |client| client.set("k", "v").ttl(ttl).await.unwrap_err()).await;
        assert_says(&error, ErrorKind::InvalidArguments, &["2106"]);
    }
    assert!(setting.client.set("k", "v").ttl(SystemTime::now() + Duration::from_secs(60)).await.is_ok());
}

#[tokio::test]
async fn a_zero_timeout_of_a_request_ends_it_and_harms_nobody() {
    let setting = Setting::new().await;
    let outcomes = setting.among_neighbours(async |client| client.get("neighbour").timeout(Duration::ZERO).await).await;
    for outcome in outcomes {
        let error = outcome.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArguments, "{error}");
    }
    let refused = |key: &str, error: &Error| {
        assert_eq!((key, error.kind()), ("neighbour", ErrorKind::InvalidArguments));
        assert!(error.to_string().contains("timeout is zero"), "{error}");
    };
    let many = setting.client.get_many(["neighbour"]).timeout(Duration::ZERO).await;
    assert_eq!((many.len(), many.failed().count()), (1, 1), "never a miss");
    many.failed().for_each(|(key, error)| refused(key, error));
    let many = setting.client.set_many([("neighbour", "not stored")]).timeout(Duration::ZERO).await;
    many.failed().for_each(|(key, error)| refused(key, error));
    assert_eq!((many.len(), many.failed().count()), (1, 1));
    assert_eq!(setting.client.get("neighbour").await.unwrap().unwrap().value, "fine");
}

#[tokio::test]
async fn the_longest_timeout_is_no_overflow() {
    let setting = Setting::new().await;
    let longest = setting.client.get("neighbour").timeout(Duration::MAX).await;
    assert_eq!(longest.unwrap().unwrap().value, "fine");
    let longest = setting.client.get_many(["neighbour"]).timeout(Duration::MAX).await;
    assert_eq!(longest.found().count(), 1);
    let config = Config::new().timeout(Duration::MAX).connect_timeout(Duration::MAX);
    let client = Client::with_config([setting.proxy.addr()], config).unwrap();
    assert_eq!(client.get("neighbour").await.unwrap().unwrap().value, "fine");
    assert!(!only_server(&client).stats("").collect().await.unwrap().is_empty());
}

#[tokio::test]
async fn keys_and_values_may_have_any_byte() {
    any_byte(ProtocolSetting::Binary, 250).await;
    // Behind base64 a key has room for fewer bytes.
    any_byte(ProtocolSetting::Auto, 186).await;
}

async fn any_byte(protocol: ProtocolSetting, longest: usize) {
    let setting = Setting::with(patient_config().protocol(protocol)).await;
    let client = &setting.client;
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
    // Some of the keys above are the same: x and x, for one.
    let items = stat(&only_server(client), "curr_items").await;
    assert_eq!(items, 256 * 4 + 2 + 1 - 1);
    assert_eq!(setting.proxy.accepted(), 1);
}

// ---- Settings ----

#[test]
fn a_list_of_servers_that_is_none_is_named() {
    let empty: [&str; 0] = [];
    assert_says(&Client::new(empty).unwrap_err(), ErrorKind::Config, &["empty", "localhost:11211"]);
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
        assert_says(&Client::new([text]).unwrap_err(), ErrorKind::Config, &words);
        assert_says(&Client::new(["localhost", text]).unwrap_err(), ErrorKind::Config, &words);
    }
    let twice = Client::new(["a", "b:11211:3", "a:11211"]).unwrap_err();
    assert_says(&twice, ErrorKind::Config, &["0 and 2", "\"a\"", "list it once"]);
}

#[test]
fn an_unknown_option_of_a_url_is_named_with_those_that_are_known() {
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
        assert_says(&Config::from_url(url).unwrap_err(), ErrorKind::Config, words);
        assert_says(&Client::new([url]).unwrap_err(), ErrorKind::Config, words);
    }
}

#[test]
fn a_setting_that_cannot_work_is_named() {
    let (zero, second) = (Duration::ZERO, Duration::from_secs(1));
    for (config, word) in [
        (Config::new().timeout(zero), "timeout"),
        (Config::new().connect_timeout(zero), "connect_timeout"),
        (Config::new().keepalive(zero, second), "keepalive"),
        (Config::new().keepalive(second, zero), "silence"),
        (Config::new().reconnect_delay(second, zero), "reconnect_delay"),
        (Config::new().reconnect_delay(zero, second), "reconnect_delay"),
        (Config::new().connections(0), "connections"),
        (Config::new().max_in_flight(0), "max_in_flight"),
        (Config::new().max_output(0), "max_output"),
        (Config::new().max_value_size(0), "max_value_size"),
        (Config::new().namespace("n".repeat(250)), "namespace"),
    ] {
        let refused = Client::with_config(["localhost"], config).map(|_| word);
        assert_says(&refused.expect_err(word), ErrorKind::Config, &[word]);
    }
}

// ---- Places where no memcached answers ----

/// Tries a request, and gives the error; the client is left knowing that the server is down.
async fn error_from(address: &str, protocol: ProtocolSetting) -> Error {
    let config = patient_config().protocol(protocol).timeout(Duration::from_secs(5));
    let client = Client::with_config([address], config).unwrap();
    // Its length is a line end to a server that reads lines.
    let error = client.get("ten-bytes!").await.unwrap_err();
    assert_eq!(error.server(), Some(address), "{error}");
    assert!(error.to_string().contains(address), "{error}");
    let condition = only_server(&client).state().condition;
    assert!(!client.is_usable() && matches!(condition, ConnectionState::Down(_)), "{protocol}: {condition:?}: {error}");
    let again = client.get("ten-bytes!").await.unwrap_err();
    assert_eq!(again.kind(), ErrorKind::Disconnected(Delivery::NotSent), "{again}");
    error
}

#[tokio::test]
async fn a_name_that_does_not_resolve_is_named() {
    let error = error_from("nonexistent.invalid:11211", ProtocolSetting::Auto).await;
    assert_says(&error, ErrorKind::Disconnected(Delivery::NotSent), &["nonexistent.invalid", "resolve"]);
}

#[tokio::test]
async fn a_port_where_nobody_listens_is_named() {
    let error = error_from(&format!("127.0.0.1:{}", unused_port()), ProtocolSetting::Auto).await;
    assert_says(&error, ErrorKind::Disconnected(Delivery::NotSent), &["refused"]);
    let error = error_from("/nonexistent/memcached.sock", ProtocolSetting::Auto).await;
    assert_says(&error, ErrorKind::Disconnected(Delivery::NotSent), &["No such file"]);
}

/// A server that answers whatever it is asked with these bytes.
async fn says(answer: &'static [u8]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut asked = [0; 1024];
            let _ = stream.read(&mut asked).await;
            let _ = stream.write_all(answer).await;
            let _ = stream.shutdown().await;
            while matches!(stream.read(&mut asked).await, Ok(1..)) {}
        }
    });
    address
}

#[tokio::test]
async fn another_server_than_memcached_is_told_by_what_it_looks_like() {
    let http = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    for (answer, word) in [
        (&http[..], "HTTP"),
        // An alert: unexpected message.
        (b"\x15\x03\x01\x00\x02\x02\x0a", "TLS"),
        // The first bytes of a handshake.
        (b"\x16\x03\x03\x00\x7a\x02\x00\x00\x76\x03\x03", "TLS"),
        (b"CLIENT_ERROR bad command line format\r\n", "text"),
        (b"ERROR\r\n", "text"),
        (b"-ERR unknown command\r\n", "no memcached"),
    ] {
        let error = error_from(&says(answer).await, ProtocolSetting::Binary).await;
        assert_says(&error, ErrorKind::Disconnected(Delivery::MaybeSent), &[word]);
        if word != "text" {
            let error = error_from(&says(answer).await, ProtocolSetting::Auto).await;
            assert_says(&error, ErrorKind::Disconnected(Delivery::NotSent), &[word]);
        }
    }
}

#[tokio::test]
async fn a_server_that_speaks_text_only_is_told_as_such() {
    let server = Memcached::start(&["-B", "ascii"]);
    let error = error_from(&server.addr(), ProtocolSetting::Binary).await;
    assert_says(&error, ErrorKind::Disconnected(Delivery::MaybeSent), &["text"]);
}

#[tokio::test]
async fn a_server_that_says_nothing_at_all_is_no_miss() {
    for protocol in ProtocolSetting::ALL {
        let error = error_from(&says(b"").await, protocol).await;
        assert_says(&error, ErrorKind::Disconnected(Delivery::MaybeSent), &["closed"]);
    }
}

#[tokio::test]
async fn a_server_that_wants_a_password_is_no_miss() {
    let server = Memcached::start_sasl(&[]);
    let client = Client::with_config([server.addr()], patient_config()).unwrap();
    let error = client.get("k").await.unwrap_err();
    assert_says(&error, ErrorKind::Auth, &[&server.addr(), "authentication"]);
    for _ in 0..20 {
        assert!(client.get("k").await.is_err());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    wait_until("nothing is in flight", async || only_server(&client).in_flight() == 0).await;
}

#[tokio::test]
async fn one_server_that_is_none_does_not_harm_the_others() {
    let server = Memcached::start(&[]);
    let addresses = [server.addr(), says(b"HTTP/1.1 400 Bad Request\r\n\r\n").await, "nonexistent.invalid".into()];
    let client = Client::with_config(addresses, patient_config()).unwrap();
    let keys: Vec<String> = (0..600).map(|n| format!("key{n}")).collect();
    let is_home = |key: &str| client.locate(key).unwrap().unwrap().name() == server.addr();
    let homes = keys.iter().filter(|key| is_home(key)).count();
    assert!((50..550).contains(&homes));
    for _ in 0..5 {
        let stored = client.set_many(keys.iter().map(|key| (key, key))).await;
        assert_eq!((stored.made().count(), stored.failed().count()), (homes, 600 - homes));
        assert!(stored.failed().all(|(key, error)| !is_home(key) && error.is_disconnected()));
    }
}
