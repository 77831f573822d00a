//! Makes a load: so many callers that wait for their answers, or so many operations a second
//! whatever the answers do.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use remcache::Client;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::alarm::Alarm;
use super::popularity::KeyPicker;
use super::recorder::Recorder;
use super::workload::{Step, Values, Workload};

/// How fast a load comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LoadModel {
    /// So many callers, each of which waits for its answer before it asks again.
    Closed(usize),
    /// So many operations a second. Latency counts from the planned time of an operation, so a
    /// server that stalls is charged for all that would have been asked meanwhile.
    Open(u64),
}

/// A load at work.
#[derive(Debug)]
pub(crate) struct LoadRun {
    shared: Arc<RunState>,
    begun: Instant,
    tasks: JoinSet<()>,
}

#[derive(Debug)]
struct RunState {
    client: Client,
    workload: Workload,
    keys: KeyPicker,
    values: Values,
    /// One for each thread, so that callers seldom meet in a lock.
    recorders: Vec<Mutex<Recorder>>,
    done: AtomicU64,
    ends: Instant,
    is_stopped: AtomicBool,
}

impl LoadRun {
    /// Begins a load that lasts so long, on so many threads of the current runtime.
    pub(crate) fn begin(client: &Client, workload: &Workload, pace: LoadModel, time: Duration, threads: usize) -> Self {
        let begun = Instant::now();
        let shared = Arc::new(RunState {
            client: client.clone(),
            workload: workload.clone(),
            keys: KeyPicker::new(workload.popularity, workload.keys),
            values: Values::new(workload.sizes),
            recorders: std::iter::repeat_with(Mutex::default).take(threads.max(1)).collect(),
            done: AtomicU64::new(0),
            ends: begun + time,
            is_stopped: AtomicBool::new(false),
        });
        let mut tasks = JoinSet::new();
        match pace {
            LoadModel::Closed(callers) => {
                for caller in 0..callers {
                    tasks.spawn(call(Arc::clone(&shared), caller));
                }
            }
            LoadModel::Open(rate) => {
                tasks.spawn(dispatch(Arc::clone(&shared), begun, rate));
            }
        }
        Self { shared, begun, tasks }
    }

    /// How many operations have ended.
    pub(crate) fn done(&self) -> u64 {
        self.shared.done.load(Ordering::Relaxed)
    }

    /// Since when it is at work.
    pub(crate) fn elapsed(&self) -> Duration {
        self.begun.elapsed()
    }

    /// Ends it before its time.
    pub(crate) fn stop(&self) {
        self.shared.is_stopped.store(true, Ordering::Relaxed);
    }

    /// Waits until the last answer has come.
    ///
    /// # Cancellation
    /// It can be waited for again.
    pub(crate) async fn ended(&mut self) {
        while self.tasks.join_next().await.is_some() {}
    }

    /// What came back, and how long that took. Call it when the load has ended.
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
        let verb = self.workload.mix.pick(random);
        let size = if verb.stores() { self.workload.sizes.pick(random) } else { 0 };
        Step { verb, key: self.keys.pick(random), size }
    }

    /// Asks for one operation, whose latency counts from `since`; when it ended, and whether well.
    async fn ask(&self, step: Step, since: Instant, place: usize) -> (Instant, bool) {
        let outcome = self.workload.ask(&self.client, &self.values, step).await;
        let now = Instant::now();
        let recorder = &self.recorders[place % self.recorders.len()];
        let mut recorder = recorder.lock().unwrap_or_else(PoisonError::into_inner);
        recorder.record(step.verb, &outcome, now.saturating_duration_since(since));
        self.done.fetch_add(1, Ordering::Relaxed);
        (now, outcome.is_ok())
    }
}

/// One caller of a closed load.
async fn call(shared: Arc<RunState>, caller: usize) {
    let mut random = fastrand::Rng::new();
    let mut now = Instant::now();
    // Each caller asks once, however late a busy machine lets it begin: a load of nothing tells nothing.
    loop {
        let step = shared.pick(&mut random);
        let (ended, is_well) = shared.ask(step, now, caller).await;
        now = ended;
        if !is_well {
            // A server that is down fails at once: without a pause nobody else would run.
            tokio::time::sleep(PAUSE_AFTER_FAILURE).await;
            now = Instant::now();
        }
        if shared.is_over(now) {
            break;
        }
    }
}

/// The clock of an open load: starts each operation at its planned time.
async fn dispatch(shared: Arc<RunState>, begun: Instant, rate: u64) {
    // Without a thread for it the timer of the runtime and yielding have to do.
    let alarm = Alarm::start().ok();
    let mut random = fastrand::Rng::new();
    let room = Arc::new(Semaphore::new(MOST_UNANSWERED as usize));
    for number in 0_u64.. {
        let planned = begun + planned_after(number, rate);
        if shared.is_over(planned) {
            break;
        }
        wait_until(planned, number, alarm.as_ref()).await;
        let Ok(place) = Arc::clone(&room).acquire_owned().await else { break };
        // The room may have come late; what is not begun when the time is up was not asked, but the first.
        if number > 0 && shared.is_over(Instant::now()) {
            break;
        }
        let step = shared.pick(&mut random);
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            shared.ask(step, planned, number as usize).await;
            drop(place);
        });
    }
    // All places are free when the last answer has come.
    let _ = room.acquire_many(MOST_UNANSWERED).await;
}

fn planned_after(number: u64, rate: u64) -> Duration {
    let nanos = u128::from(number) * 1_000_000_000 / u128::from(rate);
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

/// Waits until the planned time of an operation, to the microsecond.
///
/// The timers sleep until shortly before; only the rest is spent yielding, which takes the whole core.
async fn wait_until(planned: Instant, number: u64, alarm: Option<&Alarm>) {
    // An operation that is late starts at once, but other tasks still have to run.
    if number % TURN == TURN - 1 {
        tokio::task::yield_now().await;
    }
    loop {
        let left = planned.saturating_duration_since(Instant::now());
        match (left, alarm) {
            (Duration::ZERO, _) => return,
            (left, _) if left > TIMER_STEP * 2 => tokio::time::sleep(left - TIMER_STEP).await,
            (left, Some(alarm)) if left > WAKE_UP * 2 => alarm.wait_until(planned - WAKE_UP).await,
            _ => tokio::task::yield_now().await,
        }
    }
}

const PAUSE_AFTER_FAILURE: Duration = Duration::from_millis(1);
/// Resolution of the runtime's timer.
const TIMER_STEP: Duration = Duration::from_millis(1);
/// The time that two threads usually take to wake up one after the other.
const WAKE_UP: Duration = Duration::from_micros(40);
/// How many operations are begun in a row without giving way.
const TURN: u64 = 32;
/// How many operations of an open load may be unanswered: a bound on memory.
const MOST_UNANSWERED: u32 = 50_000;

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
