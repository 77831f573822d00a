//! Callers that keep asking while a server goes and comes back, and what each of them was told.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use remcache::client::Item;
use remcache::{Client, Delivery, Error, ErrorKind};
use tokio::task::JoinSet;

/// Callers at work.
#[derive(Debug)]
pub(super) struct Crowd {
    shared: Arc<Shared>,
    callers: JoinSet<()>,
}

#[derive(Debug)]
struct Shared {
    client: Client,
    keys: Vec<Key>,
    begun: Instant,
    is_over: AtomicBool,
    asked: AtomicU64,
    heard: Mutex<Heard>,
}

/// A key, its value, and the place of its server.
#[derive(Debug)]
struct Key {
    name: String,
    value: String,
    server: usize,
}

/// What the callers were told, all together.
#[derive(Clone, Debug, Default)]
pub(super) struct Heard {
    pub(super) asked: u64,
    pub(super) answered: u64,
    /// Failed, and was not sent.
    pub(super) not_sent: u64,
    /// Failed, and may have been executed.
    pub(super) maybe_sent: u64,
    pub(super) other_errors: u64,
    /// Answered with the value of another key.
    pub(super) wrong: u64,
    /// For each step of time: for each server, whether it answered and whether it failed.
    steps: Vec<Vec<(bool, bool)>>,
}

/// How finely time is divided.
const STEP: Duration = Duration::from_millis(5);

impl Crowd {
    /// So many callers begin to ask for these keys, which get their values first.
    pub(super) async fn gather(client: &Client, callers: usize, keys: usize) -> Result<Self, Error> {
        let servers = client.servers();
        let place = |name: &str| servers.iter().position(|server| server.name() == name).unwrap_or_default();
        let mut list = Vec::with_capacity(keys);
        for number in 0..keys {
            let name = format!("crowd:{number}");
            let server = client.locate(&name)?.map_or(0, |server| place(server.name()));
            list.push(Key { value: format!("the value of {name}"), name, server });
        }
        client.set_many(list.iter().map(|key| (&key.name, key.value.clone()))).await;
        let shared = Arc::new(Shared {
            client: client.clone(),
            keys: list,
            begun: Instant::now(),
            is_over: AtomicBool::new(false),
            asked: AtomicU64::new(0),
            heard: Mutex::new(Heard { steps: Vec::new(), ..Heard::default() }),
        });
        let mut tasks = JoinSet::new();
        for _ in 0..callers {
            tasks.spawn(keep_asking(Arc::clone(&shared)));
        }
        Ok(Self { shared, callers: tasks })
    }

    /// How long they have been at it.
    pub(super) fn elapsed(&self) -> Duration {
        self.shared.begun.elapsed()
    }

    /// Ends the asking; waits until every caller has its last outcome.
    pub(super) async fn dismiss(mut self) -> Heard {
        self.shared.is_over.store(true, Ordering::Relaxed);
        while self.callers.join_next().await.is_some() {}
        let mut heard = self.shared.lock().clone();
        heard.asked = self.shared.asked.load(Ordering::Relaxed);
        heard
    }
}

impl Heard {
    /// How many calls ended, one way or another.
    pub(super) fn ended(&self) -> u64 {
        self.answered + self.not_sent + self.maybe_sent + self.other_errors + self.wrong
    }

    /// For each of `width` equal parts of the time: whether the server answered, and failed.
    pub(super) fn line(&self, server: usize, width: usize) -> Vec<(bool, bool)> {
        let at = |part: usize| part * self.steps.len() / width;
        let part = |part: usize| {
            let steps = self.steps.get(at(part)..at(part + 1).max(at(part) + 1)).unwrap_or_default();
            let steps = steps.iter().filter_map(|servers| servers.get(server));
            steps.fold((false, false), |sum, step| (sum.0 | step.0, sum.1 | step.1))
        };
        (0..width).map(part).collect()
    }

    fn count(&mut self, outcome: &Result<Option<Item>, Error>, key: &Key) {
        match outcome {
            Ok(Some(item)) if item.value != key.value.as_bytes() => self.wrong += 1,
            Ok(_) => self.answered += 1,
            Err(error) => match error.kind() {
                ErrorKind::Disconnected(Delivery::NotSent) => self.not_sent += 1,
                ErrorKind::Disconnected(_) => self.maybe_sent += 1,
                _ => self.other_errors += 1,
            },
        }
    }

    fn mark(&mut self, elapsed: Duration, server: usize, is_answer: bool) {
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

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One caller: it asks, stores again what is missing, and asks again.
async fn keep_asking(shared: Arc<Shared>) {
    let mut random = fastrand::Rng::new();
    while !shared.is_over.load(Ordering::Relaxed) {
        let key = &shared.keys[random.usize(..shared.keys.len())];
        shared.asked.fetch_add(1, Ordering::Relaxed);
        let outcome = shared.client.get(&key.name).await;
        {
            let mut heard = shared.lock();
            heard.count(&outcome, key);
            heard.mark(shared.begun.elapsed(), key.server, outcome.is_ok());
        }
        match outcome {
            // What fails here fails again at the next get, and is counted there.
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
    fn time_is_divided_into_equal_parts() {
        let mut heard = Heard::default();
        for step in 0..10_u32 {
            heard.mark(STEP * step, 1, step < 5);
        }
        let line = heard.line(1, 2);
        assert_eq!(line, [(true, false), (false, true)]);
        assert_eq!(heard.line(0, 2), [(false, false), (false, false)]);
        assert_eq!(heard.line(1, 20)[9..12], [(true, false), (false, true), (false, true)]);
    }
}
