//! The workload of one client: the keys of each call, when to stop, and the counts and latencies of the results.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use hdrhistogram::Histogram;

use crate::items::{Item, Items};
use crate::scenario::Scenario;

/// Why a call is not counted.
#[derive(Debug)]
pub(crate) enum Fault {
    /// The result was wrong. A miss is wrong, because every key is stored.
    Wrong,
    /// The call returned an error.
    Failed(String),
}

/// The result of a call.
pub(crate) type CallResult = Result<(), Fault>;

/// The state that all callers of one client share.
#[derive(Debug)]
pub(crate) struct Workload {
    items: Items,
    /// The number of keys per call.
    batch: usize,
    /// `WARM_UP`, `STOP`, or n to record the latency of every n-th call of a caller.
    phase: AtomicU32,
    /// One counter per caller, so that counting is a plain store without contention.
    counts: Box<[Count]>,
    latencies: Mutex<Histogram<u64>>,
    faults: Mutex<Faults>,
}

/// A counter on a separate cache line.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Count(AtomicU64);

/// The faults of all callers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Faults {
    pub(crate) wrong: u64,
    pub(crate) failed: u64,
    pub(crate) first: Option<String>,
}

impl Workload {
    /// Creates a workload for a number of callers, with `batch` keys per call.
    pub(crate) fn new(scenario: &Scenario, workers: usize, batch: usize) -> Self {
        Self {
            items: Items::new(scenario),
            batch,
            phase: AtomicU32::new(WARM_UP),
            counts: (0..workers).map(|_| Count::default()).collect(),
            latencies: Mutex::new(
                Histogram::new_with_max(MAX_LATENCY, SIGNIFICANT_DIGITS).expect("the bounds are valid"),
            ),
            faults: Mutex::new(Faults::default()),
        }
    }

    /// Returns the number of keys with a correct result.
    pub(crate) fn ops(&self) -> u64 {
        self.counts.iter().map(|count| count.0.load(Ordering::Relaxed)).sum()
    }

    /// Returns whether a latency or a fault was recorded.
    pub(crate) fn has_result(&self) -> bool {
        let timed = !self.latencies.lock().unwrap_or_else(PoisonError::into_inner).is_empty();
        timed || self.faults.lock().unwrap_or_else(PoisonError::into_inner).first.is_some()
    }

    /// Ends the warm-up: from now on the latency of every `nth` call of a caller is recorded.
    pub(crate) fn measure(&self, nth: u32) {
        self.phase.store(nth.clamp(1, STOP - 1), Ordering::Relaxed);
    }

    /// Stops every caller after its current call.
    pub(crate) fn stop(&self) {
        self.phase.store(STOP, Ordering::Relaxed);
    }

    /// Returns a quantile of the latency, in microseconds.
    pub(crate) fn latency(&self, fraction: f64) -> f64 {
        let latencies = self.latencies.lock().unwrap_or_else(PoisonError::into_inner);
        latencies.value_at_quantile(fraction) as f64 / 1_000.0
    }

    pub(crate) fn faults(&self) -> Faults {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn record_latency(&self, start: Instant) {
        let nanos = u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let mut latencies = self.latencies.lock().unwrap_or_else(PoisonError::into_inner);
        latencies.saturating_record(nanos);
    }

    fn record_fault(&self, fault: Fault) {
        let mut faults = self.faults.lock().unwrap_or_else(PoisonError::into_inner);
        let text = match fault {
            Fault::Wrong => {
                faults.wrong += 1;
                "wrong result".to_owned()
            }
            Fault::Failed(text) => {
                faults.failed += 1;
                text
            }
        };
        faults.first.get_or_insert(text);
    }
}

/// Returns the workers of a workload, one per caller.
pub(crate) fn workers(workload: &Arc<Workload>) -> impl Iterator<Item = Worker> + use<> {
    let workload = Arc::clone(workload);
    (0..workload.counts.len()).map(move |number| Worker::new(Arc::clone(&workload), number))
}

/// The part of the workload that one caller runs.
#[derive(Debug)]
pub(crate) struct Worker {
    workload: Arc<Workload>,
    number: usize,
    next: usize,
    until_timed: u32,
    ops: u64,
    consecutive_faults: u32,
}

/// A call that has started.
#[derive(Debug)]
pub(crate) struct Call {
    from: usize,
    /// Set if the latency of this call is recorded.
    start: Option<Instant>,
}

impl Worker {
    fn new(workload: Arc<Workload>, number: usize) -> Self {
        let next = number * WORKER_STRIDE % workload.items.len();
        Self { workload, number, next, until_timed: 1, ops: 0, consecutive_faults: 0 }
    }

    /// Starts the next call, or returns `None` if the workload has ended.
    pub(crate) fn begin(&mut self) -> Option<Call> {
        let phase = self.workload.phase.load(Ordering::Relaxed);
        if phase == STOP || self.consecutive_faults == MAX_CONSECUTIVE_FAULTS {
            return None;
        }
        let from = self.next;
        self.next = (from + CALL_STRIDE) % self.workload.items.len();
        Some(Call { from, start: self.is_timed(phase).then(Instant::now) })
    }

    /// Returns the items of a call.
    pub(crate) fn items(&self, call: &Call) -> &[Item] {
        self.workload.items.window(call.from, self.workload.batch)
    }

    /// Ends a call.
    pub(crate) fn end(&mut self, call: &Call, result: CallResult) {
        match result {
            Ok(()) => self.count(call),
            Err(fault) => {
                self.consecutive_faults += 1;
                self.workload.record_fault(fault);
            }
        }
    }

    fn count(&mut self, call: &Call) {
        self.consecutive_faults = 0;
        self.ops += self.workload.batch as u64;
        self.workload.counts[self.number].0.store(self.ops, Ordering::Relaxed);
        if let Some(start) = call.start {
            self.workload.record_latency(start);
        }
    }

    /// Returns whether this call is timed. Only every n-th is, because reading the clock takes a tenth of the time of
    /// the fastest calls.
    fn is_timed(&mut self, phase: u32) -> bool {
        if phase == WARM_UP {
            return false;
        }
        self.until_timed = self.until_timed.saturating_sub(1);
        let timed = self.until_timed == 0;
        if timed {
            self.until_timed = phase;
        }
        timed
    }
}

const WARM_UP: u32 = 0;
const STOP: u32 = u32::MAX;
const SIGNIFICANT_DIGITS: u8 = 3;
/// In nanoseconds; longer latencies are recorded as this one. Fixed, so that recording never allocates.
const MAX_LATENCY: u64 = 60_000_000_000;
/// A caller without a connection must not spin on its error until the end.
const MAX_CONSECUTIVE_FAULTS: u32 = 100;
/// Prime numbers, so that callers start far apart and each visits every key.
const WORKER_STRIDE: usize = 104_729;
const CALL_STRIDE: usize = 7_919;

#[cfg(test)]
mod tests {
    use super::*;

    fn workload(id: &str) -> Arc<Workload> {
        let scenario = Scenario::by_id(id).unwrap();
        Arc::new(Workload::new(scenario, scenario.callers, scenario.batch))
    }

    #[test]
    fn only_correct_results_are_counted() {
        let workload = workload("many-100");
        let mut worker = workers(&workload).next().unwrap();
        let results = [Ok(()), Err(Fault::Wrong), Err(Fault::Failed("disconnected".into())), Ok(())];
        for result in results {
            let call = worker.begin().unwrap();
            assert_eq!(worker.items(&call).len(), 100);
            worker.end(&call, result);
        }
        assert_eq!(workload.ops(), 200);
        assert!(workload.has_result(), "a fault is a result");
        let faults = workload.faults();
        assert_eq!((faults.wrong, faults.failed), (1, 1));
        assert_eq!(faults.first.as_deref(), Some("wrong result"));
    }

    #[test]
    fn after_the_warm_up_every_nth_latency_is_recorded() {
        let workload = workload("get-1");
        let mut worker = workers(&workload).next().unwrap();
        let mut run = |calls: usize| {
            for _ in 0..calls {
                let call = worker.begin().unwrap();
                worker.end(&call, Ok(()));
            }
        };
        run(10);
        assert_eq!(workload.latencies.lock().unwrap().len(), 0);
        assert!(!workload.has_result());
        workload.measure(5);
        run(10);
        assert_eq!(workload.latencies.lock().unwrap().len(), 2);
        assert!(workload.has_result());
    }

    #[test]
    fn a_latency_is_in_microseconds() {
        let workload = workload("get-1");
        workload.record_latency(Instant::now() - std::time::Duration::from_secs(2));
        let reached = workload.latency(0.5);
        assert!((1_990_000.0..60_000_000.0).contains(&reached), "{reached}");
    }

    #[test]
    fn a_worker_ends_on_stop_and_after_consecutive_faults() {
        let workload = workload("get-16");
        let mut workers = workers(&workload);
        let mut broken = workers.next().unwrap();
        let mut calls = 0;
        while let Some(call) = broken.begin() {
            broken.end(&call, Err(Fault::Wrong));
            calls += 1;
        }
        assert_eq!(calls, MAX_CONSECUTIVE_FAULTS);
        let mut other = workers.next().unwrap();
        assert!(other.begin().is_some());
        workload.stop();
        assert!(other.begin().is_none());
    }

    #[test]
    fn a_worker_visits_every_key_before_it_repeats_one() {
        let workload = workload("get-1m-4");
        let mut worker = workers(&workload).nth(3).unwrap();
        let mut seen = std::collections::HashSet::new();
        for _ in 0..100 {
            let call = worker.begin().unwrap();
            assert!(seen.insert(worker.items(&call)[0].key().to_owned()));
        }
    }
}
