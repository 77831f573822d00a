//! Results of writes, as lines or as records, counted for the exit code.

use remcache::{Error, WriteOutcome};

use crate::exit::{Failure, words};
use crate::outcome_counts::OutcomeCounts;
use crate::output::{Layout, Output, Record, Records, TextStyle, number, text};

/// The fields of a write's record.
pub(super) const COLUMNS: &[&str] = &["key", "key_b64", "status", "cas", "error"];

/// Returns the outcome of a write as a word; `applied` is the word for success.
pub(super) fn word(outcome: WriteOutcome, applied: &'static str) -> &'static str {
    match outcome {
        WriteOutcome::Applied(_) => applied,
        WriteOutcome::NotFound => "missing",
        WriteOutcome::Exists => "exists",
        WriteOutcome::NotStored => "not stored",
    }
}

/// Returns the record of a write.
pub(super) fn record(key: &[u8], result: &Result<WriteOutcome, Error>, applied: &'static str) -> Record {
    let record = Record::new().with_bytes("key", key);
    match result {
        Ok(outcome) => {
            let cas = outcome.cas().filter(|&cas| cas != 0);
            record.with("status", word(*outcome, applied)).with_some("cas", cas)
        }
        Err(error) => record.with("status", "failed").with("error", words(error)),
    }
}

/// The report of many writes.
pub(super) struct WriteResults<'o> {
    applied: &'static str,
    pub(super) counts: OutcomeCounts,
    sink: Sink<'o>,
}

enum Sink<'o> {
    /// Lines for people.
    Lines(&'o mut Output),
    /// A summary only.
    Summary(&'o mut Output),
    Records(Records<'o>),
}

impl<'o> WriteResults<'o> {
    /// Begins the report of `count` writes; `None` if their number is unknown.
    pub(super) fn begin(count: Option<usize>, applied: &'static str, output: &'o mut Output) -> Result<Self, Failure> {
        let sink = match output.layout() {
            Layout::Text if count.is_some_and(|count| count <= MAX_LINES) => Sink::Lines(output),
            Layout::Text | Layout::Raw => Sink::Summary(output),
            _ => Sink::Records(output.records(COLUMNS)?),
        };
        Ok(Self { applied, counts: OutcomeCounts::default(), sink })
    }

    /// Adds the result of one write.
    pub(super) fn push(&mut self, key: &[u8], result: &Result<WriteOutcome, Error>) -> Result<(), Failure> {
        match result {
            Ok(outcome) => self.counts.answer(outcome.is_applied()),
            Err(error) => self.counts.key_error(key, error),
        }
        match &mut self.sink {
            Sink::Records(records) => records.push(record(key, result, self.applied))?,
            Sink::Lines(output) => {
                let (word, style) = match result {
                    Ok(outcome) if outcome.is_applied() => (word(*outcome, self.applied), TextStyle::Good),
                    Ok(outcome) => (word(*outcome, self.applied), TextStyle::Faint),
                    Err(_) => ("failed", TextStyle::Bad),
                };
                let word = output.paint().apply(style, word);
                output.line(format_args!("{}\t{word}", text::inline(key)))?;
            }
            Sink::Summary(_) => {}
        }
        Ok(())
    }

    /// Ends the report, with a summary for people, and returns the counted outcomes.
    pub(super) fn end(self) -> Result<OutcomeCounts, Failure> {
        let Self { applied, counts, sink } = self;
        match sink {
            Sink::Records(records) => records.end()?,
            Sink::Lines(output) | Sink::Summary(output) => {
                output.flush()?;
                let numbers = [counts.yes, counts.no, counts.failed()].map(number::exact);
                let [yes, no, failed] = numbers;
                output.notes().say(format_args!("{yes} {applied}, {no} not, {failed} failed"));
            }
        }
        Ok(counts)
    }
}

/// The most keys of which each gets a line of its own.
const MAX_LINES: usize = 100;
