//! Rows 11 to 13: networks that lose packets, with real memcached in a namespace of the test's own.
//!
//! What is lost is lost without a word: no reset, no refusal, as when a cable is pulled or a firewall
//! forgets a connection.

#![cfg(target_os = "linux")]

mod namespace;
#[path = "../it/support/protocol_mode.rs"]
mod protocol_mode;

use std::future::Future;
use std::time::Duration;

use namespace::{isolated, lose_nothing, lose_replies, lose_requests, lose_some};
use protocol_mode::ProtocolMode;
use remcache::health::ConnectionState;
use remcache::{Client, Config, Delivery, ErrorKind, Item};
use remcache_testkit::Memcached;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

const KEYS: usize = 100;
const DEADLINE: Duration = Duration::from_secs(1);
/// Generous: what is this late on a busy machine hangs.
const SLACK: Duration = Duration::from_secs(15);
const CALLERS: usize = 8;

fn key(n: usize) -> String {
    format!("key{n}")
}

fn value(n: usize) -> String {
    format!("the value of key {n}")
}

/// A real server and its client.
struct Setting {
    server: Memcached,
    client: Client,
}

impl Setting {
    /// A client with default settings except the protocol.
    async fn new(mode: ProtocolMode) -> Self {
        Self::with(mode, Config::new()).await
    }

    async fn with(mode: ProtocolMode, config: Config) -> Self {
        let server = Memcached::start(&[]);
        let client = Client::with_config([server.addr()], mode.config(config)).expect("an address");
        let stored = client.set_many((0..KEYS).map(|n| (key(n), value(n)))).await;
        assert_eq!(stored.made().count(), KEYS, "{:?}", stored.failed().next());
        Self { server, client }
    }

    fn is_connected(&self) -> bool {
        self.client.servers()[0].state().condition == ConnectionState::Connected
    }

    /// One fetch, which must be right or fail, in time; why it failed.
    async fn ask(&self, n: usize) -> Option<ErrorKind> {
        ask(&self.client, n).await
    }

    /// The same by many callers for a while: how many were answered, and the errors of the others.
    async fn keep_asking(&self, length: Duration) -> (usize, Vec<ErrorKind>) {
        let until = Instant::now() + length;
        let mut callers = JoinSet::new();
        for caller in 0..CALLERS {
            let client = self.client.clone();
            callers.spawn(async move {
                let (mut answered, mut errors) = (0, Vec::new());
                while Instant::now() < until {
                    match ask(&client, caller).await {
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

    /// Waits until all is well, which must be soon after the network is.
    async fn recover(&self) {
        let start = Instant::now();
        while self.ask(0).await.is_some() {
            assert!(start.elapsed() < RECOVERY + SLACK, "the client does not work again");
            sleep(Duration::from_millis(10)).await;
        }
        let fetched = self.client.get_many((0..KEYS).map(key)).await;
        for (n, (_, item)) in fetched.into_iter().enumerate() {
            assert_eq!(item.expect("all is well").expect("no false miss").value, value(n));
        }
    }
}

/// Until when a client works again after the end of a fault.
const RECOVERY: Duration = Duration::from_millis(5_100);

async fn ask(client: &Client, n: usize) -> Option<ErrorKind> {
    let outcome = timeout(DEADLINE + SLACK, client.get(key(n)).into_future()).await.expect("no call hangs");
    let right = |item: Option<Item>| assert_eq!(item.expect("no false miss").value, value(n));
    outcome.map(right).err().map(|error| error.kind())
}

/// The same on each protocol at once, each with a server of its own.
async fn protocol_mode_tests<F: Future<Output = ()>>(test: impl Fn(ProtocolMode) -> F) {
    let [binary, meta, text] = [ProtocolMode::Binary, ProtocolMode::Meta, ProtocolMode::Text].map(test);
    tokio::join!(binary, meta, text);
}

fn is_loss(kind: &ErrorKind) -> bool {
    matches!(kind, ErrorKind::TimedOut(_) | ErrorKind::Disconnected(_))
}

#[test]
fn row_11_a_black_hole_under_load_fails_what_is_asked_and_heals() {
    isolated("row_11_a_black_hole_under_load_fails_what_is_asked_and_heals", async {
        let settings = [ProtocolMode::Binary, ProtocolMode::Meta, ProtocolMode::Text].map(Setting::new);
        let [binary, meta, text] = settings;
        let settings = [binary.await, meta.await, text.await];
        for setting in &settings {
            lose_requests(setting.server.port());
            lose_replies(setting.server.port());
        }
        let [binary, meta, text] = settings.each_ref().map(|setting| setting.keep_asking(Duration::from_secs(8)));
        for (answered, errors) in <[_; 3]>::from(tokio::join!(binary, meta, text)) {
            assert!(errors.iter().all(is_loss), "{errors:?}");
            assert!(errors.iter().any(|kind| matches!(kind, ErrorKind::TimedOut(_))), "a request had to time out");
            // Known to be down, it costs callers no time: far more ask than could wait a second each.
            let at_once = ErrorKind::Disconnected(Delivery::NotSent);
            let failed_at_once = errors.iter().filter(|kind| **kind == at_once).count();
            assert!(failed_at_once > 10 * CALLERS, "{failed_at_once} of {} failed at once", errors.len());
            assert_eq!(answered, 0);
        }
        lose_nothing();
        let [binary, meta, text] = settings.each_ref().map(Setting::recover);
        tokio::join!(binary, meta, text);
    });
}

/// Without deadlines and breaker to help: a socket whose bytes are not acknowledged ends by itself.
#[test]
fn row_11_unacknowledged_bytes_end_the_connection() {
    isolated("row_11_unacknowledged_bytes_end_the_connection", async {
        protocol_mode_tests(async |mode| {
            let patient = Config::new().timeout(Duration::from_secs(120)).breaker(0);
            let patient = patient.keepalive(Duration::from_secs(100), Duration::from_secs(110));
            let setting = Setting::with(mode, patient).await;
            lose_requests(setting.server.port());
            lose_replies(setting.server.port());
            let call = timeout(Duration::from_secs(6) + SLACK, setting.client.get(key(1)).into_future());
            let error = call.await.expect("TCP_USER_TIMEOUT is 5 s").expect_err("nothing comes through");
            assert_eq!(error.kind(), ErrorKind::Disconnected(Delivery::MaybeSent), "{error}");
        })
        .await;
    });
}

#[test]
fn row_12_a_black_hole_is_noticed_without_requests() {
    isolated("row_12_a_black_hole_is_noticed_without_requests", async {
        let setting = Setting::new(ProtocolMode::Meta).await;
        let start = Instant::now();
        lose_requests(setting.server.port());
        lose_replies(setting.server.port());
        while setting.is_connected() {
            assert!(start.elapsed() < Duration::from_secs(31) + SLACK, "not noticed");
            sleep(Duration::from_millis(50)).await;
        }
        // A request now fails at once, and does not wait for what is dead.
        assert_eq!(setting.ask(1).await, Some(ErrorKind::Disconnected(Delivery::NotSent)));
        lose_nothing();
        setting.recover().await;
    });
}

#[test]
fn row_13_a_one_way_partition_executes_nothing_twice() {
    isolated("row_13_a_one_way_partition_executes_nothing_twice", async {
        for lose in [lose_requests, lose_replies] {
            let [binary, meta, text] = [ProtocolMode::Binary, ProtocolMode::Meta, ProtocolMode::Text].map(Setting::new);
            let settings = [binary.await, meta.await, text.await];
            for setting in &settings {
                setting.client.set("counter", "0").await.expect("all is well");
                lose(setting.server.port());
            }
            let [binary, meta, text] = settings.each_ref().map(count_for_a_while);
            let maybe = <[_; 3]>::from(tokio::join!(binary, meta, text));
            lose_nothing();
            for (setting, maybe) in settings.iter().zip(maybe) {
                setting.recover().await;
                let counter = setting.client.increment("counter", 0).await.expect("all is well").expect("it is there");
                assert!(counter.value <= maybe, "{} increments of {maybe} that may have been", counter.value);
            }
        }
    });
}

/// Increments that cannot be answered; how many of them may have been executed.
async fn count_for_a_while(setting: &Setting) -> u64 {
    let until = Instant::now() + Duration::from_secs(4);
    let mut maybe = 0;
    while Instant::now() < until {
        let call = timeout(DEADLINE + SLACK, setting.client.increment("counter", 1).into_future());
        let error = call.await.expect("no call hangs").expect_err("no reply comes through");
        assert!(is_loss(&error.kind()), "{error}");
        maybe += u64::from(error.may_have_executed());
        sleep(Duration::from_millis(5)).await;
    }
    assert!(maybe > 0);
    maybe
}

#[test]
fn row_13_a_network_that_loses_packets_only_costs_time() {
    isolated("row_13_a_network_that_loses_packets_only_costs_time", async {
        let [binary, meta, text] = [ProtocolMode::Binary, ProtocolMode::Meta, ProtocolMode::Text].map(Setting::new);
        let settings = [binary.await, meta.await, text.await];
        for setting in &settings {
            lose_some(setting.server.port(), 5);
        }
        let [binary, meta, text] = settings.each_ref().map(|setting| setting.keep_asking(Duration::from_secs(10)));
        for (answered, errors) in <[_; 3]>::from(tokio::join!(binary, meta, text)) {
            assert!(errors.iter().all(is_loss), "{errors:?}");
            assert!(answered > errors.len(), "{answered} answered, and {} not", errors.len());
        }
        lose_nothing();
        let [binary, meta, text] = settings.each_ref().map(Setting::recover);
        tokio::join!(binary, meta, text);
    });
}
