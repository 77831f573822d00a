//! Runs a client against a fake server: all operations concurrently, with every result checked.

use std::collections::HashMap;
use std::fmt::Display;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use remcache::{Client, Config, Delivery, Error, ErrorKind, Item, UnconditionalOutcome};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use super::fake_network::FakeNetwork;
use super::fake_server::FakeServer;
use super::known_items::PATIENCE;
use super::loopback_server::LoopbackServer;
use super::server_fault::ServerFault;
use super::store::{expected_value, statistics};
use crate::support::{ProtocolMode, wait_until};

/// A client, its server, and what the client reported about each write.
#[derive(Debug)]
pub(crate) struct Harness {
    pub(crate) client: Client,
    pub(crate) fake: Arc<FakeServer>,
    deadline: Duration,
    clock: Clock,
    serial: AtomicU32,
    writes: Mutex<HashMap<String, Execution>>,
    _loopback: Option<LoopbackServer>,
}

/// The clock that a harness runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Clock {
    /// Paused: deadlines are exact to the tick of a timer.
    Virtual,
    /// On a busy machine, a deadline may pass although nothing is wrong.
    Real,
}

/// The execution of a write, as the client reported it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Execution {
    Executed,
    NotSent,
    MaybeSent,
}

/// The results of many calls.
#[derive(Debug, Default)]
pub(crate) struct CallResults {
    pub(crate) succeeded: usize,
    pub(crate) errors: Vec<Error>,
    writes: Vec<(String, Execution)>,
}

/// The number of results of [`Harness::run_all_operations`].
pub(crate) const ALL_OPERATIONS: usize = GETS + KEYS_PER_GET + KEYS_PER_SET + 4;
const GETS: usize = 20;
const KEYS_PER_GET: usize = 64;
const KEYS_PER_SET: usize = 5;

impl Harness {
    /// Creates a harness in memory, for tests with a paused clock.
    pub(crate) fn in_memory(mode: ProtocolMode, fault: ServerFault, config: Config, deadline: Duration) -> Self {
        let fake = FakeServer::new(mode, fault);
        let network = FakeNetwork::new([("server", Arc::clone(&fake))]);
        let client = Client::with_config(["server"], mode.config(config).timeout(deadline).connector(network));
        Self::new(client, fake, deadline, Clock::Virtual, None)
    }

    /// Creates a harness on real sockets.
    pub(crate) async fn on_sockets(mode: ProtocolMode, fault: ServerFault, config: Config, deadline: Duration) -> Self {
        let fake = FakeServer::new(mode, fault);
        let loopback = LoopbackServer::start(&fake).await;
        // Faults that need no short deadline do not delay connecting either.
        let connect_timeout = deadline.max(Duration::from_secs(1));
        let config = mode.config(config).timeout(deadline).connect_timeout(connect_timeout);
        let client = Client::with_config([loopback.address()], config);
        Self::new(client, fake, deadline, Clock::Real, Some(loopback))
    }

    fn new(
        client: Result<Client, Error>,
        fake: Arc<FakeServer>,
        deadline: Duration,
        clock: Clock,
        loopback: Option<LoopbackServer>,
    ) -> Self {
        let client = client.expect("the configuration is valid");
        let (serial, writes) = (AtomicU32::new(0), Mutex::default());
        Self { client, fake, deadline, clock, serial, writes, _loopback: loopback }
    }

    /// Runs every operation concurrently: gets, writes, statistics, and calls with many keys.
    pub(crate) async fn run_all_operations(&self) -> CallResults {
        let serial = self.serial.fetch_add(1, Ordering::Relaxed);
        let mut tasks = JoinSet::new();
        for number in 0..GETS {
            tasks.spawn(get(self.caller(), format!("fixed:{number}")));
        }
        tasks.spawn(get_many(self.caller()));
        tasks.spawn(set(self.caller(), format!("fixed:set_{serial}")));
        tasks.spawn(set_many(self.caller(), serial));
        tasks.spawn(increment(self.caller(), format!("counter:{serial}")));
        tasks.spawn(delete(self.caller(), format!("doomed:{serial}")));
        tasks.spawn(stats(self.caller()));
        self.collect(tasks).await
    }

    /// Runs this many increments concurrently, each of its own counter.
    pub(crate) async fn increments(&self, count: usize) -> CallResults {
        let mut tasks = JoinSet::new();
        for _ in 0..count {
            let serial = self.serial.fetch_add(1, Ordering::Relaxed);
            tasks.spawn(increment(self.caller(), format!("counter:{serial}")));
        }
        self.collect(tasks).await
    }

    async fn collect(&self, mut tasks: JoinSet<CallResults>) -> CallResults {
        let mut total = CallResults::default();
        while let Some(results) = tasks.join_next().await {
            total.add(results.expect("every result is correct"));
        }
        self.writes.lock().expect("no test panics here").extend(total.writes.drain(..));
        total
    }

    /// Returns whether the version probe of the text protocol detects the fault before any request is sent.
    pub(crate) fn is_detected_by_version_probe(&self) -> bool {
        self.fake.mode() == ProtocolMode::Text && matches!(self.fake.fault(), ServerFault::NotMemcached(_))
    }

    pub(crate) async fn get(&self, key: &str) -> CallResults {
        get(self.caller(), key.to_owned()).await
    }

    /// Clears the fault, and returns how long the client takes to recover.
    pub(crate) async fn recover(&self) -> Duration {
        self.fake.set_fault(ServerFault::None);
        let start = Instant::now();
        while self.get("fixed:recovery").await.succeeded == 0 {
            let waited = start.elapsed();
            assert!(
                waited <= self.max_recovery(),
                "the client has not recovered {waited:?} after the fault was cleared"
            );
            sleep(Duration::from_millis(1)).await;
        }
        start.elapsed()
    }

    fn max_recovery(&self) -> Duration {
        MAX_RECOVERY + self.clock.slack()
    }

    /// Checks that the client recovers, that no write contradicts what the client reported, and that nothing leaks.
    pub(crate) async fn finish(self) {
        let recovery = self.recover().await;
        assert!(recovery <= self.max_recovery(), "the client recovered only after {recovery:?}");
        self.expect_success_of_all().await;
        self.check_writes();
        let server = &self.client.servers()[0];
        wait_until("nothing is in flight", async || (server.in_flight(), server.waiting()) == (0, 0)).await;
        let closing = timeout(self.deadline + PATIENCE, self.client.close());
        closing.await.expect("a client without requests closes immediately");
    }

    /// Checks that every operation succeeds; on a real clock, where a short deadline may pass, after some attempts.
    async fn expect_success_of_all(&self) {
        let start = Instant::now();
        loop {
            let results = self.run_all_operations().await;
            if results.errors.is_empty() {
                return assert_eq!(results.succeeded, ALL_OPERATIONS);
            }
            let may_be_late = self.clock == Clock::Real && start.elapsed() < PATIENCE;
            assert!(may_be_late, "{} errors: {:?}", results.errors.len(), results.errors.first());
        }
    }

    fn check_writes(&self) {
        for (key, execution) in &*self.writes.lock().expect("no test panics here") {
            let executions = self.fake.store().executions(key.as_bytes());
            let is_consistent = match execution {
                Execution::Executed => executions == 1,
                Execution::NotSent => executions == 0,
                Execution::MaybeSent => executions <= 1,
            };
            assert!(is_consistent, "{key} was executed {executions} times, and the client reported {execution:?}");
        }
    }

    fn caller(&self) -> Caller {
        let mode = self.fake.mode();
        Caller { client: self.client.clone(), mode, deadline: self.deadline, slack: self.clock.slack() }
    }
}

impl Clock {
    /// Returns how much later than its deadline a call may end before it counts as hanging.
    fn slack(self) -> Duration {
        match self {
            Self::Virtual => TICK,
            Self::Real => PATIENCE,
        }
    }
}

impl CallResults {
    fn add(&mut self, other: Self) {
        self.succeeded += other.succeeded;
        self.errors.extend(other.errors);
        self.writes.extend(other.writes);
    }

    /// Records a result; `is_correct` checks the value of a success.
    fn record<T>(&mut self, what: impl Display, result: Result<T, Error>, is_correct: impl FnOnce(T) -> bool) {
        match result {
            Ok(value) => {
                assert!(is_correct(value), "{what}: wrong result");
                self.succeeded += 1;
            }
            Err(error) => {
                reported_execution(&error);
                self.errors.push(error);
            }
        }
    }

    fn record_write<T>(&mut self, key: &str, result: &Result<T, Error>) {
        let execution = result.as_ref().map_or_else(reported_execution, |_| Execution::Executed);
        self.writes.push((key.to_owned(), execution));
    }

    /// Asserts that every error is of an allowed kind.
    #[track_caller]
    pub(crate) fn assert_errors(&self, is_allowed: impl Fn(ErrorKind) -> bool) {
        let other = self.errors.iter().find(|error| !is_allowed(error.kind()));
        assert!(other.is_none(), "{other:?}");
    }
}

/// Returns what an error reports about the execution of the request.
///
/// # Panics
/// If a fault of the server or the network cannot cause this kind of error.
fn reported_execution(error: &Error) -> Execution {
    assert!(!error.to_string().contains("task ended"), "the connection's task panicked: {error}");
    let execution = match error.kind() {
        ErrorKind::Disconnected(Delivery::MaybeSent) | ErrorKind::TimedOut(Delivery::MaybeSent) => Execution::MaybeSent,
        ErrorKind::Disconnected(_) | ErrorKind::TimedOut(_) | ErrorKind::Overloaded => Execution::NotSent,
        _ => panic!("unexpected kind of error: {error:?}"),
    };
    assert_eq!(error.may_have_executed(), execution == Execution::MaybeSent);
    execution
}

/// A client and the time limit of its calls.
#[derive(Debug)]
struct Caller {
    client: Client,
    mode: ProtocolMode,
    deadline: Duration,
    slack: Duration,
}

impl Caller {
    /// Waits for a call that must end within this many deadlines.
    async fn within<T>(&self, deadlines: u32, call: impl IntoFuture<Output = T>) -> T {
        let limit = self.deadline * deadlines + self.slack;
        timeout(limit, call.into_future()).await.unwrap_or_else(|_| panic!("a call hangs: it took over {limit:?}"))
    }
}

fn is_expected(key: &str, item: Option<&Item>) -> bool {
    item.is_some_and(|item| item.value == expected_value(key.as_bytes()))
}

async fn get(caller: Caller, key: String) -> CallResults {
    let result = caller.within(1, caller.client.get(&key)).await;
    let mut results = CallResults::default();
    results.record(&key, result, |item| is_expected(&key, item.as_ref()));
    results
}

async fn get_many(caller: Caller) -> CallResults {
    let keys: Vec<_> = (0..KEYS_PER_GET).map(|number| format!("fixed:many_{number}")).collect();
    let mut results = CallResults::default();
    for (key, result) in caller.within(2, caller.client.get_many(keys)).await {
        results.record(&key, result, |item| is_expected(&key, item.as_ref()));
    }
    results
}

async fn set(caller: Caller, key: String) -> CallResults {
    let result = caller.within(1, caller.client.set(&key, expected_value(key.as_bytes()))).await;
    let mut results = CallResults::default();
    results.record_write(&key, &result);
    results.record(&key, result, UnconditionalOutcome::is_applied);
    results
}

async fn set_many(caller: Caller, serial: u32) -> CallResults {
    let pairs = (0..KEYS_PER_SET).map(|number| {
        let key = format!("fixed:set_{serial}_{number}");
        let value = expected_value(key.as_bytes());
        (key, value)
    });
    let mut results = CallResults::default();
    for (key, result) in caller.within(2, caller.client.set_many(pairs.collect::<Vec<_>>())).await {
        results.record_write(&key, &result);
        results.record(&key, result, UnconditionalOutcome::is_applied);
    }
    results
}

async fn increment(caller: Caller, key: String) -> CallResults {
    let call = caller.client.increment(&key, 1);
    // The text protocol cannot send an initial value, and this server needs none.
    let call = if caller.mode == ProtocolMode::Text { call } else { call.initial(1) };
    let result = caller.within(1, call).await;
    let mut results = CallResults::default();
    results.record_write(&key, &result);
    results.record(&key, result, |counter| counter.is_some_and(|counter| counter.value == 1));
    results
}

async fn delete(caller: Caller, key: String) -> CallResults {
    let result = caller.within(1, caller.client.delete(&key)).await;
    let mut results = CallResults::default();
    results.record_write(&key, &result);
    results.record(&key, result, UnconditionalOutcome::is_applied);
    results
}

async fn stats(caller: Caller) -> CallResults {
    let result = caller.within(2, caller.client.servers()[0].stats("").collect()).await;
    let mut results = CallResults::default();
    results.record("stats", result, |found| found == statistics());
    results
}

/// The longest time a client takes to recover after a fault was cleared.
pub(crate) const MAX_RECOVERY: Duration = Duration::from_millis(5100);
/// A timer fires up to two ticks late.
const TICK: Duration = Duration::from_millis(2);
