//! The course that the callers of one contestant run: what to ask next, when to stop, and what is counted on the way.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use hdrhistogram::Histogram;

use crate::samples::{Sample, Samples};
use crate::scenario::Scenario;

/// Why a turn earned nothing.
#[derive(Debug)]
pub(crate) enum Fault {
    /// An answer arrived and was not the right one: a miss counts too, as every key is there.
    Wrong,
    /// No answer, but an error.
    Failed(String),
}

/// What a turn ended in.
pub(crate) type Answer = Result<(), Fault>;

/// What all callers of one contestant share.
#[derive(Debug)]
pub(crate) struct Course {
    samples: Samples,
    /// Keys asked for in a turn.
    batch: usize,
    /// `WARM_UP`, `STOP`, or n: the latency of every n-th turn of a caller is recorded.
    pace: AtomicU32,
    /// One for each caller, so that counting costs a store and no contention.
    counts: Box<[Count]>,
    latencies: Mutex<Histogram<u64>>,
    faults: Mutex<Faults>,
}

/// A counter on a cache line of its own.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Count(AtomicU64);

/// What went wrong since the measured part began.
#[derive(Clone, Debug, Default)]
pub(crate) struct Faults {
    pub(crate) wrong: u64,
    pub(crate) failed: u64,
    pub(crate) first: Option<String>,
}

impl Course {
    /// A course on which `lanes` callers take `batch` keys a turn.
    pub(crate) fn new(scenario: &Scenario, lanes: usize, batch: usize) -> Self {
        Self {
            samples: Samples::of(scenario),
            batch,
            pace: AtomicU32::new(WARM_UP),
            counts: (0..lanes).map(|_| Count::default()).collect(),
            latencies: Mutex::new(
                Histogram::new_with_max(MAX_LATENCY, SIGNIFICANT_DIGITS).expect("the bounds are valid"),
            ),
            faults: Mutex::new(Faults::default()),
        }
    }

    /// The right answers so far, in keys.
    pub(crate) fn ops(&self) -> u64 {
        self.counts.iter().map(|count| count.0.load(Ordering::Relaxed)).sum()
    }

    /// Whether a latency has been recorded, or a fault: there is something to tell.
    pub(crate) fn has_an_outcome(&self) -> bool {
        let timed = !self.latencies.lock().unwrap_or_else(PoisonError::into_inner).is_empty();
        timed || self.faults.lock().unwrap_or_else(PoisonError::into_inner).first.is_some()
    }

    /// Begins the measured part: from here the latency of every `nth` turn of a caller is recorded.
    pub(crate) fn measure(&self, nth: u32) {
        self.pace.store(nth.clamp(1, STOP - 1), Ordering::Relaxed);
    }

    /// Lets every caller finish its turn and end.
    pub(crate) fn stop(&self) {
        self.pace.store(STOP, Ordering::Relaxed);
    }

    /// A latency that `fraction` of the turns did not exceed, in microseconds.
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
                "a wrong answer".to_owned()
            }
            Fault::Failed(text) => {
                faults.failed += 1;
                text
            }
        };
        faults.first.get_or_insert(text);
    }
}

/// The lanes of a course, one for each caller.
pub(crate) fn lanes(course: &Arc<Course>) -> impl Iterator<Item = Lane> + use<> {
    let course = Arc::clone(course);
    (0..course.counts.len()).map(move |number| Lane::new(Arc::clone(&course), number))
}

/// One caller's way along the course.
#[derive(Debug)]
pub(crate) struct Lane {
    course: Arc<Course>,
    number: usize,
    next: usize,
    until_timed: u32,
    ops: u64,
    faults_in_a_row: u32,
}

/// A turn that has begun.
#[derive(Debug)]
pub(crate) struct Turn {
    from: usize,
    /// Set when this turn's latency is recorded.
    start: Option<Instant>,
}

impl Lane {
    fn new(course: Arc<Course>, number: usize) -> Self {
        let next = number * LANE_STRIDE % course.samples.len();
        Self { course, number, next, until_timed: 1, ops: 0, faults_in_a_row: 0 }
    }

    /// Begins the next turn, unless the course is over.
    pub(crate) fn begin(&mut self) -> Option<Turn> {
        let pace = self.course.pace.load(Ordering::Relaxed);
        if pace == STOP || self.faults_in_a_row == FAULTS_TO_GIVE_UP {
            return None;
        }
        let from = self.next;
        self.next = (from + TURN_STRIDE) % self.course.samples.len();
        Some(Turn { from, start: self.is_timed(pace).then(Instant::now) })
    }

    /// What to ask for in this turn.
    pub(crate) fn samples(&self, turn: &Turn) -> &[Sample] {
        self.course.samples.window(turn.from, self.course.batch)
    }

    /// Ends a turn with its answer.
    pub(crate) fn end(&mut self, turn: &Turn, answer: Answer) {
        match answer {
            Ok(()) => self.credit(turn),
            Err(fault) => {
                self.faults_in_a_row += 1;
                self.course.record_fault(fault);
            }
        }
    }

    fn credit(&mut self, turn: &Turn) {
        self.faults_in_a_row = 0;
        self.ops += self.course.batch as u64;
        self.course.counts[self.number].0.store(self.ops, Ordering::Relaxed);
        if let Some(start) = turn.start {
            self.course.record_latency(start);
        }
    }

    /// Reading the clock costs a tenth of the fastest turns, hence only every n-th is timed.
    fn is_timed(&mut self, pace: u32) -> bool {
        if pace == WARM_UP {
            return false;
        }
        self.until_timed = self.until_timed.saturating_sub(1);
        let timed = self.until_timed == 0;
        if timed {
            self.until_timed = pace;
        }
        timed
    }
}

const WARM_UP: u32 = 0;
const STOP: u32 = u32::MAX;
const SIGNIFICANT_DIGITS: u8 = 3;
/// In nanoseconds; what takes longer counts as this long. Fixed, so that recording never allocates.
const MAX_LATENCY: u64 = 60_000_000_000;
/// A caller whose connection is gone must not spin on its error until the end.
const FAULTS_TO_GIVE_UP: u32 = 100;
/// Primes, so that callers begin far apart and each comes by every key.
const LANE_STRIDE: usize = 104_729;
const TURN_STRIDE: usize = 7_919;

#[cfg(test)]
mod tests {
    use super::*;

    fn course(id: &str) -> Arc<Course> {
        let scenario = Scenario::by_id(id).unwrap();
        Arc::new(Course::new(scenario, scenario.callers, scenario.batch))
    }

    #[test]
    fn only_right_answers_are_credited() {
        let course = course("many-100");
        let mut lane = lanes(&course).next().unwrap();
        let answers = [Ok(()), Err(Fault::Wrong), Err(Fault::Failed("gone".into())), Ok(())];
        for answer in answers {
            let turn = lane.begin().unwrap();
            assert_eq!(lane.samples(&turn).len(), 100);
            lane.end(&turn, answer);
        }
        assert_eq!(course.ops(), 200);
        assert!(course.has_an_outcome(), "a fault is one");
        let faults = course.faults();
        assert_eq!((faults.wrong, faults.failed), (1, 1));
        assert_eq!(faults.first.as_deref(), Some("a wrong answer"));
    }

    #[test]
    fn latencies_are_recorded_in_the_measured_part_only_and_every_nth() {
        let course = course("get-1");
        let mut lane = lanes(&course).next().unwrap();
        let mut run = |turns: usize| {
            for _ in 0..turns {
                let turn = lane.begin().unwrap();
                lane.end(&turn, Ok(()));
            }
        };
        run(10);
        assert_eq!(course.latencies.lock().unwrap().len(), 0);
        assert!(!course.has_an_outcome());
        course.measure(5);
        run(10);
        assert_eq!(course.latencies.lock().unwrap().len(), 2);
        assert!(course.has_an_outcome());
    }

    #[test]
    fn a_latency_is_told_in_microseconds() {
        let course = course("get-1");
        course.record_latency(Instant::now() - std::time::Duration::from_secs(2));
        let reached = course.latency(0.5);
        assert!((1_990_000.0..60_000_000.0).contains(&reached), "{reached}");
    }

    #[test]
    fn a_lane_ends_on_stop_and_after_many_faults_in_a_row() {
        let course = course("get-16");
        let mut lanes = lanes(&course);
        let mut broken = lanes.next().unwrap();
        let mut turns = 0;
        while let Some(turn) = broken.begin() {
            broken.end(&turn, Err(Fault::Wrong));
            turns += 1;
        }
        assert_eq!(turns, FAULTS_TO_GIVE_UP);
        let mut sound = lanes.next().unwrap();
        assert!(sound.begin().is_some());
        course.stop();
        assert!(sound.begin().is_none());
    }

    #[test]
    fn a_lane_comes_by_every_key_before_it_repeats_one() {
        let course = course("get-1m-4");
        let mut lane = lanes(&course).nth(3).unwrap();
        let mut seen = std::collections::HashSet::new();
        for _ in 0..100 {
            let turn = lane.begin().unwrap();
            assert!(seen.insert(lane.samples(&turn)[0].key().to_owned()));
        }
    }
}
