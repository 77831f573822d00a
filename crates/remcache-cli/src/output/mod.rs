//! The output of the tool: readable on a terminal, raw in a pipe, structured on request.
//!
//! Everything except the bytes of values goes through functions that escape what could control a terminal:
//! [`Output::line`], the cells of a [`Table`], the fields of a [`Record`], and [`Notes`].

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

use std::fmt::{self, Write as _};
use std::io::{self, BufWriter, IsTerminal as _, Stdout, Write};

use unicode_width::UnicodeWidthStr as _;

use crate::escape::escape;
use crate::options::{Color, Format, Global};
use crate::wrap::{self, fold, stderr_columns, stdout_columns};

/// The layout of a command's output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layout {
    /// Text for people.
    Text,
    /// Text for another program, in a form that depends on the command.
    Raw,
    /// One JSON document.
    Json,
    /// One JSON document per line.
    Ndjson,
    /// Comma-separated values with a header.
    Csv,
    /// Metrics in the text format of Prometheus.
    Prometheus,
    /// One line for a monitoring plugin.
    Nagios,
}

/// Standard output, and how to write to it.
#[derive(Debug)]
pub(crate) struct Output {
    layout: Layout,
    paint: Paint,
    is_terminal: bool,
    notes: Notes,
    /// Whether the bytes that were written last end in the middle of a line.
    is_mid_line: bool,
    stdout: BufWriter<Stdout>,
    /// The line that is being formatted; the buffer is reused.
    line: String,
}

/// Messages on stderr, next to the output.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Notes {
    is_quiet: bool,
    is_terminal: bool,
}

impl Output {
    /// Returns the output that the options ask for.
    pub(crate) fn new(options: &Global) -> Self {
        let is_terminal = io::stdout().is_terminal();
        Self {
            layout: layout(options.format, is_terminal),
            paint: Paint::new(is_colored(options.color, is_terminal)),
            is_terminal,
            notes: Notes { is_quiet: options.quiet, is_terminal: io::stderr().is_terminal() },
            is_mid_line: false,
            stdout: BufWriter::new(io::stdout()),
            line: String::new(),
        }
    }

    /// Returns the layout that the options ask for.
    pub(crate) fn layout(&self) -> Layout {
        self.layout
    }

    /// Returns whether the layout is text, for people or for a pipe.
    pub(crate) fn is_text(&self) -> bool {
        matches!(self.layout, Layout::Text | Layout::Raw)
    }

    /// Returns whether standard output is a terminal.
    pub(crate) fn is_terminal(&self) -> bool {
        self.is_terminal
    }

    /// Returns whether bars and other small charts help the reader.
    pub(crate) fn has_charts(&self) -> bool {
        self.layout == Layout::Text && (self.is_terminal || self.paint.is_on())
    }

    /// Applies styles, if the output is coloured.
    pub(crate) fn paint(&self) -> Paint {
        self.paint
    }

    /// Messages on stderr.
    pub(crate) fn notes(&self) -> Notes {
        self.notes
    }

    /// Writes bytes as they are.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.is_mid_line = bytes.last().map_or(self.is_mid_line, |last| *last != b'\n');
        self.stdout.write_all(bytes)
    }

    /// Ends the current line, if bytes were written without a line end.
    pub(crate) fn end_line(&mut self) -> io::Result<()> {
        if self.is_mid_line { self.line("") } else { Ok(()) }
    }

    /// Writes a line, with everything escaped that could control a terminal.
    pub(crate) fn line(&mut self, line: impl fmt::Display) -> io::Result<()> {
        self.is_mid_line = false;
        self.line.clear();
        // Writing to a String does not fail.
        let _ = write!(self.line, "{line}");
        writeln!(self.stdout, "{}", self.paint.escape(&self.line))
    }

    /// Writes a table, fitted to the terminal; a note names the columns that were left out.
    pub(crate) fn table(&mut self, table: &Table) -> io::Result<()> {
        let fitted = table.fit(self.paint, self.columns());
        fitted.lines.iter().try_for_each(|line| self.line(line))?;
        if !fitted.omitted.is_empty() {
            // The note follows the table.
            self.flush()?;
            self.notes.say(format_args!("(left out to fit the terminal: {})", fitted.omitted.join(", ")));
        }
        Ok(())
    }

    /// Writes a sentence, which is broken at blanks to fit the terminal.
    pub(crate) fn prose(&mut self, text: impl fmt::Display) -> io::Result<()> {
        let text = fold(&text.to_string(), self.columns());
        self.line(text)
    }

    /// Writes parts of a line; a part that does not fit on the terminal starts a new line.
    pub(crate) fn parts(&mut self, parts: &[(TextStyle, String)]) -> io::Result<()> {
        let columns = self.columns().unwrap_or(usize::MAX);
        let (mut line, mut width) = (String::new(), 0);
        let room = columns.saturating_sub(PART_INDENT.len());
        let pieces =
            parts.iter().flat_map(|(style, part)| wrap::wrap(part, room).into_iter().map(|piece| (*style, piece)));
        for (style, part) in pieces {
            let separator = match width {
                0 => "",
                width if width + PART_GAP.len() + part.width() <= columns => PART_GAP,
                _ => {
                    self.line(std::mem::take(&mut line))?;
                    width = 0;
                    PART_INDENT
                }
            };
            width += separator.len() + part.width();
            line += separator;
            line += &self.paint.apply(style, part);
        }
        self.line(line)
    }

    /// Returns the number of columns of the terminal, if the output goes to one and its size is known.
    pub(crate) fn columns(&self) -> Option<usize> {
        stdout_columns()
    }

    /// Starts a list of lines or, in the structured layouts, of records.
    pub(crate) fn list(&mut self, columns: &'static [&'static str]) -> io::Result<List<'_>> {
        List::begin(self, columns)
    }

    /// Starts a list of records; for the structured layouts.
    pub(crate) fn records(&mut self, columns: &'static [&'static str]) -> io::Result<Records<'_>> {
        Records::begin(&mut self.stdout, self.layout, columns)
    }

    /// Continues a list of records whose header was written before.
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

    /// Flushes everything to standard output.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.stdout.flush()
    }
}

impl Notes {
    /// Prints a message that matters to people only: if stderr is a terminal.
    pub(crate) fn say(self, message: impl fmt::Display) {
        if self.is_terminal {
            self.print(message);
        }
    }

    /// Prints a message, unless `--quiet` is given.
    pub(crate) fn print(self, message: impl fmt::Display) {
        if !self.is_quiet {
            let message = fold(&escape(&message.to_string()), stderr_columns());
            let _ = writeln!(io::stderr(), "{message}");
        }
    }

    /// Prints a message while a progress bar may be visible, which is drawn again below it.
    pub(crate) fn interject(self, message: impl fmt::Display) {
        if self.is_watched() {
            let _ = write!(io::stderr(), "\r\x1b[2K");
        }
        self.print(message);
    }

    /// Returns whether a progress bar is visible.
    pub(crate) fn is_watched(self) -> bool {
        self.is_terminal && !self.is_quiet
    }
}

/// The separator of the parts of a line, and the start of a continuation line.
const PART_GAP: &str = "  ";
const PART_INDENT: &str = "    ";

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

/// Returns whether to colour a stream that is a terminal, or is not.
pub(crate) fn is_colored(color: Color, is_terminal: bool) -> bool {
    let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    match color {
        Color::Always => true,
        Color::Never => false,
        Color::Auto => is_terminal && !is_set("NO_COLOR") && std::env::var_os("TERM").is_none_or(|term| term != "dumb"),
    }
}
