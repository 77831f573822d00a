//! After a long run with faults and cancellations, the reports match the callers' own counts.

use std::collections::BTreeMap;
use std::future::{Future, IntoFuture, poll_fn};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use remcache::config::ProtocolSetting;
use remcache::observe::{ActiveOperation, Observer, OperationFinished, OperationName, OperationStarted, Outcome};
use remcache::policy::{Failover, Retries};
use remcache::recipes::{FixedWindow, Limiter, LockOutcome, OnUnavailable};
use remcache::value::Codec;
use remcache::{Cache, Client, Config, Error, ErrorKind, Request};
use remcache_server::{Close, Fault, Server};
use tokio::task::{JoinSet, yield_now};

const CALLERS: u64 = 128;
const MINUTE: Duration = Duration::from_secs(60);

/// Returns the number of operations per protocol, about a million in total; `REMCACHE_OPERATIONS` changes it.
fn operations() -> u64 {
    let number = std::env::var("REMCACHE_OPERATIONS").ok();
    number.map_or(330_000, |number| number.parse().expect("REMCACHE_OPERATIONS is a number"))
}

/// Operations by name and outcome, and keys of reads by result.
#[derive(Debug, Default, PartialEq)]
struct Sums {
    ended: BTreeMap<(&'static str, &'static str), u64>,
    asked: usize,
    hits: usize,
    misses: usize,
    failed: usize,
}

impl Sums {
    fn end(&mut self, operation: OperationName, outcome: Outcome) {
        // The caller of a fetch knows only whether its loader was called.
        let outcome = match (operation, outcome) {
            (OperationName::Fetch, Outcome::Hit | Outcome::Followed) => "found",
            (_, outcome) => outcome.label(),
        };
        *self.ended.entry((operation.as_str(), outcome)).or_default() += 1;
    }

    fn read(&mut self, (hits, misses, failed): (usize, usize, usize)) {
        self.asked += hits + misses + failed;
        self.hits += hits;
        self.misses += misses;
        self.failed += failed;
    }

    fn add(&mut self, other: Self) {
        other.ended.into_iter().for_each(|(end, count)| *self.ended.entry(end).or_default() += count);
        self.read((other.hits, other.misses, other.failed));
    }
}

/// Sums up what is reported.
#[derive(Default)]
struct Reported {
    started: AtomicU64,
    sums: Mutex<Sums>,
}

impl Observer for Reported {
    fn operation_started(&self, _: &OperationStarted<'_>) -> Option<Box<dyn ActiveOperation>> {
        self.started.fetch_add(1, Ordering::Relaxed);
        None
    }

    fn operation_finished(&self, end: &OperationFinished<'_>) {
        let mut sums = self.sums.lock().unwrap();
        sums.end(end.operation, end.outcome);
        if is_counted(end.operation) {
            assert_eq!(end.hits + end.misses + end.failed, end.keys, "{end:?}");
            sums.read((end.hits, end.misses, end.failed));
        }
    }
}

/// Returns whether callers can count the hits of an operation.
fn is_counted(operation: OperationName) -> bool {
    operation.is_read() && operation != OperationName::Fetch
}

/// The error of a loader, or of the fetch.
#[derive(Debug)]
enum FetchError {
    Loader,
    Client(ErrorKind),
}

impl From<Error> for FetchError {
    fn from(error: Error) -> Self {
        Self::Client(error.kind())
    }
}

type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

fn boxed<'a, F: IntoFuture<IntoFuture: Send + 'a>>(operation: F) -> Boxed<'a, F::Output> {
    Box::pin(operation.into_future())
}

/// Calls operations at random, and counts how they end.
struct Caller {
    client: Client,
    limiter: Limiter,
    cache: Cache<u64>,
    random: fastrand::Rng,
    sums: Sums,
    /// Whether the last operation found its server down.
    is_down: bool,
}

impl Caller {
    fn new(client: &Client, random: fastrand::Rng) -> Self {
        let rule = FixedWindow::new(1_000, MINUTE);
        let limiter = Limiter::new(client, "limit", rule).unwrap().on_unavailable(OnUnavailable::FailClosed);
        let cache = Cache::new(client, "typed", Codec::integer());
        Self { client: client.clone(), limiter, cache, random, sums: Sums::default(), is_down: false }
    }

    async fn run(mut self, operations: u64) -> Sums {
        for _ in 0..operations {
            self.call_one().await;
            if std::mem::take(&mut self.is_down) {
                // Otherwise most operations would be refused while their server is down.
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
        self.sums
    }

    /// Returns the result of an operation, or `None` if it was dropped before it ended.
    async fn result<T>(&mut self, operation: OperationName, keys: usize, mut future: Boxed<'_, T>) -> Option<T> {
        if self.random.u8(..32) > 0 {
            return Some(future.await);
        }
        for _ in 0..self.random.u8(1..4) {
            if let Poll::Ready(result) = poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx))).await {
                return Some(result);
            }
            yield_now().await;
        }
        self.end(operation, Outcome::Cancelled, (0, 0, keys));
        None
    }

    fn end(&mut self, operation: OperationName, outcome: Outcome, counts: (usize, usize, usize)) {
        self.is_down = matches!(outcome, Outcome::Failed(ErrorKind::Disconnected(_)));
        self.sums.end(operation, outcome);
        if is_counted(operation) {
            self.sums.read(counts);
        }
    }

    async fn change<T>(
        &mut self,
        operation: OperationName,
        future: Boxed<'_, Result<T, Error>>,
    ) -> Option<Result<T, Error>> {
        let result = self.result(operation, 1, future).await?;
        self.end(
            operation,
            result.as_ref().map_or_else(|error| Outcome::Failed(error.kind()), |_| Outcome::Ok),
            (0, 0, 0),
        );
        Some(result)
    }

    async fn read<T>(
        &mut self,
        operation: OperationName,
        is_hit: impl FnOnce(T) -> bool,
        future: Boxed<'_, Result<T, Error>>,
    ) {
        let Some(result) = self.result(operation, 1, future).await else { return };
        match result.map(is_hit) {
            Ok(true) => self.end(operation, Outcome::Hit, (1, 0, 0)),
            Ok(false) => self.end(operation, Outcome::Miss, (0, 1, 0)),
            Err(error) => self.end(operation, Outcome::Failed(error.kind()), (0, 0, 1)),
        }
    }

    async fn call_one(&mut self) {
        let (client, cache) = (self.client.clone(), self.cache.clone());
        let number = self.random.u32(..40);
        let (key, counter) = (format!("key{number}"), format!("counter{number}"));
        match self.random.u8(..24) {
            0..6 => self.read(OperationName::Get, |item| item.is_some(), boxed(client.get(&key))).await,
            6..8 => drop(self.change(OperationName::Set, boxed(client.set(&key, "value"))).await),
            8 => drop(self.change(OperationName::Add, boxed(client.add(&key, "value"))).await),
            9 => drop(self.change(OperationName::Delete, boxed(client.delete(&key))).await),
            10 => drop(self.change(OperationName::Increment, boxed(client.increment(&key, 1))).await),
            11 => drop(
                self.change(OperationName::Update, boxed(client.update(&key, MINUTE, |_| Some("new".into())))).await,
            ),
            12 => self.read(OperationName::Take, |item| item.is_some(), boxed(client.take(&key))).await,
            13 => self.read(OperationName::Exists, |is_there| is_there, boxed(client.exists(&key))).await,
            14 => {
                let create = client.increment_or_create(&counter, 1, 1, MINUTE);
                drop(self.change(OperationName::IncrementOrCreate, boxed(create)).await);
            }
            15 => self.get_many(&client).await,
            16 => self.set_many(&client).await,
            17 | 18 => self.fetch(&client, number).await,
            19 => self.lock(&client, number).await,
            20 => {
                let limiter = self.limiter.clone();
                drop(self.change(OperationName::Acquire, boxed(limiter.acquire(&key))).await);
            }
            21 => self.read(OperationName::Get, |value| value.is_some(), boxed(cache.get(&key))).await,
            22 => drop(self.change(OperationName::Set, boxed(cache.set(&key, &7))).await),
            _ => {
                let not_sent = Outcome::Failed(ErrorKind::Disconnected(remcache::Delivery::NotSent));
                let is_queued = client.send_no_reply(Request::set(&key, "value"));
                self.end(OperationName::SendNoReply, if is_queued { Outcome::Ok } else { not_sent }, (0, 0, 0));
            }
        }
    }

    async fn get_many(&mut self, client: &Client) {
        let keys: Vec<_> = (0..5).map(|n| format!("key{}", n * 9)).collect();
        let Some(many) = self.result(OperationName::GetMany, 5, boxed(client.get_many(&keys))).await else { return };
        let outcome = many.failed().last().map_or(Outcome::Ok, |(_, error)| Outcome::Failed(error.kind()));
        let counts = (many.found().count(), many.missing().count(), many.failed().count());
        self.end(OperationName::GetMany, outcome, counts);
    }

    async fn set_many(&mut self, client: &Client) {
        let items = (0..5).map(|n| (format!("key{}", n * 7), "value"));
        let Some(many) = self.result(OperationName::SetMany, 5, boxed(client.set_many(items))).await else { return };
        let outcome = many.failed().last().map_or(Outcome::Ok, |(_, error)| Outcome::Failed(error.kind()));
        self.end(OperationName::SetMany, outcome, (0, 0, 0));
    }

    async fn fetch(&mut self, client: &Client, number: u32) {
        let was_called = Arc::new(AtomicBool::new(false));
        let (called, fails) = (Arc::clone(&was_called), self.random.u8(..16) == 0);
        let load = move || async move {
            called.store(true, Ordering::SeqCst);
            yield_now().await;
            if fails { Err(FetchError::Loader) } else { Ok("value") }
        };
        let fetch = client.fetch(format!("page{}", number % 8), Duration::from_secs(1), load);
        let Some(result) = self.result(OperationName::Fetch, 1, boxed(fetch)).await else { return };
        let outcome = match result {
            Ok(_) if was_called.load(Ordering::SeqCst) => Outcome::Loaded,
            Ok(_) => Outcome::Hit,
            Err(FetchError::Loader) => Outcome::LoaderFailed,
            Err(FetchError::Client(kind)) => Outcome::Failed(kind),
        };
        self.end(OperationName::Fetch, outcome, (0, 0, 0));
    }

    async fn lock(&mut self, client: &Client, number: u32) {
        let taken = self.change(OperationName::Lock, boxed(client.lock(format!("lock{number}"), MINUTE))).await;
        let Some(Ok(LockOutcome::Acquired(lock))) = taken else { return };
        match self.random.bool() {
            true => drop(self.change(OperationName::Unlock, boxed(lock.unlock())).await),
            false => {
                drop(lock);
                self.end(OperationName::Unlock, Outcome::Ok, (0, 0, 0));
            }
        }
    }
}

/// Injects random faults until the future is dropped.
async fn inject_random_faults(servers: Arc<[Server]>, mut random: fastrand::Rng) {
    loop {
        let server = &servers[random.usize(..servers.len())];
        server.inject(match random.u8(..6) {
            0 => Fault::Drop.on_reply(3),
            1 => Fault::Garbage { seed: random.u64(..) }.on_reply(2),
            2 => Fault::Swap.on_reply(5),
            3 => Fault::Duplicate.on_reply(1),
            4 => Fault::Disconnect { after: 0, close: Close::Rst }.on_reply(2),
            _ => Fault::Delay(Duration::from_millis(20)).on_reply(4),
        });
        tokio::time::sleep(Duration::from_millis(random.u64(5..60))).await;
    }
}

async fn check(config: Config) {
    let seed = remcache_testkit::seed();
    let mut random = seed.rng();
    let servers: Arc<[Server]> =
        [Server::start().await.unwrap(), Server::start().await.unwrap(), Server::start().await.unwrap()].into();
    let reported = Arc::new(Reported::default());
    let config = config.timeout(Duration::from_millis(500)).observer(Arc::clone(&reported));
    let client = Client::with_config(servers.iter().map(Server::address), config).unwrap();
    let mut callers = JoinSet::new();
    for _ in 0..CALLERS {
        callers.spawn(Caller::new(&client, random.fork()).run(operations() / CALLERS));
    }
    let faults = tokio::spawn(inject_random_faults(servers, random.fork()));
    let mut counted = Sums::default();
    callers.join_all().await.into_iter().for_each(|sums| counted.add(sums));
    faults.abort();
    let (started, reported) =
        (reported.started.load(Ordering::SeqCst), std::mem::take(&mut *reported.sums.lock().unwrap()));
    println!("{started} operations started: {reported:#?}");
    assert_eq!(started, reported.ended.values().sum::<u64>(), "every operation that started has ended");
    assert_eq!(reported, counted);
    assert!(started >= operations() / CALLERS * CALLERS);
    for outcome in ["ok", "hit", "miss", "loaded", "found", "LoaderFailed", "cancelled", "Disconnected"] {
        assert!(reported.ended.keys().any(|(_, label)| *label == outcome), "{outcome}: {:?}", reported.ended);
    }
}

fn config(protocol: ProtocolSetting) -> Config {
    let (first, longest) = (Duration::from_millis(1), Duration::from_millis(5));
    Config::new().breaker(0).protocol(protocol).reconnect_delay(first, longest)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reports_add_up_with_the_binary_protocol() {
    check(config(ProtocolSetting::Binary)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reports_add_up_with_the_text_protocol() {
    check(config(ProtocolSetting::Text)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reports_add_up_with_the_meta_protocol_replicas_and_retries() {
    let retries = Retries::up_to(1).attempt_timeout(Duration::from_millis(100));
    check(config(ProtocolSetting::Meta).replicas(2).failover(Failover::next()).retries(retries)).await;
}
