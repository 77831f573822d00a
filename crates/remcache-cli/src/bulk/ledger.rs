//! What became of the items of a run: counted by reason, listed on request, told at the end.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::time::Instant;

use remcache::Error;

use super::losses::{LOSSES, Loss, Lost};
use crate::exit::{Exit, Failure};
use crate::load::per_second;
use crate::output::{Output, Record, number};
use crate::tally::Tally;

/// What became of the items so far.
#[derive(Debug)]
pub(crate) struct Ledger {
    begun: Instant,
    /// What was done to those that are not lost, in a word: `copied`.
    verb: &'static str,
    /// How many items were looked at, those that were not meant included.
    pub(crate) seen: u64,
    done: u64,
    bytes: u64,
    losses: [u64; LOSSES.len()],
    tally: Tally,
    list: Option<List>,
    /// Reasons that were chosen on the command line, and hence are no surprise.
    accepted: Vec<Loss>,
}

/// A file that lists what was left out.
#[derive(Debug)]
struct List {
    path: PathBuf,
    out: BufWriter<File>,
}

impl Ledger {
    /// An empty ledger; `list` is where to list what was left out.
    pub(crate) fn new(verb: &'static str, list: Option<&Path>) -> Result<Self, Failure> {
        let list = list.map(|path| match File::create(path) {
            Ok(file) => Ok(List { path: path.to_owned(), out: BufWriter::new(file) }),
            Err(error) => Err(Failure::file(path, error)),
        });
        Ok(Self {
            begun: Instant::now(),
            verb,
            seen: 0,
            done: 0,
            bytes: 0,
            losses: [0; LOSSES.len()],
            tally: Tally::default(),
            list: list.transpose()?,
            accepted: Vec::new(),
        })
    }

    /// With a reason that is none to complain about.
    pub(crate) fn accepting(mut self, loss: Option<Loss>) -> Self {
        self.accepted.extend(loss);
        self
    }

    /// Takes items that were done, with so many bytes of values.
    pub(crate) fn done(&mut self, items: u64, bytes: u64) {
        self.done += items;
        self.bytes += bytes;
    }

    /// Takes an item that was left out.
    pub(crate) fn lost(&mut self, key: &[u8], server: Option<&str>, lost: &Lost) -> Result<(), Failure> {
        self.losses[lost.loss.place()] += 1;
        if let (Loss::Failed, Some(error)) = (lost.loss, &lost.error) {
            self.tally.failures(&told(error, server), Exit::of(error), 1);
        }
        let Some(list) = &mut self.list else { return Ok(()) };
        let record = Record::new()
            .with_bytes("key", key)
            .with("reason", lost.loss.name())
            .with_some("server", server)
            .with_some("error", lost.error.as_ref().map(ToString::to_string));
        writeln!(list.out, "{record}").map_err(|error| Failure::file(&list.path, error))
    }

    /// Takes a server whose list failed.
    pub(crate) fn unlisted(&mut self, error: &Error) {
        self.tally.error(error);
    }

    /// How many items were done.
    pub(crate) fn count(&self) -> u64 {
        self.done
    }

    /// How many were left out for this reason.
    pub(crate) fn count_of(&self, loss: Loss) -> u64 {
        self.losses[loss.place()]
    }

    /// How many were looked at in a second, so far.
    pub(crate) fn rate(&self) -> f64 {
        per_second(self.seen, self.begun.elapsed())
    }

    /// Whether nothing is missing that could have been had: no server and no item failed.
    pub(crate) fn is_whole(&self) -> bool {
        self.tally.failed() == 0 && self.count_of(Loss::InvalidKey) == 0 && self.count_of(Loss::TooLarge) == 0
    }

    /// The reasons so far, each with its number: `expired 12,044  too large 3`.
    pub(crate) fn losses(&self) -> String {
        let counted = self.losses.iter().zip(&LOSSES).filter(|(count, _)| **count > 0);
        let texts: Vec<_> = counted.map(|(count, words)| format!("{} {}", words.text, number::exact(*count))).collect();
        texts.join("  ")
    }

    /// Ends: what became of all, for people or as a record; the failures; the exit code.
    pub(crate) fn end(mut self, output: &mut Output) -> Result<Exit, Failure> {
        self.close_list()?;
        let elapsed = self.begun.elapsed();
        let parts = [
            format!("{} {}", number::exact(self.done), self.verb),
            self.losses(),
            format!("{}, {}/s", number::duration(elapsed), number::rate(per_second(self.done, elapsed))),
        ];
        let parts: Vec<_> = parts.into_iter().filter(|part| !part.is_empty()).collect();
        output.flush()?;
        output.notes().tell(parts.join("  "));
        self.tally.complain("items", output)?;
        Ok(self.exit())
    }

    /// Prints what became of all as a record, for those who want one on standard output.
    pub(crate) fn print(&self, output: &mut Output) -> Result<(), Failure> {
        match output.is_text() {
            true => Ok(()),
            false => Ok(output.record(COLUMNS, self.record())?),
        }
    }

    fn record(&self) -> Record {
        let record = Record::new().with("items", self.done).with("bytes", self.bytes);
        let counted = self.losses.iter().zip(&LOSSES);
        let record = counted.fold(record, |record, (count, words)| record.with(words.name, *count));
        record.with("seconds", self.begun.elapsed().as_secs_f64())
    }

    fn close_list(&mut self) -> Result<(), Failure> {
        match self.list.take() {
            Some(mut list) => list.out.flush().map_err(|error| Failure::file(&list.path, error)),
            None => Ok(()),
        }
    }

    fn exit(&mut self) -> Exit {
        let is_no = |place: usize| LOSSES[place].is_no && !self.accepted.iter().any(|loss| loss.place() == place);
        let missing: u64 =
            self.losses.iter().enumerate().filter(|&(place, _)| is_no(place)).map(|(_, count)| count).sum();
        // What failed is in the tally by its error.
        self.tally.no = missing - self.count_of(Loss::Failed).min(missing);
        self.tally.yes = self.done;
        self.tally.exit()
    }
}

/// The fields of the record: what was done, then each reason.
const COLUMNS: &[&str] = &[
    "items",
    "bytes",
    "expired",
    "gone",
    "changed",
    "kept",
    "stale",
    "too_large",
    "misplaced",
    "invalid_key",
    "failed",
    "seconds",
];

/// An error with the server that it concerns.
fn told(error: &Error, server: Option<&str>) -> String {
    match (error.server(), server) {
        (None, Some(server)) => format!("{server}: {error}"),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_decide_the_exit_code() {
        for (loss, expected) in [
            (Loss::Expired, Exit::Yes),
            (Loss::Kept, Exit::Yes),
            (Loss::TooLarge, Exit::No),
            (Loss::Misplaced, Exit::No),
            (Loss::InvalidKey, Exit::No),
        ] {
            let mut ledger = Ledger::new("copied", None).unwrap();
            ledger.done(1, 1);
            ledger.lost(b"k", None, &loss.into()).unwrap();
            assert_eq!(ledger.exit(), expected, "{loss:?}");
        }
        let mut ledger = Ledger::new("copied", None).unwrap().accepting(Some(Loss::Misplaced));
        ledger.lost(b"k", None, &Loss::Misplaced.into()).unwrap();
        assert_eq!(ledger.exit(), Exit::Yes);
    }

    #[test]
    fn every_reason_has_a_column() {
        let names: Vec<_> = LOSSES.iter().map(|words| words.name).collect();
        assert_eq!(COLUMNS[2..COLUMNS.len() - 1], names);
    }

    #[test]
    fn only_reasons_that_occurred_are_told() {
        let mut ledger = Ledger::new("copied", None).unwrap();
        assert_eq!(ledger.losses(), "");
        for _ in 0..12_044 {
            ledger.lost(b"k", None, &Loss::Expired.into()).unwrap();
        }
        ledger.lost(b"k", None, &Loss::Kept.into()).unwrap();
        assert_eq!(ledger.losses(), "expired 12,044  newer kept 1");
    }
}
