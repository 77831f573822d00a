//! A list of results: a line of text for each, or a record for each.

use std::io;

use super::{Output, Record, Records};

/// A list that is being written.
pub(crate) enum List<'o> {
    /// Lines, in the text layouts.
    Lines(&'o mut Output),
    /// Records, in the structured layouts.
    Records(Records<'o>),
}

impl<'o> List<'o> {
    pub(super) fn begin(output: &'o mut Output, columns: &'static [&'static str]) -> io::Result<Self> {
        Ok(match output.is_text() {
            true => Self::Lines(output),
            false => Self::Records(output.records(columns)?),
        })
    }

    /// Appends a result in the form that the layout asks for.
    pub(crate) fn push(
        &mut self,
        line: impl FnOnce(&mut Output) -> io::Result<()>,
        record: impl FnOnce() -> Record,
    ) -> io::Result<()> {
        match self {
            Self::Lines(output) => line(output),
            Self::Records(records) => records.push(record()),
        }
    }

    /// Flushes the lines written so far.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Lines(output) => output.flush(),
            Self::Records(_) => Ok(()),
        }
    }

    /// Ends the list.
    pub(crate) fn end(self) -> io::Result<()> {
        match self {
            Self::Lines(_) => Ok(()),
            Self::Records(records) => records.end(),
        }
    }
}
