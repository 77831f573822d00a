//! What the tool prints: readable on a terminal, raw in a pipe, structured on request.

pub(crate) mod chart;
mod list;
pub(crate) mod number;
mod progress;
mod record;
mod style;
mod table;
pub(crate) mod text;

pub(crate) use list::List;
pub(crate) use progress::Progress;
pub(crate) use record::{Record, Records};
pub(crate) use style::{Paint, TextStyle};
pub(crate) use table::{Cell, Column, Table};

use std::fmt;
use std::io::{self, BufWriter, IsTerminal as _, Stdout, Write};

use crate::options::{Color, Format, Global};

/// How a command lays out what it has to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layout {
    /// For people.
    Text,
    /// For a pipe, as the command sees fit.
    Raw,
    /// One JSON document.
    Json,
    /// A JSON document a line.
    Ndjson,
    /// Lines with a header.
    Csv,
    /// Metrics as Prometheus reads them.
    Prometheus,
    /// One line for a monitoring plugin.
    Nagios,
}

/// Standard output, and what is known of it.
#[derive(Debug)]
pub(crate) struct Output {
    layout: Layout,
    paint: Paint,
    is_terminal: bool,
    notes: Notes,
    /// Whether the bytes that were written last end in the middle of a line.
    is_mid_line: bool,
    stdout: BufWriter<Stdout>,
}

/// Who hears what is said beside the output.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Notes {
    is_quiet: bool,
    is_terminal: bool,
}

impl Output {
    /// The output that the options ask for.
    pub(crate) fn new(options: &Global) -> Self {
        let is_terminal = io::stdout().is_terminal();
        Self {
            layout: layout(options.format, is_terminal),
            paint: Paint::new(is_colored(options.color, is_terminal)),
            is_terminal,
            notes: Notes { is_quiet: options.quiet, is_terminal: io::stderr().is_terminal() },
            is_mid_line: false,
            stdout: BufWriter::new(io::stdout()),
        }
    }

    /// How to lay out.
    pub(crate) fn layout(&self) -> Layout {
        self.layout
    }

    /// Whether people are to read it, or at least a pipe that gets the same.
    pub(crate) fn is_text(&self) -> bool {
        matches!(self.layout, Layout::Text | Layout::Raw)
    }

    /// Whether a terminal shows it.
    pub(crate) fn is_terminal(&self) -> bool {
        self.is_terminal
    }

    /// Whether small pictures make it better: bars and the like.
    pub(crate) fn has_charts(&self) -> bool {
        self.layout == Layout::Text && (self.is_terminal || self.paint.is_on())
    }

    /// What colours text, or does not.
    pub(crate) fn paint(&self) -> Paint {
        self.paint
    }

    /// Who hears notes.
    pub(crate) fn notes(&self) -> Notes {
        self.notes
    }

    /// Writes bytes as they are.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.is_mid_line = bytes.last().map_or(self.is_mid_line, |last| *last != b'\n');
        self.stdout.write_all(bytes)
    }

    /// Ends the line, if one was begun: what comes next has nothing to do with it.
    pub(crate) fn end_line(&mut self) -> io::Result<()> {
        if self.is_mid_line { self.line("") } else { Ok(()) }
    }

    /// Writes a line.
    pub(crate) fn line(&mut self, line: impl fmt::Display) -> io::Result<()> {
        self.is_mid_line = false;
        writeln!(self.stdout, "{line}")
    }

    /// Writes a table, fitted to the terminal; a note names the columns that were left out.
    pub(crate) fn table(&mut self, table: &Table) -> io::Result<()> {
        let fitted = table.fit(self.paint, self.columns());
        fitted.lines.iter().try_for_each(|line| self.line(line))?;
        if !fitted.omitted.is_empty() {
            self.notes.say(format_args!("(left out to fit the terminal: {})", fitted.omitted.join(", ")));
        }
        Ok(())
    }

    /// Number of columns of the terminal, if the output goes to one and its size is known.
    pub(crate) fn columns(&self) -> Option<usize> {
        let (columns, _) = self.is_terminal.then(ratatui::crossterm::terminal::size)?.ok()?;
        Some(columns.into()).filter(|&columns| columns > 0)
    }

    /// Begins a list of lines or, in the structured layouts, of records.
    pub(crate) fn list(&mut self, columns: &'static [&'static str]) -> io::Result<List<'_>> {
        List::begin(self, columns)
    }

    /// Begins a list of records; for the structured layouts.
    pub(crate) fn records(&mut self, columns: &'static [&'static str]) -> io::Result<Records<'_>> {
        Records::begin(&mut self.stdout, self.layout, columns)
    }

    /// Goes on with a list of records whose header was written before.
    pub(crate) fn more_records(&mut self, columns: &'static [&'static str]) -> Records<'_> {
        Records::resume(&mut self.stdout, self.layout, columns)
    }

    /// Writes one record; for the structured layouts.
    pub(crate) fn record(&mut self, columns: &'static [&'static str], record: Record) -> io::Result<()> {
        if self.layout == Layout::Json {
            return self.line(record);
        }
        let mut records = self.records(columns)?;
        records.push(record)?;
        records.end()
    }

    /// Hands everything to whoever reads.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.stdout.flush()
    }
}

impl Notes {
    /// Says something that only a person wants to know.
    pub(crate) fn say(self, what: impl fmt::Display) {
        if self.is_terminal && !self.is_quiet {
            let _ = writeln!(io::stderr(), "{what}");
        }
    }

    /// Says something on stderr, whoever reads it, unless asked to be quiet.
    pub(crate) fn tell(self, what: impl fmt::Display) {
        if !self.is_quiet {
            let _ = writeln!(io::stderr(), "{what}");
        }
    }

    /// Whether a progress bar has someone to look at it.
    pub(crate) fn is_watched(self) -> bool {
        self.is_terminal && !self.is_quiet
    }
}

fn layout(format: Format, is_terminal: bool) -> Layout {
    match format {
        Format::Auto if is_terminal => Layout::Text,
        Format::Auto => Layout::Raw,
        Format::Text => Layout::Text,
        Format::Json => Layout::Json,
        Format::Ndjson => Layout::Ndjson,
        Format::Csv => Layout::Csv,
        Format::Prometheus => Layout::Prometheus,
        Format::Nagios => Layout::Nagios,
    }
}

/// Whether to colour what goes where there is a terminal, or is none.
pub(crate) fn is_colored(color: Color, is_terminal: bool) -> bool {
    let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    match color {
        Color::Always => true,
        Color::Never => false,
        Color::Auto => is_terminal && !is_set("NO_COLOR") && std::env::var_os("TERM").is_none_or(|term| term != "dumb"),
    }
}
