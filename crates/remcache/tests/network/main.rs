//! Networks that lose packets, with a real memcached in a network namespace.
//!
//! Packets are dropped without a reset or a refusal, as when a cable is unplugged or a firewall forgets a connection.

#![cfg(target_os = "linux")]

mod namespace;
#[path = "../it/support/protocol_mode.rs"]
mod protocol_mode;

use std::future::Future;
use std::time::Duration;

use namespace::{drop_randomly, drop_replies, drop_requests, isolated, stop_dropping};
use protocol_mode::ProtocolMode;
use remcache::health::ConnectionState;
use remcache::{Client, Config, Delivery, ErrorKind, Item};
use remcache_testkit::Memcached;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

const KEYS: usize = 100;
const DEADLINE: Duration = Duration::from_secs(1);
/// Longer than the delays of a busy machine: a call that is this late hangs.
const SLACK: Duration = Duration::from_secs(15);
const CALLERS: usize = 8;

fn key(n: usize) -> String {
    format!("key{n}")
}

fn value(n: usize) -> String {
    format!("the value of key {n}")
}

/// A real server and its client.
struct Fixture {
    server: Memcached,
    client: Client,
}

impl Fixture {
    /// Creates a client with default settings except the protocol.
    async fn new(mode: ProtocolMode) -> Self {
        Self::with(mode, Config::new()).await
    }

    async fn with(mode: ProtocolMode, config: Config) -> Self {
        let server = Memcached::start(&[]);
        let client = Client::with_config([server.addr()], mode.config(config)).expect("an address");
        let stored = client.set_many((0..KEYS).map(|n| (key(n), value(n)))).await;
        assert_eq!(stored.applied().count(), KEYS, "{:?}", stored.failed().next());
        Self { server, client }
    }

    fn is_connected(&self) -> bool {
        self.client.servers()[0].status().state == ConnectionState::Connected
    }

    /// Gets a key in time, with the right value or an error, which is returned.
    async fn get(&self, n: usize) -> Option<ErrorKind> {
        get(&self.client, n).await
    }

    /// Gets keys with several callers for this duration. Returns how many succeeded, and the errors of the others.
    async fn send_gets(&self, length: Duration) -> (usize, Vec<ErrorKind>) {
        let until = Instant::now() + length;
        let mut callers = JoinSet::new();
        for caller in 0..CALLERS {
            let client = self.client.clone();
            callers.spawn(async move {
                let (mut answered, mut errors) = (0, Vec::new());
                while Instant::now() < until {
                    match get(&client, caller).await {
                        None => answered += 1,
                        Some(error) => errors.push(error),
                    }
                    sleep(Duration::from_millis(5)).await;
                }
                (answered, errors)
            });
        }
        let each = callers.join_all().await;
        let answered = each.iter().map(|(answered, _)| answered).sum();
        (answered, each.into_iter().flat_map(|(_, errors)| errors).collect())
    }

    /// Waits until the client has recovered, within the guaranteed time.
    async fn recover(&self) {
        let start = Instant::now();
        while self.get(0).await.is_some() {
            assert!(start.elapsed() < RECOVERY + SLACK, "the client does not recover");
            sleep(Duration::from_millis(10)).await;
        }
        let fetched = self.client.get_many((0..KEYS).map(key)).await;
        for (n, (_, item)) in fetched.into_iter().enumerate() {
            assert_eq!(item.expect("the server answers").expect("no false miss").value, value(n));
        }
    }
}

/// Maximum time until a client works again after a fault.
const RECOVERY: Duration = Duration::from_millis(5_100);

async fn get(client: &Client, n: usize) -> Option<ErrorKind> {
    let outcome = timeout(DEADLINE + SLACK, client.get(key(n)).into_future()).await.expect("no call hangs");
    let right = |item: Option<Item>| assert_eq!(item.expect("no false miss").value, value(n));
    outcome.map(right).err().map(|error| error.kind())
}

/// Runs a test on each protocol concurrently, each with its own server.
async fn protocol_mode_tests<F: Future<Output = ()>>(test: impl Fn(ProtocolMode) -> F) {
    let [binary, meta, text] = [ProtocolMode::Binary, ProtocolMode::Meta, ProtocolMode::Text].map(test);
    tokio::join!(binary, meta, text);
}

fn is_connection_failure(kind: &ErrorKind) -> bool {
    matches!(kind, ErrorKind::TimedOut(_) | ErrorKind::Disconnected(_))
}

#[test]
fn requests_in_a_black_hole_fail_and_the_client_recovers() {
    isolated("requests_in_a_black_hole_fail_and_the_client_recovers", async {
        let fixtures = [ProtocolMode::Binary, ProtocolMode::Meta, ProtocolMode::Text].map(Fixture::new);
        let [binary, meta, text] = fixtures;
        let fixtures = [binary.await, meta.await, text.await];
        for fixture in &fixtures {
            drop_requests(fixture.server.port());
            drop_replies(fixture.server.port());
        }
        let [binary, meta, text] = fixtures.each_ref().map(|fixture| fixture.send_gets(Duration::from_secs(8)));
        for (answered, errors) in <[_; 3]>::from(tokio::join!(binary, meta, text)) {
            assert!(errors.iter().all(is_connection_failure), "{errors:?}");
            assert!(errors.iter().any(|kind| matches!(kind, ErrorKind::TimedOut(_))), "a request had to time out");
            // Most calls fail immediately, because the server is known to be down.
            let not_sent = ErrorKind::Disconnected(Delivery::NotSent);
            let failed_immediately = errors.iter().filter(|kind| **kind == not_sent).count();
            assert!(failed_immediately > 10 * CALLERS, "{failed_immediately} of {} failed immediately", errors.len());
            assert_eq!(answered, 0);
        }
        stop_dropping();
        let [binary, meta, text] = fixtures.each_ref().map(Fixture::recover);
        tokio::join!(binary, meta, text);
    });
}

/// With long deadlines and without a breaker, `TCP_USER_TIMEOUT` closes a socket whose bytes are not acknowledged.
#[test]
fn unacknowledged_bytes_close_the_connection() {
    isolated("unacknowledged_bytes_close_the_connection", async {
        protocol_mode_tests(async |mode| {
            let patient = Config::new().timeout(Duration::from_secs(120)).breaker(0);
            let patient = patient.keepalive(Duration::from_secs(100), Duration::from_secs(110));
            let fixture = Fixture::with(mode, patient).await;
            drop_requests(fixture.server.port());
            drop_replies(fixture.server.port());
            let call = timeout(Duration::from_secs(6) + SLACK, fixture.client.get(key(1)).into_future());
            let error = call.await.expect("TCP_USER_TIMEOUT is 5 s").expect_err("all packets are lost");
            assert_eq!(error.kind(), ErrorKind::Disconnected(Delivery::MaybeSent), "{error}");
        })
        .await;
    });
}

#[test]
fn a_black_hole_is_detected_without_requests() {
    isolated("a_black_hole_is_detected_without_requests", async {
        let fixture = Fixture::new(ProtocolMode::Meta).await;
        let start = Instant::now();
        drop_requests(fixture.server.port());
        drop_replies(fixture.server.port());
        while fixture.is_connected() {
            assert!(start.elapsed() < Duration::from_secs(31) + SLACK, "not detected");
            sleep(Duration::from_millis(50)).await;
        }
        // A request now fails immediately.
        assert_eq!(fixture.get(1).await, Some(ErrorKind::Disconnected(Delivery::NotSent)));
        stop_dropping();
        fixture.recover().await;
    });
}

#[test]
fn a_one_way_partition_executes_nothing_twice() {
    isolated("a_one_way_partition_executes_nothing_twice", async {
        for lose in [drop_requests, drop_replies] {
            let [binary, meta, text] = [ProtocolMode::Binary, ProtocolMode::Meta, ProtocolMode::Text].map(Fixture::new);
            let fixtures = [binary.await, meta.await, text.await];
            for fixture in &fixtures {
                fixture.client.set("counter", "0").await.expect("the server answers");
                lose(fixture.server.port());
            }
            let [binary, meta, text] = fixtures.each_ref().map(count_for_a_while);
            let maybe = <[_; 3]>::from(tokio::join!(binary, meta, text));
            stop_dropping();
            for (fixture, maybe) in fixtures.iter().zip(maybe) {
                fixture.recover().await;
                let counter = fixture.client.increment("counter", 0).await.expect("the server answers").expect("a hit");
                assert!(
                    counter.value <= maybe,
                    "{} increments, but only {maybe} may have been executed",
                    counter.value
                );
            }
        }
    });
}

/// Sends increments that cannot be answered. Returns how many may have been executed.
async fn count_for_a_while(fixture: &Fixture) -> u64 {
    let until = Instant::now() + Duration::from_secs(4);
    let mut maybe = 0;
    while Instant::now() < until {
        let call = timeout(DEADLINE + SLACK, fixture.client.increment("counter", 1).into_future());
        let error = call.await.expect("no call hangs").expect_err("no reply comes through");
        assert!(is_connection_failure(&error.kind()), "{error}");
        maybe += u64::from(error.may_have_executed());
        sleep(Duration::from_millis(5)).await;
    }
    assert!(maybe > 0);
    maybe
}

#[test]
fn a_lossy_network_only_adds_latency() {
    isolated("a_lossy_network_only_adds_latency", async {
        let [binary, meta, text] = [ProtocolMode::Binary, ProtocolMode::Meta, ProtocolMode::Text].map(Fixture::new);
        let fixtures = [binary.await, meta.await, text.await];
        for fixture in &fixtures {
            drop_randomly(fixture.server.port(), 5);
        }
        let [binary, meta, text] = fixtures.each_ref().map(|fixture| fixture.send_gets(Duration::from_secs(10)));
        for (answered, errors) in <[_; 3]>::from(tokio::join!(binary, meta, text)) {
            assert!(errors.iter().all(is_connection_failure), "{errors:?}");
            assert!(answered > errors.len(), "{answered} answered, {} failed", errors.len());
        }
        stop_dropping();
        let [binary, meta, text] = fixtures.each_ref().map(Fixture::recover);
        tokio::join!(binary, meta, text);
    });
}
