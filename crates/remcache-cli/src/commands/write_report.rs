//! Results of writes, as lines or as records, counted for the exit code.

use remcache::{Error, WriteOutcome};

use crate::exit::{Failure, words};
use crate::output::{Layout, Output, Record, Records, TextStyle, number, text};
use crate::tally::Tally;

/// The fields of a change's record.
pub(super) const COLUMNS: &[&str] = &["key", "key_b64", "status", "cas", "error"];

/// The outcome of a change as a word; `made` is the word for success.
pub(super) fn word(change: WriteOutcome, made: &'static str) -> &'static str {
    match change {
        WriteOutcome::Applied(_) => made,
        WriteOutcome::NotFound => "missing",
        WriteOutcome::Exists => "exists",
        WriteOutcome::NotStored => "not stored",
    }
}

/// The record of a change.
pub(super) fn record(key: &[u8], changed: &Result<WriteOutcome, Error>, made: &'static str) -> Record {
    let record = Record::new().with_bytes("key", key);
    match changed {
        Ok(change) => {
            let cas = change.cas().filter(|&cas| cas != 0);
            record.with("status", word(*change, made)).with_some("cas", cas)
        }
        Err(error) => record.with("status", "failed").with("error", words(error)),
    }
}

/// The output of many changes.
pub(super) struct Changes<'o> {
    made: &'static str,
    pub(super) tally: Tally,
    sink: Sink<'o>,
}

enum Sink<'o> {
    /// Lines for people.
    Lines(&'o mut Output),
    /// A summary only.
    Summary(&'o mut Output),
    Records(Records<'o>),
}

impl<'o> Changes<'o> {
    /// Starts counting `count` changes; `None` for many.
    pub(super) fn begin(count: Option<usize>, made: &'static str, output: &'o mut Output) -> Result<Self, Failure> {
        let sink = match output.layout() {
            Layout::Text if count.is_some_and(|count| count <= MAX_LINES) => Sink::Lines(output),
            Layout::Text | Layout::Raw => Sink::Summary(output),
            _ => Sink::Records(output.records(COLUMNS)?),
        };
        Ok(Self { made, tally: Tally::default(), sink })
    }

    /// Records the outcome of one change.
    pub(super) fn push(&mut self, key: &[u8], changed: &Result<WriteOutcome, Error>) -> Result<(), Failure> {
        match changed {
            Ok(change) => self.tally.answer(change.is_applied()),
            Err(error) => self.tally.error(error),
        }
        match (&mut self.sink, changed) {
            (Sink::Records(records), _) => records.push(record(key, changed, self.made))?,
            (Sink::Lines(output), Ok(change)) => {
                let style = if change.is_applied() { TextStyle::Good } else { TextStyle::Faint };
                let word = output.paint().apply(style, word(*change, self.made));
                output.line(format_args!("{}\t{word}", text::inline(key)))?;
            }
            _ => {}
        }
        Ok(())
    }

    /// Ends, with a summary for people; gives the outcomes.
    pub(super) fn end(self) -> Result<Tally, Failure> {
        let Self { made, tally, sink } = self;
        match sink {
            Sink::Records(records) => records.end()?,
            Sink::Lines(output) | Sink::Summary(output) => {
                output.flush()?;
                let numbers = [tally.yes, tally.no, tally.failed()].map(number::exact);
                let [yes, no, failed] = numbers;
                output.notes().say(format_args!("{yes} {made}, {no} not, {failed} failed"));
            }
        }
        Ok(tally)
    }
}

/// With more keys than this a line for each is no help.
const MAX_LINES: usize = 100;
