//! The results of a load: counts and latencies for each operation.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;
use remcache::Error;

use super::mix::{Mix, Operation};
use crate::exit::{Exit, words};
use crate::outcome_counts::OutcomeCounts;

/// The results of a load.
#[derive(Clone, Debug, Default)]
pub(crate) struct Recorder {
    /// Indexed by operation.
    operations: [Option<Box<OpStats>>; Operation::ALL.len()],
    /// The number of errors by message, with their exit code.
    errors: BTreeMap<String, (Exit, u64)>,
}

/// The results of one operation.
#[derive(Clone, Debug)]
pub(crate) struct OpStats {
    /// All answers.
    pub(crate) answers: u64,
    /// Answers other than a miss.
    pub(crate) hits: u64,
    /// Requests without an answer.
    pub(crate) errors: u64,
    /// Latencies of the answers, in nanoseconds.
    pub(crate) latency: Histogram<u64>,
}

/// The largest latency that is recorded with three digits.
const MAX_LATENCY: Duration = Duration::from_secs(600);

impl OpStats {
    fn new() -> Self {
        let longest = u64::try_from(MAX_LATENCY.as_nanos()).unwrap_or(u64::MAX);
        let latency = Histogram::new_with_bounds(1, longest, 3).expect("the bounds are in order");
        Self { answers: 0, hits: 0, errors: 0, latency }
    }

    /// Returns the latency that this percentage of the answers did not exceed.
    pub(crate) fn percentile(&self, percent: f64) -> Duration {
        Duration::from_nanos(self.latency.value_at_quantile(percent / 100.0))
    }

    /// Returns the longest latency.
    pub(crate) fn longest(&self) -> Duration {
        Duration::from_nanos(self.latency.max())
    }

    fn add(&mut self, other: &Self) {
        self.answers += other.answers;
        self.hits += other.hits;
        self.errors += other.errors;
        // All histograms have the same bounds, so this does not fail.
        let _ = self.latency.add(&other.latency);
    }
}

impl Recorder {
    /// Creates a recorder with an entry for each operation of the mix, even if it gets no results.
    pub(crate) fn of(mix: &Mix) -> Self {
        let mut recorder = Self::default();
        mix.operations().for_each(|operation| recorder.operations[operation as usize] = Some(Box::new(OpStats::new())));
        recorder
    }

    /// Records the outcome of one operation.
    pub(crate) fn record(&mut self, operation: Operation, outcome: &Result<bool, Error>, latency: Duration) {
        let stats = self.operations[operation as usize].get_or_insert_with(|| Box::new(OpStats::new()));
        match outcome {
            Ok(hit) => {
                stats.answers += 1;
                stats.hits += u64::from(*hit);
                stats.latency.saturating_record(u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX));
            }
            Err(error) => {
                stats.errors += 1;
                self.errors.entry(words(error)).or_insert_with(|| (Exit::of(error), 0)).1 += 1;
            }
        }
    }

    /// Adds the results of another recorder.
    pub(crate) fn add(&mut self, other: &Self) {
        for (sum, stats) in self.operations.iter_mut().zip(&other.operations) {
            if let Some(stats) = stats {
                sum.get_or_insert_with(|| Box::new(OpStats::new())).add(stats);
            }
        }
        for (message, (exit, count)) in &other.errors {
            self.errors.entry(message.clone()).or_insert((*exit, 0)).1 += count;
        }
    }

    /// Returns the operations with their results.
    pub(crate) fn operations(&self) -> impl Iterator<Item = (Operation, &OpStats)> {
        let operations = Operation::ALL.iter().zip(&self.operations);
        operations.filter_map(|((operation, _), stats)| Some((*operation, &**stats.as_ref()?)))
    }

    /// Returns the results of one operation, or of all together.
    pub(crate) fn stats(&self, operation: Option<Operation>) -> OpStats {
        let mut sum = OpStats::new();
        let chosen = self.operations().filter(|(known, _)| operation.is_none_or(|operation| operation == *known));
        chosen.for_each(|(_, stats)| sum.add(stats));
        sum
    }

    /// Returns the hits and the answers of the operations that can miss.
    pub(crate) fn hits(&self, operation: Option<Operation>) -> (u64, u64) {
        let chosen = self
            .operations()
            .filter(|(known, _)| known.has_hits() && operation.is_none_or(|operation| operation == *known));
        chosen.fold((0, 0), |(hits, answers), (_, stats)| (hits + stats.hits, answers + stats.answers))
    }

    /// Returns the outcomes for the exit code, for which a miss is a success.
    pub(crate) fn counts(&self) -> OutcomeCounts {
        let mut counts = OutcomeCounts::default();
        counts.yes = self.operations().map(|(_, stats)| stats.answers).sum();
        for (message, (exit, count)) in &self.errors {
            counts.failures(message, *exit, *count);
        }
        counts
    }
}
