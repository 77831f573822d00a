//! Limits of the client and of a real server: only the request that exceeds a limit fails.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use remcache::config::{Overload, ProtocolSetting};
use remcache::health::ConnectionState;
use remcache::{Client, Config, Delivery, Error, ErrorKind, Item, Request, Status};
use remcache_testkit::{Memcached, Proxy, descriptor_limit};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::support::{only_server, patient_config, stat, wait_until};

fn millis(count: u64) -> Duration {
    Duration::from_millis(count)
}

fn spawn_get(client: &Client, key: String) -> JoinHandle<Result<Option<Item>, Error>> {
    let client = client.clone();
    tokio::spawn(async move { client.get(key).await })
}

// ---- Limits of the client ----

#[tokio::test]
async fn a_request_beyond_the_limit_is_overloaded_immediately() {
    let server = Memcached::start(&[]);
    let proxy = Proxy::start(server.addr()).await;
    let client =
        Client::with_config([proxy.addr()], patient_config().max_in_flight(3).overload(Overload::Fail)).unwrap();
    client.set("k", "v").await.unwrap();
    // A stopped server keeps the connection full.
    server.stop();
    let in_flight: Vec<_> = (0..3).map(|_| spawn_get(&client, "k".into())).collect();
    let handle = only_server(&client);
    wait_until("the connection is full", async || handle.in_flight() == 3).await;

    let error = client.get("k").await.unwrap_err();
    assert_eq!((error.kind(), error.server()), (ErrorKind::Overloaded, Some(&*proxy.addr())));
    assert!(error.is_unavailable() && !error.may_have_executed(), "{error}");
    assert_eq!(client.call(Request::get("k").quiet()).await.status, Status::Overloaded);
    assert_eq!(client.replies(Request::stat("")).next().await.unwrap().status, Status::Overloaded);
    assert!(!client.send_no_reply(Request::noop()));
    assert_eq!(handle.in_flight(), 3, "none of them was queued");

    server.cont();
    for get in in_flight {
        assert_eq!(get.await.unwrap().unwrap().unwrap().value, "v");
    }
    assert!(client.get("k").await.unwrap().is_some());
    assert_eq!(proxy.accepted(), 1);
}

#[tokio::test]
async fn calls_that_wait_for_capacity_all_proceed() {
    let server = Memcached::start(&[]);
    let client = Client::with_config([server.addr()], patient_config().max_in_flight(2)).unwrap();
    let stored = client.set_many((0..500).map(|n| (format!("key{n}"), format!("value{n}")))).await;
    assert_eq!(stored.applied().count(), 500);
    let gets: Vec<_> = (0..500).map(|n| spawn_get(&client, format!("key{n}"))).collect();
    for (n, get) in gets.into_iter().enumerate() {
        assert_eq!(get.await.unwrap().unwrap().unwrap().value, format!("value{n}"));
    }
    let keys = (0..500).map(|n| format!("key{n}"));
    assert_eq!(client.get_many(keys).await.found().count(), 500);
}

#[tokio::test]
async fn a_multi_key_call_stays_within_the_limits() {
    let server = Memcached::start(&[]);
    let config = patient_config().max_in_flight(10).max_output(500).overload(Overload::Fail);
    let client = Client::with_config([server.addr()], config).unwrap();
    let stored = client.set_many((0..2000).map(|n| (format!("key{n}"), format!("value{n}")))).await;
    assert_eq!(stored.applied().count(), 2000, "{:?}", stored.failed().next());
    let fetched = client.get_many((0..2000).map(|n| format!("key{n}"))).await;
    assert_eq!(fetched.found().count(), 2000, "{:?}", fetched.failed().next());
}

#[tokio::test]
async fn a_call_waits_for_capacity_until_its_deadline() {
    let server = Memcached::start(&[]);
    let client = Client::with_config([server.addr()], patient_config().max_in_flight(1)).unwrap();
    client.set("k", "v").await.unwrap();
    // A stopped server keeps the connection full.
    server.stop();
    let in_flight = spawn_get(&client, "k".into());
    wait_until("the connection is full", async || only_server(&client).in_flight() == 1).await;
    let error = client.get("k").timeout(millis(50)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Overloaded);
    server.cont();
    assert!(in_flight.await.unwrap().unwrap().is_some());
}

/// Starts a server that accepts connections and never reads. Returns its address and its task.
async fn start_never_reading() -> (String, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let task = tokio::spawn(async move {
        let mut connections = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            connections.push(stream);
        }
    });
    (address, task)
}

#[tokio::test]
async fn buffered_bytes_are_bounded_if_a_server_does_not_read() {
    const OUTPUT: usize = 1 << 20;
    let (address, task) = start_never_reading().await;
    let config = patient_config().max_output(OUTPUT).socket_buffers(4096).overload(Overload::Fail);
    let client = Client::with_config([address], config).unwrap();
    let value = Arc::new(Bytes::from(vec![7; 100_000]));
    let mut accepted = 0;
    // The kernel accepts some bytes beyond the limit, but no more than its buffers hold.
    wait_until("the kernel's buffers are full", async || {
        let more = client.send_no_reply(Request::set("k", &*value));
        accepted += usize::from(more);
        !more
    })
    .await;
    while client.send_no_reply(Request::noop()) {}
    assert!(accepted < 100, "{accepted} values of 100 kB were accepted");
    let error = client.get("k").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Overloaded, "requests without a value are overloaded too: {error}");
    task.abort();
}

#[tokio::test]
async fn every_call_ends_if_the_server_does_not_read() {
    for overload in [Overload::Wait, Overload::Fail] {
        let (address, task) = start_never_reading().await;
        let config = Config::new().timeout(millis(300)).max_output(1 << 20).max_in_flight(100).overload(overload);
        let client = Client::with_config([address], config).unwrap();
        let value = Bytes::from(vec![7; 100_000]);
        let calls: Vec<_> = (0..300)
            .map(|n| {
                let (client, value) = (client.clone(), value.clone());
                tokio::spawn(async move {
                    match n % 2 {
                        0 => client.set("k", value).await.map(drop),
                        _ => client.get("k").await.map(drop),
                    }
                })
            })
            .collect();
        for call in calls {
            let error = call.await.unwrap().unwrap_err();
            assert!(error.is_unavailable(), "{overload:?}: {error}");
        }
        let items = (0..100).map(|n| (format!("k{n}"), value.clone()));
        let stored = client.set_many(items.collect::<Vec<_>>()).await;
        assert_eq!(stored.failed().count(), 100, "{overload:?}");
        wait_until("nothing is waiting", async || only_server(&client).waiting() == 0).await;
        task.abort();
    }
}

// ---- Limits of the server ----

/// In the line-based protocols, an error line does not identify its request.
#[tokio::test]
async fn a_refused_value_within_a_quiet_batch_on_meta_fails_the_batch_as_maybe_sent() {
    let server = Memcached::start(&["-I", "512k"]);
    let proxy = Proxy::start(server.addr()).await;
    let client = Client::with_config([proxy.addr()], patient_config().protocol(ProtocolSetting::Meta)).unwrap();
    client.set("neighbour", "fine").await.unwrap();
    let quiet = |key: &'static str, length: usize| Request::set(key, vec![0; length]).quiet();
    let (first, large, last) =
        tokio::join!(client.call(quiet("a", 10)), client.call(quiet("b", 600_000)), client.call(quiet("c", 10)));
    for reply in [&first, &large, &last] {
        assert_eq!(reply.status, Status::Disconnected(Delivery::MaybeSent), "{}", reply.text());
    }
    assert!(large.text().contains("object too large"), "{}", large.text());
    wait_until("the client reconnects", async || client.get("neighbour").await.is_ok()).await;
    assert_eq!(proxy.accepted(), 2, "the connection was closed");
}

/// The no-op after it is never refused, so an error line belongs to the quiet request.
#[tokio::test]
async fn a_refused_quiet_request_is_attributed_correctly_on_every_protocol() {
    for protocol in ProtocolSetting::ALL {
        let server = Memcached::start(&["-I", "512k"]);
        let proxy = Proxy::start(server.addr()).await;
        let client = Client::with_config([proxy.addr()], patient_config().protocol(protocol)).unwrap();
        client.set("neighbour", "fine").await.unwrap();
        for round in 0..10 {
            // Earlier requests are answered, so they cannot have caused the error line.
            let before = spawn_get(&client, "neighbour".into());
            tokio::task::yield_now().await;
            let refused = client.call(Request::set("k", vec![0; 600_000]).quiet()).await;
            assert_eq!(refused.status, Status::ValueTooLarge, "{protocol}, {round}: {}", refused.text());
            assert_eq!(before.await.unwrap().unwrap().unwrap().value, "fine");
            let counted = client.call(Request::increment("neighbour", 1).quiet()).await;
            assert_eq!(counted.status, Status::NonNumericValue, "{protocol}, {round}: {}", counted.text());
        }
        assert_eq!(proxy.accepted(), 1, "{protocol}: the connection was kept");
    }
}

#[tokio::test]
async fn a_refused_non_quiet_request_is_attributed_correctly_on_every_protocol() {
    for protocol in ProtocolSetting::ALL {
        let server = Memcached::start(&["-I", "512k"]);
        let proxy = Proxy::start(server.addr()).await;
        let client = Client::with_config([proxy.addr()], patient_config().protocol(protocol)).unwrap();
        client.set("neighbour", "fine").await.unwrap();
        let large = || Request::set("b", vec![0; 600_000]);
        let (first, refused, last) = tokio::join!(
            client.call(Request::get("neighbour")),
            client.call(large()),
            client.call(Request::append("neighbour", "!"))
        );
        assert_eq!(refused.status, Status::ValueTooLarge, "{protocol}: {}", refused.text());
        assert!(first.is_ok() && last.is_ok(), "{protocol}");
        assert_eq!(proxy.accepted(), 1, "{protocol}: the connection was kept");
    }
}

/// A quiet get of a missing key in the same batch makes the error line ambiguous.
#[tokio::test]
async fn an_error_line_after_quiet_gets_fails_the_batch_too() {
    let server = Memcached::start(&["-I", "512k"]);
    let client = Client::with_config([server.addr()], patient_config().protocol(ProtocolSetting::Meta)).unwrap();
    client.set("k", "v").await.unwrap();
    let (get, refused) =
        tokio::join!(client.call(Request::get("absent").quiet()), client.call(Request::set("b", vec![0; 600_000])));
    // The error line does not say whether the get or the set was refused.
    for reply in [get, refused] {
        assert_eq!(reply.status, Status::Disconnected(Delivery::MaybeSent), "{}", reply.text());
    }
    wait_until("the client reconnects", async || client.get("k").await.is_ok()).await;
}

/// Starts a server that accepts one connection: it uses twelve descriptors itself.
fn start_with_one_connection() -> Memcached {
    Memcached::start(&["-c", &descriptor_limit(13).to_string()])
}

/// Opens the only connection that a server accepts.
fn take_only_connection(server: &Memcached) -> TcpStream {
    let holder = TcpStream::connect(server.addr()).unwrap();
    assert_eq!(first_line(&holder, "mn\r\n"), "MN\r\n");
    let refused = TcpStream::connect(server.addr()).unwrap();
    // The server sends the error without a request.
    assert_eq!(first_line(&refused, ""), "ERROR Too many open connections\r\n");
    holder
}

fn first_line(mut stream: &TcpStream, request: &str) -> String {
    stream.set_read_timeout(Some(Duration::from_secs(120))).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).expect("the server serves or refuses");
    line
}

#[tokio::test]
async fn a_server_without_a_free_connection_is_reported_and_retried() {
    let server = start_with_one_connection();
    let holder = take_only_connection(&server);
    let client = Client::with_config([server.addr()], patient_config()).unwrap();
    for _ in 0..3 {
        let error = client.get("k").await.unwrap_err();
        assert!(error.is_disconnected(), "{error}");
        assert!(error.to_string().contains("too many") && error.to_string().contains("connections"), "{error}");
        assert_eq!(error.server(), Some(&*server.addr()));
        assert!(matches!(only_server(&client).status().state, ConnectionState::Down(_)));
    }
    drop(holder);
    wait_until("the client connects", async || client.get("k").await.is_ok()).await;
    assert!(client.is_usable());
}

#[tokio::test]
async fn a_server_with_too_many_connections_is_retried_with_backoff() {
    let server = start_with_one_connection();
    let proxy = Proxy::start(server.addr()).await;
    let holder = take_only_connection(&server);
    let client = Client::with_config([proxy.addr()], patient_config()).unwrap();
    let start = std::time::Instant::now();
    let mut calls = 0_u32;
    while start.elapsed() < Duration::from_secs(3) {
        let error = client.get("k").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Disconnected(Delivery::NotSent), "refused in the handshake: {error}");
        calls += 1;
        tokio::time::sleep(millis(1)).await;
    }
    assert!(proxy.accepted() <= 30, "{} connections for {calls} requests", proxy.accepted());
    drop(holder);
}

// ---- A server with flushes disabled ----

#[tokio::test]
async fn a_disabled_flush_is_reported_and_affects_no_other_request() {
    for protocol in ProtocolSetting::ALL {
        let mut server = Memcached::start(&["-F"]);
        let client = Client::with_config([server.addr()], patient_config().protocol(protocol)).unwrap();
        for delay in [Duration::ZERO, Duration::from_secs(60)] {
            for (handle, result) in client.flush().after(delay).await {
                let error = result.unwrap_err();
                assert_eq!((error.kind(), error.server()), (ErrorKind::Unsupported, Some(handle.name())), "{protocol}");
                assert!(error.to_string().contains("flushes are disabled on this server"), "{protocol}: {error}");
                assert!(error.to_string().contains("-F") && !error.is_unavailable(), "{protocol}: {error}");
            }
        }
        let quiet = only_server(&client).call(Request::flush().quiet()).await;
        assert_eq!(quiet.status, Status::Unsupported, "{protocol}: {}", quiet.text());
        client.set("k", "v").await.unwrap();
        assert_eq!(client.get("k").await.unwrap().unwrap().value, "v", "{protocol}");
        // It is not an authentication error, after which the client would not reconnect.
        server.restart();
        wait_until("the client reconnects", async || client.get("k").await.is_ok()).await;
    }
}

// ---- Large calls ----

#[tokio::test]
async fn a_million_keys_in_one_call() {
    const KEYS: u32 = 1_000_000;
    let server = Memcached::start(&["-m", "256"]);
    let client = Client::with_config([server.addr()], patient_config()).unwrap();
    // Four binary bytes, some of which are line feeds.
    let keys = || (0..KEYS).map(u32::to_be_bytes);
    let stored = client.set_many(keys().step_by(10).map(|key| (key, key))).await;
    assert_eq!(stored.applied().count(), 100_000);
    let fetched = client.get_many(keys()).await;
    assert_eq!(fetched.len(), KEYS as usize);
    for (n, (key, item)) in fetched.into_iter().enumerate() {
        let value = item.unwrap().map(|item| item.value);
        assert_eq!(value.as_deref(), (n % 10 == 0).then_some(&key[..]));
    }
    assert_eq!((only_server(&client).in_flight(), only_server(&client).waiting()), (0, 0));
    assert_eq!(stat(&only_server(&client), "curr_items").await, 100_000);
}

const LARGE: usize = 100_000;
const COUNT: usize = 10_000;
const DISTINCT: usize = 500;
/// Fewer values, because with such small send buffers Linux delays acknowledgements by 40 ms, which limits throughput
/// to about 4 MB/s.
const FEW: usize = 80;

/// Returns a value that consists of its number, repeated.
fn large(n: usize) -> Bytes {
    Bytes::from((n as u32).to_be_bytes().repeat(LARGE / 4))
}

fn client_with_buffers(server: &Memcached, bytes: usize) -> Client {
    Client::with_config([server.addr()], patient_config().socket_buffers(bytes)).unwrap()
}

/// Stores `count` large values in one call, and fetches them.
async fn store(client: &Client, count: usize) {
    let values: Vec<Bytes> = (0..count.min(DISTINCT)).map(large).collect();
    let items = (0..count).map(|n| (format!("key{}", n % DISTINCT), values[n % DISTINCT].clone()));
    let stored = client.set_many(items).await;
    assert_eq!(stored.applied().count(), count, "{:?}", stored.failed().next());
    let fetched = client.get_many((0..values.len()).map(|n| format!("key{n}"))).await;
    for (n, (key, item)) in fetched.into_iter().enumerate() {
        assert!(item.unwrap().unwrap().value == values[n], "{key}");
    }
}

#[tokio::test]
async fn ten_thousand_large_values_are_fetched_through_small_buffers() {
    let server = Memcached::start(&["-m", "256"]);
    store(&client_with_buffers(&server, 1 << 20), DISTINCT).await;
    let client = client_with_buffers(&server, 4096);
    let fetched = client.get_many((0..COUNT).map(|n| format!("key{}", n % DISTINCT))).await;
    let expected: Vec<Bytes> = (0..DISTINCT).map(large).collect();
    for (n, (key, item)) in fetched.into_iter().enumerate() {
        let item = item.unwrap().unwrap_or_else(|| panic!("{key} is missing"));
        assert!(item.value == expected[n % DISTINCT], "{key}");
    }
}

#[tokio::test]
async fn ten_thousand_large_values_are_stored() {
    let server = Memcached::start(&["-m", "256"]);
    // The size of a loopback segment, from which on acknowledgements are not delayed.
    store(&client_with_buffers(&server, 64 << 10), COUNT).await;
}

#[tokio::test]
async fn large_values_are_stored_through_small_buffers() {
    let server = Memcached::start(&["-m", "256"]);
    store(&client_with_buffers(&server, 4096), FEW).await;
}

/// Concurrent callers that get large values, without the limits of a multi-key call.
#[tokio::test]
async fn a_thousand_callers_move_large_values_through_small_buffers() {
    let server = Memcached::start(&["-m", "256"]);
    let client = client_with_buffers(&server, 4096);
    let sets: Vec<_> = (0..FEW)
        .map(|n| {
            let client = client.clone();
            tokio::spawn(async move { client.set(format!("key{n}"), large(n)).await })
        })
        .collect();
    let gets: Vec<_> = (0..1000).map(|n| spawn_get(&client, format!("key{}", n % FEW))).collect();
    for set in sets {
        assert!(set.await.unwrap().unwrap().is_applied());
    }
    for (n, get) in gets.into_iter().enumerate() {
        let item = get.await.unwrap().unwrap().expect("the set was submitted first");
        assert!(item.value == large(n % FEW), "key{n}");
    }
}
