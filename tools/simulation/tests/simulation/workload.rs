//! What the client's callers do meanwhile, and what they check.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use fastrand::Rng;
use remcache::{Client, Delivery, Error, ErrorKind, Item, WriteOutcome};
use remcache_testkit::history::{Baseline, History, WriteStatus, value};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

/// How long a client may take to work again after the last trouble.
const RECOVERY: Duration = Duration::from_millis(5_100);
/// The simulation's clock goes in ticks of one millisecond, and a timer is up to two late.
const TICKS: Duration = Duration::from_millis(3);
const WRITERS: usize = 3;
const READERS: usize = 3;
const KEYS_OF_A_WRITER: usize = 5;

/// A server that is started again has its items yet.
const EPOCH: u64 = 0;

/// What an outcome tells of its request; only trouble with a server may be the reason of an error.
pub(crate) fn fate<T>(outcome: &Result<T, Error>) -> WriteStatus {
    match outcome.as_ref().map_err(Error::kind) {
        Ok(_) => WriteStatus::Executed,
        Err(ErrorKind::Disconnected(Delivery::MaybeSent) | ErrorKind::TimedOut(Delivery::MaybeSent)) => {
            WriteStatus::MaybeSent
        }
        Err(ErrorKind::Disconnected(_) | ErrorKind::TimedOut(_) | ErrorKind::Overloaded) => WriteStatus::NotSent,
        Err(_) => panic!("an error of another kind: {:?}", outcome.as_ref().err()),
    }
}

/// What all callers share.
#[derive(Debug)]
pub(crate) struct Workload {
    client: Client,
    history: History,
    /// The counters that were raised, each once, and what their callers were told.
    counters: Mutex<Vec<(String, WriteStatus)>>,
    next_counter: AtomicU64,
    /// Set by whoever makes the troubles, when they are over.
    is_calm: Arc<AtomicBool>,
}

impl Workload {
    pub(crate) fn new(client: Client, is_calm: Arc<AtomicBool>) -> Arc<Self> {
        let (history, counters, next_counter) = (History::default(), Mutex::default(), AtomicU64::new(0));
        Arc::new(Self { client, history, counters, next_counter, is_calm })
    }

    /// Works through the troubles, and then a while longer; gives what was told of the counters.
    pub(crate) async fn run(self: Arc<Self>, mut rng: Rng) -> Vec<(String, WriteStatus)> {
        let mut tasks = JoinSet::new();
        for number in 0..WRITERS {
            tasks.spawn(Arc::clone(&self).write(number, rng.fork()));
        }
        for _ in 0..READERS {
            tasks.spawn(Arc::clone(&self).read(rng.fork()));
        }
        tasks.spawn(Arc::clone(&self).read_many(rng.fork()));
        tasks.spawn(Arc::clone(&self).count(rng.fork()));
        while let Some(task) = tasks.join_next().await {
            task.expect("every outcome is right");
        }
        self.recover().await;
        self.end().await;
        self.counters.lock().expect("no caller panics").clone()
    }

    fn goes_on(&self) -> bool {
        !self.is_calm.load(Ordering::Relaxed)
    }

    fn check(&self, key: &str, item: Option<&Item>, baseline: Baseline) {
        let found = item.map(|item| &item.value[..]);
        self.history.check(key, found, baseline, EPOCH).expect("every value is one that was written");
    }

    async fn write(self: Arc<Self>, writer: usize, mut rng: Rng) {
        while self.goes_on() {
            let key = key(writer, rng.usize(..KEYS_OF_A_WRITER));
            let n = self.history.begin(&key);
            let limit = random_limit(&mut rng);
            let call = self.client.set(&key, value(&key, n)).timeout(limit);
            if let Some(outcome) = within(limit, call, &mut rng).await {
                self.history.end(&key, n, fate(&outcome), EPOCH);
                assert!(outcome.is_err() || matches!(outcome, Ok(WriteOutcome::Applied(_))), "{outcome:?}");
            }
            sleep(Duration::from_millis(rng.u64(..20))).await;
        }
    }

    async fn read(self: Arc<Self>, mut rng: Rng) {
        while self.goes_on() {
            let key = any_key(&mut rng);
            let baseline = self.history.baseline(&key);
            let limit = random_limit(&mut rng);
            if let Some(outcome) = within(limit, self.client.get(&key).timeout(limit), &mut rng).await {
                fate(&outcome);
                if let Ok(item) = outcome {
                    self.check(&key, item.as_ref(), baseline);
                }
            }
            sleep(Duration::from_millis(rng.u64(..10))).await;
        }
    }

    async fn read_many(self: Arc<Self>, mut rng: Rng) {
        while self.goes_on() {
            let keys = (0..rng.usize(1..40)).map(|_| any_key(&mut rng));
            let keys: Vec<_> = keys.map(|key| (key.clone(), self.history.baseline(&key))).collect();
            let limit = random_limit(&mut rng);
            let call = self.client.get_many(keys.iter().map(|(key, _)| key.clone())).timeout(limit);
            // The limit counts from the last reply.
            if let Some(outcomes) = within(limit * 3, call, &mut rng).await {
                for ((key, baseline), (_, outcome)) in keys.iter().zip(outcomes) {
                    fate(&outcome);
                    if let Ok(item) = outcome {
                        self.check(key, item.as_ref(), *baseline);
                    }
                }
            }
            sleep(Duration::from_millis(rng.u64(..20))).await;
        }
    }

    async fn count(self: Arc<Self>, mut rng: Rng) {
        while self.goes_on() {
            let key = format!("counter_{}", self.next_counter.fetch_add(1, Ordering::Relaxed));
            let limit = random_limit(&mut rng);
            let outcome = within(limit, self.client.increment(&key, 1).timeout(limit), &mut rng).await;
            if let Some(Ok(counter)) = &outcome {
                assert_eq!(counter.expect("it starts where it is absent").value, 1, "{key} was raised again");
            }
            let fate = outcome.as_ref().map_or(WriteStatus::MaybeSent, fate);
            self.counters.lock().expect("no caller panics").push((key, fate));
            sleep(Duration::from_millis(rng.u64(..10))).await;
        }
    }

    /// Every key can be fetched again in time.
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
                assert!(start.elapsed() <= RECOVERY, "the client does not work again");
            };
            self.check(&key, item.as_ref(), baseline);
        }
    }

    /// Nothing of all that was given up is left.
    async fn end(&self) {
        for server in self.client.servers() {
            server.noop().await.expect("the troubles are over");
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

/// The outcome of a call, which must come in time; one call of eight is dropped on the way.
async fn within<T>(limit: Duration, call: impl IntoFuture<Output = T>, rng: &mut Rng) -> Option<T> {
    if rng.u32(..8) == 0 {
        return timeout(Duration::from_millis(rng.u64(..30)), call.into_future()).await.ok();
    }
    let outcome = timeout(limit + TICKS, call.into_future()).await;
    Some(outcome.unwrap_or_else(|_| panic!("a call takes longer than its {limit:?}")))
}
