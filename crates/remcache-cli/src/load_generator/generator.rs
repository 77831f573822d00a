//! Generates a load: a number of callers that wait for their answers, or a rate of operations that does not depend on
//! the answers.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use remcache::Client;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::pacer::Pacer;
use super::popularity::KeyPicker;
use super::recorder::Recorder;
use super::workload::{Step, ValueBuffer, Workload};

/// The model of a load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LoadModel {
    /// A closed loop: this many callers, each of which waits for its answer before its next operation.
    Closed(usize),
    /// An open loop: this many operations per second. Latency counts from the planned time of an operation, so a
    /// stall of the server affects all operations that were planned during it (no coordinated omission).
    Open(u64),
}

/// A running load.
#[derive(Debug)]
pub(crate) struct LoadRun {
    shared: Arc<RunState>,
    started: Instant,
    tasks: JoinSet<()>,
}

#[derive(Debug)]
struct RunState {
    client: Client,
    workload: Workload,
    keys: KeyPicker,
    values: ValueBuffer,
    /// One for each thread, so that callers rarely compete for a lock.
    recorders: Vec<Mutex<Recorder>>,
    done: AtomicU64,
    ends: Instant,
    is_stopped: AtomicBool,
}

impl LoadRun {
    /// Starts a load for this time, on this many threads of the current runtime.
    pub(crate) fn start(
        client: &Client,
        workload: &Workload,
        model: LoadModel,
        time: Duration,
        threads: usize,
    ) -> Self {
        let started = Instant::now();
        let shared = Arc::new(RunState {
            client: client.clone(),
            workload: workload.clone(),
            keys: KeyPicker::new(workload.popularity, workload.keys),
            values: ValueBuffer::new(workload.sizes),
            recorders: std::iter::repeat_with(Mutex::default).take(threads.max(1)).collect(),
            done: AtomicU64::new(0),
            ends: started + time,
            is_stopped: AtomicBool::new(false),
        });
        let mut tasks = JoinSet::new();
        match model {
            LoadModel::Closed(callers) => {
                for caller in 0..callers {
                    tasks.spawn(call(Arc::clone(&shared), caller));
                }
            }
            LoadModel::Open(rate) => {
                tasks.spawn(dispatch(Arc::clone(&shared), started, rate));
            }
        }
        Self { shared, started, tasks }
    }

    /// Returns the number of finished operations.
    pub(crate) fn done(&self) -> u64 {
        self.shared.done.load(Ordering::Relaxed)
    }

    /// Returns the time since the start.
    pub(crate) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// Stops the load early.
    pub(crate) fn stop(&self) {
        self.shared.is_stopped.store(true, Ordering::Relaxed);
    }

    /// Waits for the last answer.
    ///
    /// # Cancel safety
    /// Dropping the future does not stop the load; it can be awaited again.
    pub(crate) async fn ended(&mut self) {
        while self.tasks.join_next().await.is_some() {}
    }

    /// Returns the results and the elapsed time, after the end of the load.
    pub(crate) fn result(&self) -> (Recorder, Duration) {
        let elapsed = self.elapsed();
        let mut sum = Recorder::of(&self.shared.workload.mix);
        for recorder in &self.shared.recorders {
            sum.add(&recorder.lock().unwrap_or_else(PoisonError::into_inner));
        }
        (sum, elapsed)
    }
}

impl RunState {
    fn is_over(&self, now: Instant) -> bool {
        now >= self.ends || self.is_stopped.load(Ordering::Relaxed)
    }

    fn pick(&self, random: &mut fastrand::Rng) -> Step {
        let operation = self.workload.mix.pick(random);
        let size = if operation.stores() { self.workload.sizes.pick(random) } else { 0 };
        Step { operation, key: self.keys.pick(random), size }
    }

    /// Executes one operation, whose latency counts from `since`; returns when it ended, and whether it succeeded.
    async fn execute(&self, step: Step, since: Instant, index: usize) -> (Instant, bool) {
        let outcome = self.workload.execute(&self.client, &self.values, step).await;
        let now = Instant::now();
        let recorder = &self.recorders[index % self.recorders.len()];
        let mut recorder = recorder.lock().unwrap_or_else(PoisonError::into_inner);
        recorder.record(step.operation, &outcome, now.saturating_duration_since(since));
        self.done.fetch_add(1, Ordering::Relaxed);
        (now, outcome.is_ok())
    }
}

/// Runs one caller of a closed loop.
async fn call(shared: Arc<RunState>, caller: usize) {
    let mut random = fastrand::Rng::new();
    let mut now = Instant::now();
    // Each caller executes one operation even if a busy machine starts it late: no result would be useless.
    loop {
        let step = shared.pick(&mut random);
        let (ended, succeeded) = shared.execute(step, now, caller).await;
        now = ended;
        if !succeeded {
            // A server that is down fails at once: without a pause no other task would run.
            tokio::time::sleep(PAUSE_AFTER_FAILURE).await;
            now = Instant::now();
        }
        if shared.is_over(now) {
            break;
        }
    }
}

/// Starts the operations of an open loop at their planned times.
async fn dispatch(shared: Arc<RunState>, started: Instant, rate: u64) {
    let mut random = fastrand::Rng::new();
    let permits = Arc::new(Semaphore::new(MAX_UNANSWERED as usize));
    let mut pacer = Pacer::new();
    for number in 0_u64.. {
        let planned = started + planned_after(number, rate);
        if shared.is_over(planned) {
            break;
        }
        if number % TURN == TURN - 1 {
            // Operations that are late start at once, but other tasks must run too.
            tokio::task::yield_now().await;
        }
        pacer.wait_until(planned).await;
        let Ok(permit) = Arc::clone(&permits).acquire_owned().await else { break };
        // After a wait for the permit the time may be up. The first operation is executed in any case.
        if number > 0 && shared.is_over(Instant::now()) {
            break;
        }
        let step = shared.pick(&mut random);
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            shared.execute(step, planned, number as usize).await;
            drop(permit);
        });
    }
    // All permits are free after the last answer.
    let _ = permits.acquire_many(MAX_UNANSWERED).await;
}

fn planned_after(number: u64, rate: u64) -> Duration {
    let nanos = u128::from(number) * 1_000_000_000 / u128::from(rate);
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

const PAUSE_AFTER_FAILURE: Duration = Duration::from_millis(1);
/// The number of operations that are started in a row before other tasks run.
const TURN: u64 = 32;
/// The maximum number of unanswered operations of an open loop, which bounds the memory.
const MAX_UNANSWERED: u32 = 50_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_are_planned_evenly() {
        for (number, rate, micros) in [(0, 1000, 0), (1, 1000, 1000), (3, 2, 1_500_000), (100_000, 100_000, 1_000_000)]
        {
            assert_eq!(planned_after(number, rate), Duration::from_micros(micros));
        }
    }
}
