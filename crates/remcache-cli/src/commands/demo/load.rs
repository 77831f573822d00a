//! Background load while a server is stopped and restarted, and the results that its callers got.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use remcache::Item;
use remcache::{Client, Delivery, Error, ErrorKind};
use tokio::task::JoinSet;

/// Callers that send requests in a loop.
#[derive(Debug)]
pub(super) struct BackgroundLoad {
    shared: Arc<LoadState>,
    callers: JoinSet<()>,
}

#[derive(Debug)]
struct LoadState {
    client: Client,
    keys: Vec<LoadKey>,
    started: Instant,
    is_over: AtomicBool,
    requests: AtomicU64,
    result: Mutex<LoadResult>,
}

/// A key, its value, and the index of its server.
#[derive(Debug)]
struct LoadKey {
    name: String,
    value: String,
    server: usize,
}

/// Results of all callers.
#[derive(Clone, Debug, Default)]
pub(super) struct LoadResult {
    pub(super) requests: u64,
    pub(super) answered: u64,
    /// Requests that failed without being sent.
    pub(super) not_sent: u64,
    /// Requests that failed and may have been executed.
    pub(super) maybe_sent: u64,
    pub(super) other_errors: u64,
    /// Requests answered with the value of another key.
    pub(super) wrong_values: u64,
    /// For each time step and server: whether requests succeeded, and whether requests failed.
    steps: Vec<Vec<(bool, bool)>>,
}

/// Resolution of the timeline.
const STEP: Duration = Duration::from_millis(5);

impl BackgroundLoad {
    /// Stores the keys, then starts the callers.
    pub(super) async fn start(client: &Client, callers: usize, keys: usize) -> Result<Self, Error> {
        let servers = client.servers();
        let index = |name: &str| servers.iter().position(|server| server.name() == name).unwrap_or_default();
        let mut list = Vec::with_capacity(keys);
        for number in 0..keys {
            let name = format!("load:{number}");
            let server = client.locate(&name)?.map_or(0, |server| index(server.name()));
            list.push(LoadKey { value: format!("the value of {name}"), name, server });
        }
        client.set_many(list.iter().map(|key| (&key.name, key.value.clone()))).await.into_result()?;
        let shared = Arc::new(LoadState {
            client: client.clone(),
            keys: list,
            started: Instant::now(),
            is_over: AtomicBool::new(false),
            requests: AtomicU64::new(0),
            result: Mutex::new(LoadResult { steps: Vec::new(), ..LoadResult::default() }),
        });
        let mut tasks = JoinSet::new();
        for _ in 0..callers {
            tasks.spawn(run_caller(Arc::clone(&shared)));
        }
        Ok(Self { shared, callers: tasks })
    }

    /// Returns the time since the start.
    pub(super) fn elapsed(&self) -> Duration {
        self.shared.started.elapsed()
    }

    /// Stops the callers, and waits until each has the result of its last request.
    pub(super) async fn stop(mut self) -> LoadResult {
        self.shared.is_over.store(true, Ordering::Relaxed);
        while self.callers.join_next().await.is_some() {}
        let mut result = self.shared.lock().clone();
        result.requests = self.shared.requests.load(Ordering::Relaxed);
        result
    }
}

impl LoadResult {
    /// Returns the number of requests that ended, successfully or not.
    pub(super) fn ended(&self) -> u64 {
        self.answered + self.not_sent + self.maybe_sent + self.other_errors + self.wrong_values
    }

    /// Divides the time into `width` equal parts: whether requests to the server succeeded and failed in each.
    pub(super) fn timeline(&self, server: usize, width: usize) -> Vec<(bool, bool)> {
        let at = |part: usize| part * self.steps.len() / width;
        let part = |part: usize| {
            let steps = self.steps.get(at(part)..at(part + 1).max(at(part) + 1)).unwrap_or_default();
            let steps = steps.iter().filter_map(|servers| servers.get(server));
            steps.fold((false, false), |sum, step| (sum.0 | step.0, sum.1 | step.1))
        };
        (0..width).map(part).collect()
    }

    fn count(&mut self, outcome: &Result<Option<Item>, Error>, key: &LoadKey) {
        match outcome {
            Ok(Some(item)) if item.value != key.value.as_bytes() => self.wrong_values += 1,
            Ok(_) => self.answered += 1,
            Err(error) => match error.kind() {
                ErrorKind::Disconnected(Delivery::NotSent) => self.not_sent += 1,
                ErrorKind::Disconnected(_) => self.maybe_sent += 1,
                _ => self.other_errors += 1,
            },
        }
    }

    fn record_step(&mut self, elapsed: Duration, server: usize, is_answer: bool) {
        let step = (elapsed.as_nanos() / STEP.as_nanos()) as usize;
        if self.steps.len() <= step {
            self.steps.resize(step + 1, Vec::new());
        }
        let servers = &mut self.steps[step];
        if servers.len() <= server {
            servers.resize(server + 1, (false, false));
        }
        let (answered, failed) = &mut servers[server];
        *(if is_answer { answered } else { failed }) = true;
    }
}

impl LoadState {
    fn lock(&self) -> std::sync::MutexGuard<'_, LoadResult> {
        self.result.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Runs one caller: fetches a random key, and stores it again if it is missing.
async fn run_caller(shared: Arc<LoadState>) {
    let mut random = fastrand::Rng::new();
    while !shared.is_over.load(Ordering::Relaxed) {
        let key = &shared.keys[random.usize(..shared.keys.len())];
        shared.requests.fetch_add(1, Ordering::Relaxed);
        let outcome = shared.client.get(&key.name).await;
        {
            let mut result = shared.lock();
            result.count(&outcome, key);
            result.record_step(shared.started.elapsed(), key.server, outcome.is_ok());
        }
        match outcome {
            // A failure is not counted here: the next get fails too, and is.
            Ok(None) => drop(shared.client.set(&key.name, &key.value).await),
            Ok(Some(_)) => {}
            Err(_) => tokio::time::sleep(PAUSE_AFTER_FAILURE).await,
        }
    }
}

const PAUSE_AFTER_FAILURE: Duration = Duration::from_millis(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeline_divides_the_time_into_equal_parts() {
        let mut result = LoadResult::default();
        for step in 0..10_u32 {
            result.record_step(STEP * step, 1, step < 5);
        }
        let line = result.timeline(1, 2);
        assert_eq!(line, [(true, false), (false, true)]);
        assert_eq!(result.timeline(0, 2), [(false, false), (false, false)]);
        assert_eq!(result.timeline(1, 20)[9..12], [(true, false), (false, true), (false, true)]);
    }
}
