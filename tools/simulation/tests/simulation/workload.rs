//! The calls during a simulation, and the checks of their results.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use fastrand::Rng;
use remcache::{Client, Delivery, Error, ErrorKind, Item};
use remcache_testkit::history::{Baseline, History, WriteStatus, value};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

/// The longest time until a client works after the last fault.
const MAX_RECOVERY: Duration = Duration::from_millis(5_100);
/// The resolution of timers: the simulation's clock advances by one millisecond, and a timer is up to two late.
const TIMER_SLACK: Duration = Duration::from_millis(3);
const WRITERS: usize = 3;
const READERS: usize = 3;
const KEYS_OF_A_WRITER: usize = 5;

/// The epoch of all servers, which keep their items when they restart.
const EPOCH: u64 = 0;

/// Returns what a result reports about its request. Only a fault may be the cause of an error.
pub(crate) fn status<T>(result: &Result<T, Error>) -> WriteStatus {
    match result.as_ref().map_err(Error::kind) {
        Ok(_) => WriteStatus::Executed,
        Err(ErrorKind::Disconnected(Delivery::MaybeSent) | ErrorKind::TimedOut(Delivery::MaybeSent)) => {
            WriteStatus::MaybeSent
        }
        Err(ErrorKind::Disconnected(_) | ErrorKind::TimedOut(_) | ErrorKind::Overloaded) => WriteStatus::NotSent,
        Err(_) => panic!("unexpected error: {:?}", result.as_ref().err()),
    }
}

/// The state that all callers share.
#[derive(Debug)]
pub(crate) struct Workload {
    client: Client,
    history: History,
    /// The counters, each incremented once, and the statuses of the increments.
    counters: Mutex<Vec<(String, WriteStatus)>>,
    next_counter: AtomicU64,
    /// Set when no more faults are injected.
    is_fault_free: Arc<AtomicBool>,
}

impl Workload {
    pub(crate) fn new(client: Client, is_fault_free: Arc<AtomicBool>) -> Arc<Self> {
        let (history, counters, next_counter) = (History::default(), Mutex::default(), AtomicU64::new(0));
        Arc::new(Self { client, history, counters, next_counter, is_fault_free })
    }

    /// Makes calls during the faults, checks the client afterwards, and returns the statuses of the increments.
    pub(crate) async fn run(self: Arc<Self>, mut rng: Rng) -> Vec<(String, WriteStatus)> {
        let mut tasks = JoinSet::new();
        for number in 0..WRITERS {
            tasks.spawn(Arc::clone(&self).write(number, rng.fork()));
        }
        for _ in 0..READERS {
            tasks.spawn(Arc::clone(&self).read(rng.fork()));
        }
        tasks.spawn(Arc::clone(&self).read_many(rng.fork()));
        tasks.spawn(Arc::clone(&self).increment(rng.fork()));
        while let Some(task) = tasks.join_next().await {
            task.expect("every result is correct");
        }
        self.recover().await;
        self.check_idle().await;
        self.counters.lock().expect("no caller panics").clone()
    }

    fn is_running(&self) -> bool {
        !self.is_fault_free.load(Ordering::Relaxed)
    }

    fn check(&self, key: &str, item: Option<&Item>, baseline: Baseline) {
        let found = item.map(|item| &item.value[..]);
        self.history.check(key, found, baseline, EPOCH).expect("every value is one that was written");
    }

    async fn write(self: Arc<Self>, writer: usize, mut rng: Rng) {
        while self.is_running() {
            let key = key(writer, rng.usize(..KEYS_OF_A_WRITER));
            let n = self.history.begin(&key);
            let limit = random_limit(&mut rng);
            let call = self.client.set(&key, value(&key, n)).timeout(limit);
            if let Some(result) = within(limit, call, &mut rng).await {
                self.history.end(&key, n, status(&result), EPOCH);
                assert!(result.as_ref().is_ok_and(|outcome| outcome.is_applied()) || result.is_err(), "{result:?}");
            }
            sleep(Duration::from_millis(rng.u64(..20))).await;
        }
    }

    async fn read(self: Arc<Self>, mut rng: Rng) {
        while self.is_running() {
            let key = any_key(&mut rng);
            let baseline = self.history.baseline(&key);
            let limit = random_limit(&mut rng);
            if let Some(result) = within(limit, self.client.get(&key).timeout(limit), &mut rng).await {
                status(&result);
                if let Ok(item) = result {
                    self.check(&key, item.as_ref(), baseline);
                }
            }
            sleep(Duration::from_millis(rng.u64(..10))).await;
        }
    }

    async fn read_many(self: Arc<Self>, mut rng: Rng) {
        while self.is_running() {
            let keys = (0..rng.usize(1..40)).map(|_| any_key(&mut rng));
            let keys: Vec<_> = keys.map(|key| (key.clone(), self.history.baseline(&key))).collect();
            let limit = random_limit(&mut rng);
            let call = self.client.get_many(keys.iter().map(|(key, _)| key.clone())).timeout(limit);
            // The limit applies to the time since the last reply.
            if let Some(results) = within(limit * 3, call, &mut rng).await {
                for ((key, baseline), (_, result)) in keys.iter().zip(results) {
                    status(&result);
                    if let Ok(item) = result {
                        self.check(key, item.as_ref(), *baseline);
                    }
                }
            }
            sleep(Duration::from_millis(rng.u64(..20))).await;
        }
    }

    async fn increment(self: Arc<Self>, mut rng: Rng) {
        while self.is_running() {
            let key = format!("counter_{}", self.next_counter.fetch_add(1, Ordering::Relaxed));
            let limit = random_limit(&mut rng);
            let result = within(limit, self.client.increment(&key, 1).timeout(limit), &mut rng).await;
            if let Some(Ok(counter)) = &result {
                assert_eq!(counter.expect("an increment creates the counter").value, 1, "{key} was incremented twice");
            }
            let status = result.as_ref().map_or(WriteStatus::MaybeSent, status);
            self.counters.lock().expect("no caller panics").push((key, status));
            sleep(Duration::from_millis(rng.u64(..10))).await;
        }
    }

    /// Checks that every key can be read soon after the last fault.
    async fn recover(&self) {
        let start = Instant::now();
        let keys = (0..WRITERS).flat_map(|writer| (0..KEYS_OF_A_WRITER).map(move |number| key(writer, number)));
        for key in keys {
            let baseline = self.history.baseline(&key);
            let item = loop {
                match self.client.get(&key).await {
                    Ok(item) => break item,
                    Err(_) => sleep(Duration::from_millis(5)).await,
                }
                assert!(start.elapsed() <= MAX_RECOVERY, "the client has not recovered");
            };
            self.check(&key, item.as_ref(), baseline);
        }
    }

    /// Checks that no request is left.
    async fn check_idle(&self) {
        for server in self.client.servers() {
            server.noop().await.expect("there are no more faults");
            assert_eq!((server.in_flight(), server.waiting()), (0, 0));
        }
    }
}

fn key(writer: usize, number: usize) -> String {
    format!("key_{writer}_{number}")
}

fn any_key(rng: &mut Rng) -> String {
    key(rng.usize(..WRITERS), rng.usize(..KEYS_OF_A_WRITER))
}

fn random_limit(rng: &mut Rng) -> Duration {
    Duration::from_millis(rng.u64(20..1_000))
}

/// Returns the result of a call, which must come in time. One call in eight is dropped instead.
async fn within<T>(limit: Duration, call: impl IntoFuture<Output = T>, rng: &mut Rng) -> Option<T> {
    if rng.u32(..8) == 0 {
        return timeout(Duration::from_millis(rng.u64(..30)), call.into_future()).await.ok();
    }
    let result = timeout(limit + TIMER_SLACK, call.into_future()).await;
    Some(result.unwrap_or_else(|_| panic!("a call did not return within {limit:?}")))
}
