//! The results of a run: counted by reason, listed on request, and summed up at the end.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::time::Instant;

use remcache::Error;

use super::dump_format::InvalidItem;
use super::list::{ListEvent, ListedBatch};
use super::listing_error::count_listing_error;
use super::placement::placement_warning;
use super::server_watch::ServerWatch;
use super::skip_reason::{SKIP_REASONS, SkipReason, Skipped};
use crate::exit::{Exit, Failure, words, words_without};
use crate::load_generator::per_second;
use crate::outcome_counts::OutcomeCounts;
use crate::output::{Notes, Output, Record, number};

/// The results so far.
#[derive(Debug)]
pub(crate) struct Summary {
    started: Instant,
    /// The participle for the items that were not skipped: `copied`.
    verb: &'static str,
    /// The number of listed or read items, including those that were not selected.
    pub(crate) seen: u64,
    done: u64,
    bytes: u64,
    skips: [u64; SKIP_REASONS.len()],
    counts: OutcomeCounts,
    /// Whether a server listed its items, or some of them.
    has_listed: bool,
    list: Option<SkipLog>,
    /// Reasons that are not failures, because the command line chose them.
    accepted: Vec<SkipReason>,
}

/// A file that lists the skipped items.
#[derive(Debug)]
struct SkipLog {
    path: PathBuf,
    out: BufWriter<File>,
}

impl Summary {
    /// Creates an empty summary; `list` is the file that lists the skipped items.
    pub(crate) fn new(verb: &'static str, list: Option<&Path>) -> Result<Self, Failure> {
        let list = list.map(|path| match File::create(path) {
            Ok(file) => Ok(SkipLog { path: path.to_owned(), out: BufWriter::new(file) }),
            Err(error) => Err(Failure::file(path, error)),
        });
        Ok(Self {
            started: Instant::now(),
            verb,
            seen: 0,
            done: 0,
            bytes: 0,
            skips: [0; SKIP_REASONS.len()],
            counts: OutcomeCounts::default(),
            has_listed: false,
            list: list.transpose()?,
            accepted: Vec::new(),
        })
    }

    /// Takes a reason for one that is not a failure.
    pub(crate) fn accepting(mut self, reason: Option<SkipReason>) -> Self {
        self.accepted.extend(reason);
        self
    }

    /// Adds the failed servers of another summary.
    pub(crate) fn with_failures_of(self, other: Self) -> Self {
        Self { counts: other.counts, has_listed: other.has_listed, ..self }
    }

    /// Counts items that were done, and the bytes of their values.
    pub(crate) fn done(&mut self, items: u64, bytes: u64) {
        self.done += items;
        self.bytes += bytes;
    }

    /// Counts a skipped item, which comes from this server.
    pub(crate) fn skipped(&mut self, key: &[u8], server: Option<&str>, skipped: &Skipped) -> Result<(), Failure> {
        self.skips[skipped.reason.index()] += 1;
        let server = skipped.server.as_deref().or(server);
        if let (SkipReason::Failed, Some(error)) = (skipped.reason, &skipped.error) {
            self.counts.failures(&with_server(error, server), Exit::of(error), 1);
        }
        let record = Record::new()
            .with_bytes("key", key)
            .with("reason", skipped.reason.name())
            .with_some("server", server)
            .with_some("error", skipped.error.as_ref().map(|error| words_without(server.unwrap_or_default(), error)));
        self.log(&record)
    }

    /// Counts an item of the input that is invalid.
    pub(crate) fn invalid(&mut self, item: &InvalidItem) -> Result<(), Failure> {
        self.skips[SkipReason::InvalidItem.index()] += 1;
        let record = Record::new()
            .with("line", item.line)
            .with_some("column", item.column)
            .with("reason", SkipReason::InvalidItem.name());
        self.log(&record.with("error", &*item.problem))
    }

    /// Adds a record to the list of skipped items.
    fn log(&mut self, record: &Record) -> Result<(), Failure> {
        let Some(list) = &mut self.list else { return Ok(()) };
        writeln!(list.out, "{record}").map_err(|error| Failure::file(&list.path, error))
    }

    /// Returns the batch that a server listed; `None` if it failed, which is counted.
    pub(crate) fn listed(&mut self, event: ListEvent) -> Result<Option<ListedBatch>, Failure> {
        let batch = event.batch(|error| count_listing_error(error, &mut self.counts))?;
        self.has_listed |= batch.is_some();
        Ok(batch)
    }

    /// Counts the servers that restarted, evicted items or went away during the run as failures.
    pub(crate) async fn compare_servers(&mut self, watch: ServerWatch) {
        for change in watch.changes().await {
            self.counts.failures(&change.message, change.exit, 1);
        }
    }

    /// Returns the number of items that were done.
    pub(crate) fn done_count(&self) -> u64 {
        self.done
    }

    /// Returns the number of items that were skipped for this reason.
    pub(crate) fn skipped_count(&self, reason: SkipReason) -> u64 {
        self.skips[reason.index()]
    }

    /// Returns the number of items listed or read per second so far.
    pub(crate) fn rate(&self) -> f64 {
        per_second(self.seen, self.started.elapsed())
    }

    /// Returns whether no server and no item failed.
    pub(crate) fn is_complete(&self) -> bool {
        self.counts.failed() == 0
            && self.skipped_count(SkipReason::InvalidKey) == 0
            && self.skipped_count(SkipReason::TooLarge) == 0
    }

    /// Returns the number of skipped items by reason: `expired 12,044, too large 3`.
    pub(crate) fn skip_counts(&self) -> String {
        let counted = self.skips.iter().zip(&SKIP_REASONS).filter(|(count, _)| **count > 0);
        let texts: Vec<_> = counted.map(|(count, row)| format!("{} {}", row.text, number::exact(*count))).collect();
        texts.join(", ")
    }

    /// Prints the summary and the failures on stderr; returns the exit code.
    pub(crate) fn finish(mut self, output: &mut Output) -> Result<Exit, Failure> {
        self.close_list()?;
        let elapsed = self.started.elapsed();
        let skipped = self.skip_counts();
        let parts = [
            format!("{} {}", number::exact(self.done), self.verb),
            if skipped.is_empty() { skipped } else { format!("skipped: {skipped}") },
            format!("{}, {}/s", number::duration(elapsed), number::rate(per_second(self.done, elapsed))),
        ];
        let parts: Vec<_> = parts.into_iter().filter(|part| !part.is_empty()).collect();
        output.flush()?;
        output.notes().print(parts.join("  "));
        self.explain_misplaced(output.notes());
        self.report_failures(output)?;
        Ok(self.exit())
    }

    /// Explains skipped misplaced items, unless the command line asked to skip them.
    fn explain_misplaced(&self, notes: Notes) {
        let misplaced = self.skipped_count(SkipReason::Misplaced);
        if misplaced == 0 || self.accepted.contains(&SkipReason::Misplaced) {
            return;
        }
        notes.print(
            "misplaced items are on another server than the one that their key belongs to: --include-misplaced includes \
             them, --skip-misplaced skips them with exit code 0",
        );
        if let Some(warning) = placement_warning(misplaced, self.done + self.skips.iter().sum::<u64>()) {
            notes.print(warning);
        }
    }

    /// Prints the failures on stderr.
    pub(crate) fn report_failures(&self, output: &mut Output) -> Result<(), Failure> {
        Ok(self.counts.report_failures("items", output)?)
    }

    /// Prints the summary as a record on standard output, in the structured layouts.
    pub(crate) fn print(&self, output: &mut Output) -> Result<(), Failure> {
        match output.is_text() {
            true => Ok(()),
            false => Ok(output.record(COLUMNS, self.record())?),
        }
    }

    fn record(&self) -> Record {
        let record = Record::new().with("items", self.done).with("bytes", self.bytes);
        let counted = self.skips.iter().zip(&SKIP_REASONS);
        let record = counted.fold(record, |record, (count, row)| record.with(row.name, *count));
        record.with("elapsed_seconds", self.started.elapsed().as_secs_f64())
    }

    fn close_list(&mut self) -> Result<(), Failure> {
        match self.list.take() {
            Some(mut list) => list.out.flush().map_err(|error| Failure::file(&list.path, error)),
            None => Ok(()),
        }
    }

    fn exit(&mut self) -> Exit {
        let is_failure = |index: usize| {
            SKIP_REASONS[index].is_failure && !self.accepted.iter().any(|reason| reason.index() == index)
        };
        let missing: u64 =
            self.skips.iter().enumerate().filter(|&(index, _)| is_failure(index)).map(|(_, count)| count).sum();
        // The counts have the failed items by their errors.
        self.counts.no = missing - self.skipped_count(SkipReason::Failed).min(missing);
        // A server that has no items answered nevertheless.
        self.counts.yes = self.done + u64::from(self.has_listed);
        self.counts.exit()
    }
}

/// The fields of the record: what was done, then every reason.
const COLUMNS: &[&str] = &[
    "items",
    "bytes",
    "expired",
    "gone",
    "changed",
    "identical",
    "kept",
    "stale",
    "too_large",
    "misplaced",
    "invalid_key",
    "invalid_item",
    "failed",
    "elapsed_seconds",
];

/// Returns an error with its server.
fn with_server(error: &Error, server: Option<&str>) -> String {
    match (error.server(), server) {
        (None, Some(server)) => format!("{server}: {}", words(error)),
        _ => words(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn skipped_items_decide_the_exit_code() {
        for (reason, expected) in [
            (SkipReason::Expired, Exit::Yes),
            (SkipReason::Kept, Exit::Yes),
            (SkipReason::TooLarge, Exit::No),
            (SkipReason::Misplaced, Exit::No),
            (SkipReason::InvalidKey, Exit::No),
        ] {
            let mut summary = Summary::new("copied", None).unwrap();
            summary.done(1, 1);
            summary.skipped(b"k", None, &reason.into()).unwrap();
            assert_eq!(summary.exit(), expected, "{reason:?}");
        }
        let mut summary = Summary::new("copied", None).unwrap().accepting(Some(SkipReason::Misplaced));
        summary.skipped(b"k", None, &SkipReason::Misplaced.into()).unwrap();
        assert_eq!(summary.exit(), Exit::Yes);
    }

    #[test]
    fn every_reason_has_a_column() {
        let names: Vec<_> = SKIP_REASONS.iter().map(|row| row.name).collect();
        assert_eq!(COLUMNS[2..COLUMNS.len() - 1], names);
    }

    #[test]
    fn only_reasons_that_occurred_are_printed() {
        let mut summary = Summary::new("copied", None).unwrap();
        assert_eq!(summary.skip_counts(), "");
        for _ in 0..12_044 {
            summary.skipped(b"k", None, &SkipReason::Expired.into()).unwrap();
        }
        summary.skipped(b"k", None, &SkipReason::Kept.into()).unwrap();
        assert_eq!(summary.skip_counts(), "expired 12,044, existing kept 1");
    }
}
