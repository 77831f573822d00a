//! One result per server, as a table or as records, and the exit code.

use remcache::Error;

use crate::exit::{Exit, Failure, words_without};
use crate::outcome_counts::OutcomeCounts;
use crate::output::{Cell, Column, Output, Record, Table, TextStyle};

/// The results so far.
pub(super) struct ServerResults {
    counts: OutcomeCounts,
    table: Table,
    records: Vec<Record>,
}

impl ServerResults {
    pub(super) fn new() -> Self {
        Self {
            counts: OutcomeCounts::default(),
            table: Table::new([Column::left(""), Column::left("")]),
            records: Vec::new(),
        }
    }

    /// Adds the result of a server, as a word for the table and as a record.
    pub(super) fn push(&mut self, server: &str, word: (&str, TextStyle), record: Record, result: Result<(), Error>) {
        let (word, style) = word;
        self.table.row([Cell::new(server), Cell::new(word).style(style)]);
        match result {
            Ok(()) => {
                self.counts.answer(true);
                self.records.push(record);
            }
            Err(error) => {
                self.records.push(record.with("error", words_without(server, &error)));
                self.counts.error(&error);
            }
        }
    }

    /// Prints all results.
    pub(super) fn print(self, columns: &'static [&'static str], output: &mut Output) -> Result<Exit, Failure> {
        if output.is_text() {
            output.table(&self.table)?;
        } else {
            let mut records = output.records(columns)?;
            self.records.into_iter().try_for_each(|record| records.push(record))?;
            records.end()?;
        }
        self.counts.report_failures("servers", output)?;
        Ok(self.counts.exit_of_servers())
    }
}
