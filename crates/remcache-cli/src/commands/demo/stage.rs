//! Where the demo speaks: headings, calls with their outcomes, and whether all went as told.

use std::fmt;
use std::io;

use remcache::Client;

use crate::output::{Output, Table, Tone};

/// Where the demo speaks. What is said is seen at once.
pub(super) struct Stage<'o> {
    output: &'o mut Output,
    headings: usize,
    is_as_told: bool,
}

impl<'o> Stage<'o> {
    pub(super) fn new(output: &'o mut Output) -> Self {
        Self { output, headings: 0, is_as_told: true }
    }

    /// Whether every step went as it was told.
    pub(super) fn is_as_told(&self) -> bool {
        self.is_as_told
    }

    /// The text in a colour, if there are colours.
    pub(super) fn paint(&self, tone: Tone, text: impl fmt::Display) -> String {
        self.output.paint().apply(tone, text)
    }

    /// How wide the longest name of a server is.
    pub(super) fn name_width(&self, client: &Client) -> usize {
        client.servers().iter().map(|server| server.name().len()).max().unwrap_or_default()
    }

    /// Begins a part.
    pub(super) fn heading(&mut self, text: impl fmt::Display) -> io::Result<()> {
        if self.headings > 0 {
            self.output.line("")?;
        }
        self.headings += 1;
        let text = self.paint(Tone::Title, text);
        self.output.line(text)?;
        self.output.flush()
    }

    /// Says a line.
    pub(super) fn say(&mut self, line: impl fmt::Display) -> io::Result<()> {
        self.output.line(format!("  {line}").trim_end())?;
        self.output.flush()
    }

    /// Shows a table.
    pub(super) fn table(&mut self, table: &Table) -> io::Result<()> {
        table.lines(self.output.paint()).iter().try_for_each(|line| self.say(line))
    }

    /// Shows a call and its outcome; `as_told` is whether the outcome is the one to be shown.
    pub(super) fn call(&mut self, call: &str, outcome: impl fmt::Display, as_told: bool) -> io::Result<()> {
        self.is_as_told &= as_told;
        let (sign, tone) = if as_told { ("→", Tone::Good) } else { ("✗", Tone::Bad) };
        let outcome = self.paint(tone, format_args!("{sign} {outcome}"));
        self.say(format_args!("{call:46} {outcome}"))
    }

    /// Says a line only if something did not go as told.
    pub(super) fn check(&mut self, as_told: bool, what: impl fmt::Display) -> io::Result<()> {
        self.is_as_told &= as_told;
        match as_told {
            true => Ok(()),
            false => self.say(self.paint(Tone::Bad, format_args!("✗ {what}"))),
        }
    }
}
