//! A caller that does everything a client can do, at random, and checks what it is told.

use std::future::IntoFuture;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use fastrand::Rng;
use remcache::{Client, Delivery, Error, ErrorKind, Item};
use tokio::time::{Instant, timeout};

use crate::trouble::Lives;
use remcache_testkit::history::{Baseline, History, WriteStatus, value};

/// What all callers share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) history: History,
    pub(crate) end: Instant,
    /// Longer than this no call takes that does not hang.
    pub(crate) patience: Duration,
    pub(crate) operations: AtomicU64,
    pub(crate) errors: AtomicU64,
}

/// One caller: its keys are written by nobody else.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) shared: Arc<Shared>,
    pub(crate) client: Client,
    /// What its keys begin with, and those of the callers whose keys it reads.
    pub(crate) name: String,
    pub(crate) neighbours: Vec<String>,
    /// The lives of the servers, by their names.
    pub(crate) lives: Arc<Vec<(String, Lives)>>,
    pub(crate) rng: Rng,
    /// Whether a counter can be started with its first number.
    pub(crate) starts_counters: bool,
}

const KEYS: usize = 20;

impl Worker {
    /// Works until the end.
    ///
    /// # Errors
    /// The first thing that was wrong.
    pub(crate) async fn run(mut self) -> Result<(), String> {
        while Instant::now() < self.shared.end {
            match self.rng.u8(..100) {
                0..40 => self.get().await?,
                40..50 => self.get_many().await?,
                50..68 => self.set().await?,
                68..74 => self.set_many().await?,
                74..80 => self.count().await?,
                80..94 => self.change().await?,
                94..97 => self.get_and_touch().await?,
                _ => self.ask_server().await?,
            }
        }
        Ok(())
    }

    fn own_key(&mut self) -> String {
        format!("{}:{}", self.name, self.rng.usize(..KEYS))
    }

    fn any_key(&mut self) -> String {
        let neighbour = self.rng.usize(..self.neighbours.len());
        format!("{}:{}", self.neighbours[neighbour], self.rng.usize(..KEYS))
    }

    /// Which epoch of its server a key lives in.
    fn epoch(&self, key: &str) -> u64 {
        let server = self.client.locate(key).ok().flatten();
        let lives = server.and_then(|server| self.lives.iter().find(|(name, _)| name == server.name()));
        lives.map_or(u64::MAX, |(_, lives)| lives.now())
    }

    /// Waits for a call, and counts its outcomes.
    async fn call<T>(&self, what: &str, outcomes: u64, call: impl IntoFuture<Output = T>) -> Result<T, String> {
        self.shared.operations.fetch_add(outcomes, Ordering::Relaxed);
        let patience = self.shared.patience;
        timeout(patience, call.into_future()).await.map_err(|_| format!("{what} hangs: it took over {patience:?}"))
    }

    /// What an error tells of a request; only trouble with a server may be the reason.
    fn fate(&self, what: &str, error: &Error) -> Result<WriteStatus, String> {
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
        match self.call("get", 1, self.client.get(&key)).await? {
            Ok(item) => self.check(&key, item.as_ref(), baseline),
            Err(error) => self.fate("get", &error).map(drop),
        }
    }

    async fn get_and_touch(&mut self) -> Result<(), String> {
        let key = self.any_key();
        let baseline = self.shared.history.baseline(&key);
        let call = self.client.get_and_touch(&key, Duration::from_secs(100_000));
        match self.call("get_and_touch", 1, call).await? {
            Ok(item) => self.check(&key, item.as_ref(), baseline),
            Err(error) => self.fate("get_and_touch", &error).map(drop),
        }
    }

    async fn get_many(&mut self) -> Result<(), String> {
        let keys: Vec<_> = (0..self.rng.usize(1..40)).map(|_| self.any_key()).collect();
        let baselines: Vec<_> = keys.iter().map(|key| self.shared.history.baseline(key)).collect();
        let outcomes = self.call("get_many", keys.len() as u64, self.client.get_many(keys)).await?;
        for (baseline, (key, outcome)) in baselines.into_iter().zip(outcomes) {
            match outcome {
                Ok(item) => self.check(&key, item.as_ref(), baseline)?,
                Err(error) => drop(self.fate("get_many", &error)?),
            }
        }
        Ok(())
    }

    async fn set(&mut self) -> Result<(), String> {
        let key = self.own_key();
        let (n, epoch) = (self.shared.history.begin(&key), self.epoch(&key));
        let outcome = self.call("set", 1, self.client.set(&key, value(&key, n))).await?;
        let fate = outcome.map_or_else(|error| self.fate("set", &error), |_| Ok(WriteStatus::Executed))?;
        self.remember(&key, n, fate, epoch);
        Ok(())
    }

    async fn set_many(&mut self) -> Result<(), String> {
        let first = self.rng.usize(..KEYS);
        let keys = (first..first + 5).map(|n| format!("{}:{}", self.name, n % KEYS));
        let written: Vec<_> = keys.map(|key| (self.shared.history.begin(&key), self.epoch(&key), key)).collect();
        let pairs: Vec<_> = written.iter().map(|(n, _, key)| (key.clone(), value(key, *n))).collect();
        let outcomes = self.call("set_many", 5, self.client.set_many(pairs)).await?;
        for ((n, epoch, key), (_, outcome)) in written.into_iter().zip(outcomes) {
            let fate = outcome.map_or_else(|error| self.fate("set_many", &error), |_| Ok(WriteStatus::Executed))?;
            self.remember(&key, n, fate, epoch);
        }
        Ok(())
    }

    /// What was made while its server died may be gone with it.
    fn remember(&self, key: &str, n: u64, fate: WriteStatus, epoch: u64) {
        let fate =
            if fate == WriteStatus::Executed && self.epoch(key) != epoch { WriteStatus::MaybeSent } else { fate };
        self.shared.history.end(key, n, fate, epoch);
    }

    /// A counter of its own, which nothing raises but one call: its number is 1 if it is told.
    async fn count(&mut self) -> Result<(), String> {
        let key = format!("{}:counter:{}", self.name, self.rng.u64(..));
        let call = self.client.increment(&key, 1);
        let call = if self.starts_counters { call.initial(1) } else { call };
        match self.call("increment", 1, call).await? {
            Ok(Some(counter)) if self.starts_counters && counter.value == 1 => {}
            Ok(None) if !self.starts_counters => {}
            Ok(told) => return Err(format!("{key}: {told:?} of a counter that is raised once")),
            Err(error) => drop(self.fate("increment", &error)?),
        }
        match self.call("delete", 1, self.client.delete(&key)).await? {
            Ok(_) => Ok(()),
            Err(error) => self.fate("delete", &error).map(drop),
        }
    }

    /// A key that is added, extended, replaced and deleted in any order: any outcome is right.
    async fn change(&mut self) -> Result<(), String> {
        let key = format!("{}:changing", self.name);
        let (what, outcome) = match self.rng.u8(..6) {
            0 => ("add", self.call("add", 1, self.client.add(&key, "added")).await?),
            1 => ("replace", self.call("replace", 1, self.client.replace(&key, "replaced")).await?),
            2 => ("append", self.call("append", 1, self.client.append(&key, "+")).await?),
            3 => ("prepend", self.call("prepend", 1, self.client.prepend(&key, "-")).await?),
            4 => ("touch", self.call("touch", 1, self.client.touch(&key, Duration::from_secs(9))).await?),
            _ => ("delete", self.call("delete", 1, self.client.delete(&key)).await?),
        };
        outcome.map(drop).or_else(|error| self.fate(what, &error).map(drop))
    }

    async fn ask_server(&mut self) -> Result<(), String> {
        let servers = self.client.servers();
        let server = &servers[self.rng.usize(..servers.len())];
        let (what, outcome) = match self.rng.u8(..3) {
            0 => ("noop", self.call("noop", 1, server.noop()).await?),
            1 => ("version", self.call("version", 1, server.version()).await?.map(drop)),
            _ => ("stats", self.call("stats", 1, server.stats("").collect()).await?.map(drop)),
        };
        outcome.or_else(|error| self.fate(what, &error).map(drop))
    }
}
