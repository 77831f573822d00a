//! A list of outcomes: a line of text each, or a record each.

use std::io;

use super::{Output, Record, Records};

/// A list on its way to the output.
pub(crate) enum List<'o> {
    /// Lines for people, and for pipes that get the same.
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

    /// Puts one outcome behind the others, in one of its two forms.
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

    /// Hands the lines that there are to whoever reads.
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
