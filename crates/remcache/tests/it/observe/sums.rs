//! Over a long run with faults and cancellations the reports add up to what the callers counted.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use remcache::observe::Outcome;
use remcache::policy::{Failover, Retries};
use remcache::{Client, Config};
use remcache_server::{Fault, Server};
use tokio::task::JoinSet;

use super::recorder::Recorder;

const CALLERS: usize = 16;
const ROUNDS: usize = 600;

/// What the callers counted: operations by label, and keys of reads by result.
#[derive(Debug, Default, PartialEq)]
struct Counted {
    outcomes: BTreeMap<&'static str, usize>,
    hits: usize,
    misses: usize,
    failed: usize,
}

impl Counted {
    fn add(&mut self, label: &'static str) {
        *self.outcomes.entry(label).or_default() += 1;
    }

    fn error(&mut self, error: &remcache::Error) {
        self.add(Outcome::Failed(error.kind()).label());
    }
}

async fn caller(client: Client, seed: u64) -> Counted {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut counted = Counted::default();
    for _ in 0..ROUNDS {
        let key = format!("key{}", random.u32(..40));
        match random.u8(..4) {
            0 => match client.get(&key).await {
                Ok(Some(_)) => (counted.hits, _) = (counted.hits + 1, counted.add("hit")),
                Ok(None) => (counted.misses, _) = (counted.misses + 1, counted.add("miss")),
                Err(error) => (counted.failed, _) = (counted.failed + 1, counted.error(&error)),
            },
            1 => match client.set(&key, "value").await {
                Ok(_) => counted.add("ok"),
                Err(error) => counted.error(&error),
            },
            2 => match client.increment(&key, 1).await {
                Ok(_) => counted.add("ok"),
                Err(error) => counted.error(&error),
            },
            _ => {
                let keys: Vec<_> = (0..5).map(|n| format!("key{}", n * 9)).collect();
                let many = client.get_many(&keys).await;
                counted.hits += many.found().count();
                counted.misses += many.missing().count();
                counted.failed += many.failed().count();
                match many.failed().last() {
                    Some((_, error)) => counted.error(error),
                    None => counted.add("ok"),
                }
            }
        }
    }
    counted
}

/// Polls operations and drops them; returns how many were dropped before their end.
async fn canceller(client: Client) -> usize {
    let mut cancelled = 0;
    for n in 0..ROUNDS {
        let key = format!("key{n}");
        let mut get = client.get(&key);
        let is_pending =
            std::future::poll_fn(|cx| std::task::Poll::Ready(std::pin::Pin::new(&mut get).poll(cx).is_pending())).await;
        cancelled += usize::from(is_pending);
        drop(get);
        tokio::task::yield_now().await;
    }
    cancelled
}

async fn check(config: Config) {
    let servers = [Server::start().await.unwrap(), Server::start().await.unwrap(), Server::start().await.unwrap()];
    let recorder = Arc::new(Recorder::default());
    let config = config.timeout(Duration::from_millis(500)).observer(Arc::clone(&recorder));
    let client = Client::with_config(servers.iter().map(Server::address), config).unwrap();
    let mut callers = JoinSet::new();
    for seed in 0..CALLERS {
        callers.spawn(caller(client.clone(), seed as u64));
    }
    let cancels = tokio::spawn(canceller(client.clone()));
    for n in 0..20 {
        tokio::time::sleep(Duration::from_millis(10)).await;
        match n % 4 {
            0 => servers[0].inject(Fault::Drop.on_reply(3)),
            1 => servers[1].inject(Fault::Garbage { seed: n }.on_reply(2)),
            2 => servers[2].inject(Fault::Swap.on_reply(5)),
            _ => servers[0].inject(Fault::Duplicate.on_reply(1)),
        }
    }
    let mut counted = Counted::default();
    while let Some(part) = callers.join_next().await {
        let part = part.unwrap();
        part.outcomes.into_iter().for_each(|(label, count)| *counted.outcomes.entry(label).or_default() += count);
        counted.hits += part.hits;
        counted.misses += part.misses;
        counted.failed += part.failed;
    }
    let cancelled = cancels.await.unwrap();
    let ended = recorder.take();
    assert_eq!(recorder.started(), ended.len(), "every operation that started has ended");
    let mut reported = Counted::default();
    let (mut keys, mut ended_early) = (0, 0);
    for end in &ended {
        if end.outcome == Outcome::Cancelled {
            ended_early += 1;
            continue;
        }
        // Gets that ended with their first poll are the canceller's or a caller's: both are counted below.
        reported.add(end.outcome.label());
        if end.operation.is_read() {
            keys += end.keys;
            reported.hits += end.counts.0;
            reported.misses += end.counts.1;
            reported.failed += end.counts.2;
        }
    }
    assert_eq!(ended_early, cancelled, "every dropped future was reported as cancelled");
    assert_eq!(reported.hits + reported.misses + reported.failed, keys, "every key of a read has a result");
    let at_once = ROUNDS - cancelled;
    let total: usize = reported.outcomes.values().sum();
    assert_eq!(total, CALLERS * ROUNDS + at_once);
    if at_once == 0 {
        assert_eq!(reported, counted);
    }
    assert!(counted.hits > 0 && counted.misses + counted.failed > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reports_add_up_with_faults_and_cancellations() {
    check(Config::new().breaker(0)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reports_add_up_with_replicas_and_retries() {
    let retries = Retries::up_to(1).attempt_timeout(Duration::from_millis(100));
    check(Config::new().breaker(0).replicas(2).failover(Failover::next()).retries(retries)).await;
}
