//! What came back from a load: counts and latencies for each operation.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;
use remcache::Error;

use super::mix::{Mix, Operation};
use crate::exit::Exit;
use crate::tally::Tally;

/// What came back.
#[derive(Clone, Debug, Default)]
pub(crate) struct Recorder {
    /// By the place of the operation among all.
    verbs: [Option<Box<OpStats>>; Operation::ALL.len()],
    /// Errors that read alike, with what they mean and how many there were.
    errors: BTreeMap<String, (Exit, u64)>,
}

/// What came back from one operation.
#[derive(Clone, Debug)]
pub(crate) struct OpStats {
    /// Answers, whatever they say.
    pub(crate) answers: u64,
    /// Answers that say yes.
    pub(crate) hits: u64,
    /// What was not answered.
    pub(crate) errors: u64,
    /// Latencies of the answers, in nanoseconds.
    pub(crate) latency: Histogram<u64>,
}

/// Latencies are kept to three digits up to this.
const LONGEST: Duration = Duration::from_secs(600);

impl OpStats {
    fn new() -> Self {
        let longest = u64::try_from(LONGEST.as_nanos()).unwrap_or(u64::MAX);
        let latency = Histogram::new_with_bounds(1, longest, 3).expect("the bounds are in order");
        Self { answers: 0, hits: 0, errors: 0, latency }
    }

    /// The latency that so many percent of the answers kept.
    pub(crate) fn percentile(&self, percent: f64) -> Duration {
        Duration::from_nanos(self.latency.value_at_quantile(percent / 100.0))
    }

    /// The longest latency.
    pub(crate) fn longest(&self) -> Duration {
        Duration::from_nanos(self.latency.max())
    }

    fn add(&mut self, other: &Self) {
        self.answers += other.answers;
        self.hits += other.hits;
        self.errors += other.errors;
        // The bounds are the same everywhere, so nothing is refused.
        let _ = self.latency.add(&other.latency);
    }
}

impl Recorder {
    /// A recorder of a load, each of whose operations it knows: one that nothing came back from has a place too.
    pub(crate) fn of(mix: &Mix) -> Self {
        let mut recorder = Self::default();
        mix.verbs().for_each(|verb| recorder.verbs[verb as usize] = Some(Box::new(OpStats::new())));
        recorder
    }

    /// Takes the outcome of one operation.
    pub(crate) fn record(&mut self, verb: Operation, outcome: &Result<bool, Error>, latency: Duration) {
        let tallied = self.verbs[verb as usize].get_or_insert_with(|| Box::new(OpStats::new()));
        match outcome {
            Ok(hit) => {
                tallied.answers += 1;
                tallied.hits += u64::from(*hit);
                tallied.latency.saturating_record(u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX));
            }
            Err(error) => {
                tallied.errors += 1;
                self.errors.entry(error.to_string()).or_insert_with(|| (Exit::of(error), 0)).1 += 1;
            }
        }
    }

    /// Adds what another recorder heard.
    pub(crate) fn add(&mut self, other: &Self) {
        for (sum, tallied) in self.verbs.iter_mut().zip(&other.verbs) {
            if let Some(tallied) = tallied {
                sum.get_or_insert_with(|| Box::new(OpStats::new())).add(tallied);
            }
        }
        for (message, (exit, count)) in &other.errors {
            self.errors.entry(message.clone()).or_insert((*exit, 0)).1 += count;
        }
    }

    /// The operations, each with what came back.
    pub(crate) fn verbs(&self) -> impl Iterator<Item = (Operation, &OpStats)> {
        let verbs = Operation::ALL.iter().zip(&self.verbs);
        verbs.filter_map(|((verb, _), tallied)| Some((*verb, &**tallied.as_ref()?)))
    }

    /// What came back from one operation; `None` is all together.
    pub(crate) fn tallied(&self, verb: Option<Operation>) -> OpStats {
        let mut sum = OpStats::new();
        let chosen = self.verbs().filter(|(known, _)| verb.is_none_or(|verb| verb == *known));
        chosen.for_each(|(_, tallied)| sum.add(tallied));
        sum
    }

    /// Hits of the operations that may miss, and how many of these there were.
    pub(crate) fn hits(&self, verb: Option<Operation>) -> (u64, u64) {
        let chosen = self.verbs().filter(|(known, _)| known.has_hits() && verb.is_none_or(|verb| verb == *known));
        chosen.fold((0, 0), |(hits, answers), (_, tallied)| (hits + tallied.hits, answers + tallied.answers))
    }

    /// The outcomes, for the exit code: a miss is as good as a hit here.
    pub(crate) fn tally(&self) -> Tally {
        let mut tally = Tally::default();
        tally.yes = self.verbs().map(|(_, tallied)| tallied.answers).sum();
        for (message, (exit, count)) in &self.errors {
            tally.failures(message, *exit, *count);
        }
        tally
    }
}
