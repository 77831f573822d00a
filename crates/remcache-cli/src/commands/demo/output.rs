//! Output of the demo: headings, steps with their results, and whether every step passed.

use std::fmt;
use std::io;

use remcache::Client;

use crate::output::{Output, Table, TextStyle};

/// Output of the demo, flushed after each line.
pub(super) struct DemoOutput<'o> {
    output: &'o mut Output,
    headings: usize,
    all_passed: bool,
}

impl<'o> DemoOutput<'o> {
    pub(super) fn new(output: &'o mut Output) -> Self {
        Self { output, headings: 0, all_passed: true }
    }

    /// Returns whether every step had the expected result.
    pub(super) fn all_passed(&self) -> bool {
        self.all_passed
    }

    /// Returns the text in a colour, if colours are on.
    pub(super) fn paint(&self, style: TextStyle, text: impl fmt::Display) -> String {
        self.output.paint().apply(style, text)
    }

    /// Returns the length of the longest server name.
    pub(super) fn name_width(&self, client: &Client) -> usize {
        client.servers().iter().map(|server| server.name().len()).max().unwrap_or_default()
    }

    /// Prints the heading of a section.
    pub(super) fn heading(&mut self, text: impl fmt::Display) -> io::Result<()> {
        if self.headings > 0 {
            self.output.line("")?;
        }
        self.headings += 1;
        let text = self.paint(TextStyle::Title, text);
        self.output.line(text)?;
        self.output.flush()
    }

    /// Prints a line.
    pub(super) fn line(&mut self, line: impl fmt::Display) -> io::Result<()> {
        self.output.line(format!("  {line}").trim_end())?;
        self.output.flush()
    }

    /// Prints a table.
    pub(super) fn table(&mut self, table: &Table) -> io::Result<()> {
        table.lines(self.output.paint()).iter().try_for_each(|line| self.line(line))
    }

    /// Prints a call and its result; `passed` is whether the result was the expected one.
    pub(super) fn step(&mut self, call: &str, result: impl fmt::Display, passed: bool) -> io::Result<()> {
        self.all_passed &= passed;
        let (sign, style) = if passed { ("→", TextStyle::Good) } else { ("✗", TextStyle::Bad) };
        let result = self.paint(style, format_args!("{sign} {result}"));
        self.line(format_args!("{call:46} {result}"))
    }

    /// Prints the message only if the expectation was not met.
    pub(super) fn expect(&mut self, passed: bool, message: impl fmt::Display) -> io::Result<()> {
        self.all_passed &= passed;
        match passed {
            true => Ok(()),
            false => self.line(self.paint(TextStyle::Bad, format_args!("✗ {message}"))),
        }
    }
}
