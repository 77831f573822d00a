//! A caller that makes random calls of every kind, and checks their results.

use std::future::IntoFuture;
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use fastrand::Rng;
use remcache::{Client, Delivery, Error, ErrorKind, Item, WriteOutcome};
use tokio::time::{Instant, timeout};

use crate::faults::Epoch;
use remcache_testkit::history::{Baseline, History, WriteStatus, value};

/// The state that all callers share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) history: History,
    pub(crate) end: Instant,
    /// The timeout of the client.
    pub(crate) timeout: Duration,
    pub(crate) operations: AtomicU64,
    pub(crate) errors: AtomicU64,
    pub(crate) dropped: AtomicU64,
    pub(crate) runtimes: AtomicU64,
    /// The call that ended last after its deadline.
    pub(crate) latest: Mutex<LateCall>,
}

/// A call with one reply that ended after its deadline.
#[derive(Debug, Default)]
pub(crate) struct LateCall {
    pub(crate) by: Duration,
    pub(crate) name: String,
}

impl Shared {
    /// Creates the state of callers that run until `end`.
    pub(crate) fn new(end: Instant, timeout: Duration) -> Self {
        Self {
            history: History::default(),
            end,
            timeout,
            operations: AtomicU64::new(0),
            errors: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            runtimes: AtomicU64::new(0),
            latest: Mutex::default(),
        }
    }

    fn record_lateness(&self, name: &str, by: Duration) {
        if by.is_zero() {
            return;
        }
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        if by > latest.by {
            *latest = LateCall { by, name: name.to_owned() };
        }
    }
}

/// A caller, which is the only one that writes its keys.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) shared: Arc<Shared>,
    pub(crate) client: Client,
    /// The prefix of its keys.
    pub(crate) name: String,
    /// The prefixes of all keys that it reads.
    pub(crate) other_names: Vec<String>,
    /// The epochs of the servers, by name.
    pub(crate) epochs: Arc<Vec<(String, Epoch)>>,
    pub(crate) rng: Rng,
    /// Whether `increment` can create a counter with an initial value.
    pub(crate) can_create_counters: bool,
}

const KEYS: usize = 20;
/// How long a short runtime runs, in milliseconds.
const RUNTIME_MILLIS: RangeInclusive<u64> = 1..=200;
/// A call that ends this much later than its timeout allows hangs. Calls with many keys, and retries on a new
/// connection, extend the deadline.
const PATIENCE: Duration = Duration::from_secs(20);

impl Worker {
    /// Makes calls until the end.
    ///
    /// # Errors
    /// The first wrong result.
    pub(crate) async fn run(mut self) -> Result<(), String> {
        while Instant::now() < self.shared.end {
            self.call_any().await?;
        }
        Ok(())
    }

    /// Makes calls on one runtime after the other until the end, and drops some of them.
    ///
    /// When a runtime ends, the connections that were opened on it close, while other callers wait for replies.
    ///
    /// # Errors
    /// The first wrong result, or a runtime that could not be started.
    pub(crate) fn run_on_short_runtimes(mut self) -> Result<(), String> {
        while Instant::now() < self.shared.end {
            let mut builder = match self.rng.u8(..4) {
                0 => tokio::runtime::Builder::new_multi_thread(),
                _ => tokio::runtime::Builder::new_current_thread(),
            };
            let runtime = builder.worker_threads(1).enable_all().build();
            let runtime = runtime.map_err(|error| format!("cannot start a runtime: {error}"))?;
            self.shared.runtimes.fetch_add(1, Ordering::Relaxed);
            let end = Instant::now() + Duration::from_millis(self.rng.u64(RUNTIME_MILLIS));
            runtime.block_on(async {
                while Instant::now() < end {
                    match self.rng.u8(..20) {
                        0 => self.drop_a_call().await,
                        _ => self.call_any().await?,
                    }
                }
                Ok::<_, String>(())
            })?;
        }
        Ok(())
    }

    async fn call_any(&mut self) -> Result<(), String> {
        match self.rng.u8(..100) {
            0..40 => self.get().await,
            40..50 => self.get_many().await,
            50..68 => self.set().await,
            68..74 => self.set_many().await,
            74..80 => self.increment().await,
            80..94 => self.modify().await,
            94..97 => self.get_and_touch().await,
            _ => self.call_server().await,
        }
    }

    /// Drops a call after a short time, unless it has ended: a get, or a set that may be executed nevertheless.
    async fn drop_a_call(&mut self) {
        self.shared.dropped.fetch_add(1, Ordering::Relaxed);
        let after = Duration::from_micros(self.rng.u64(..2_000));
        if self.rng.bool() {
            let key = self.any_key();
            let _ = timeout(after, self.client.get(&key)).await;
        } else {
            let key = self.own_key();
            let (n, epoch) = (self.shared.history.begin(&key), self.epoch(&key));
            let status = match timeout(after, self.client.set(&key, value(&key, n))).await {
                Ok(Ok(_)) => WriteStatus::Executed,
                _ => WriteStatus::MaybeSent,
            };
            self.record(&key, n, status, epoch);
        }
    }

    fn own_key(&mut self) -> String {
        format!("{}:{}", self.name, self.rng.usize(..KEYS))
    }

    fn any_key(&mut self) -> String {
        let other = self.rng.usize(..self.other_names.len());
        format!("{}:{}", self.other_names[other], self.rng.usize(..KEYS))
    }

    /// Returns the epoch of a key's server.
    fn epoch(&self, key: &str) -> u64 {
        let server = self.client.locate(key).ok().flatten();
        let epoch = server.and_then(|server| self.epochs.iter().find(|(name, _)| name == server.name()));
        epoch.map_or(u64::MAX, |(_, epoch)| epoch.current())
    }

    /// Waits for a call with one reply, which has to end by its deadline.
    async fn call<T>(&self, what: &str, call: impl IntoFuture<Output = T>) -> Result<T, String> {
        let start = Instant::now();
        let result = self.call_many(what, 1, call).await;
        self.shared.record_lateness(what, start.elapsed().saturating_sub(self.shared.timeout));
        result
    }

    /// Waits for a call with several replies, each of which extends its deadline, and counts its operations.
    async fn call_many<T>(&self, what: &str, operations: u64, call: impl IntoFuture<Output = T>) -> Result<T, String> {
        self.shared.operations.fetch_add(operations, Ordering::Relaxed);
        let patience = self.shared.timeout * 3 + PATIENCE;
        let result = timeout(patience, call.into_future()).await;
        result.map_err(|_| format!("{what} did not return within {patience:?}"))
    }

    /// Returns what an error says about the request's execution. Only a failed server may be the cause of an error.
    fn status(&self, what: &str, error: &Error) -> Result<WriteStatus, String> {
        self.shared.errors.fetch_add(1, Ordering::Relaxed);
        match error.kind() {
            ErrorKind::Disconnected(Delivery::MaybeSent) | ErrorKind::TimedOut(Delivery::MaybeSent) => {
                Ok(WriteStatus::MaybeSent)
            }
            ErrorKind::Disconnected(_) | ErrorKind::TimedOut(_) | ErrorKind::Overloaded => Ok(WriteStatus::NotSent),
            _ => Err(format!("{what}: {error}")),
        }
    }

    fn check(&self, key: &str, item: Option<&Item>, baseline: Baseline) -> Result<(), String> {
        self.shared.history.check(key, item.map(|item| &item.value[..]), baseline, self.epoch(key))
    }

    async fn get(&mut self) -> Result<(), String> {
        let key = self.any_key();
        let baseline = self.shared.history.baseline(&key);
        match self.call("get", self.client.get(&key)).await? {
            Ok(item) => self.check(&key, item.as_ref(), baseline),
            Err(error) => self.status("get", &error).map(drop),
        }
    }

    async fn get_and_touch(&mut self) -> Result<(), String> {
        let key = self.any_key();
        let baseline = self.shared.history.baseline(&key);
        let call = self.client.get_and_touch(&key, Duration::from_secs(100_000));
        match self.call("get_and_touch", call).await? {
            Ok(item) => self.check(&key, item.as_ref(), baseline),
            Err(error) => self.status("get_and_touch", &error).map(drop),
        }
    }

    async fn get_many(&mut self) -> Result<(), String> {
        let keys: Vec<_> = (0..self.rng.usize(1..40)).map(|_| self.any_key()).collect();
        let baselines: Vec<_> = keys.iter().map(|key| self.shared.history.baseline(key)).collect();
        let results = self.call_many("get_many", keys.len() as u64, self.client.get_many(keys)).await?;
        for (baseline, (key, result)) in baselines.into_iter().zip(results) {
            match result {
                Ok(item) => self.check(&key, item.as_ref(), baseline)?,
                Err(error) => drop(self.status("get_many", &error)?),
            }
        }
        Ok(())
    }

    async fn set(&mut self) -> Result<(), String> {
        let key = self.own_key();
        let (n, epoch) = (self.shared.history.begin(&key), self.epoch(&key));
        let result = self.call("set", self.client.set(&key, value(&key, n))).await?;
        let status = result.map_or_else(|error| self.status("set", &error), |_| Ok(WriteStatus::Executed))?;
        self.record(&key, n, status, epoch);
        Ok(())
    }

    async fn set_many(&mut self) -> Result<(), String> {
        let first = self.rng.usize(..KEYS);
        let keys = (first..first + 5).map(|n| format!("{}:{}", self.name, n % KEYS));
        let written: Vec<_> = keys.map(|key| (self.shared.history.begin(&key), self.epoch(&key), key)).collect();
        let pairs: Vec<_> = written.iter().map(|(n, _, key)| (key.clone(), value(key, *n))).collect();
        let results = self.call_many("set_many", 5, self.client.set_many(pairs)).await?;
        for ((n, epoch, key), (_, result)) in written.into_iter().zip(results) {
            let status = result.map_or_else(|error| self.status("set_many", &error), |_| Ok(WriteStatus::Executed))?;
            self.record(&key, n, status, epoch);
        }
        Ok(())
    }

    /// Records a write, whose effect may be lost if its server was restarted during the call.
    fn record(&self, key: &str, n: u64, status: WriteStatus, epoch: u64) {
        let status =
            if status == WriteStatus::Executed && self.epoch(key) != epoch { WriteStatus::MaybeSent } else { status };
        self.shared.history.end(key, n, status, epoch);
    }

    /// Increments a new counter once, so that the result must be 1.
    async fn increment(&mut self) -> Result<(), String> {
        let key = format!("{}:counter:{}", self.name, self.rng.u64(..));
        let call = self.client.increment(&key, 1);
        let call = if self.can_create_counters { call.initial(1) } else { call };
        match self.call("increment", call).await? {
            Ok(Some(counter)) if self.can_create_counters && counter.value == 1 => {}
            Ok(None) if !self.can_create_counters => {}
            Ok(result) => return Err(format!("{key}: {result:?} after the first increment of a counter")),
            Err(error) => drop(self.status("increment", &error)?),
        }
        match self.call("delete", self.client.delete(&key)).await? {
            Ok(_) => Ok(()),
            Err(error) => self.status("delete", &error).map(drop),
        }
    }

    /// Adds, replaces, extends, touches or deletes a key at random: any result but an error is correct.
    async fn modify(&mut self) -> Result<(), String> {
        let key = format!("{}:modified", self.name);
        let (what, result) = match self.rng.u8(..6) {
            0 => ("add", self.call("add", self.client.add(&key, "added")).await?),
            1 => ("replace", self.call("replace", self.client.replace(&key, "replaced")).await?),
            2 => ("append", self.call("append", self.client.append(&key, "+")).await?),
            3 => ("prepend", self.call("prepend", self.client.prepend(&key, "-")).await?),
            4 => (
                "touch",
                self.call("touch", self.client.touch(&key, Duration::from_secs(9))).await?.map(WriteOutcome::from),
            ),
            _ => ("delete", self.call("delete", self.client.delete(&key)).await?.map(WriteOutcome::from)),
        };
        result.map(drop).or_else(|error| self.status(what, &error).map(drop))
    }

    /// Makes a call to one server that is not about a key.
    async fn call_server(&mut self) -> Result<(), String> {
        let servers = self.client.servers();
        let server = &servers[self.rng.usize(..servers.len())];
        let (what, result) = match self.rng.u8(..3) {
            0 => ("noop", self.call("noop", server.noop()).await?),
            1 => ("version", self.call("version", server.version()).await?.map(drop)),
            _ => ("stats", self.call_many("stats", 1, server.stats("").collect()).await?.map(drop)),
        };
        result.or_else(|error| self.status(what, &error).map(drop))
    }
}
