//! The outcomes as tables for people.

use comfy_table::presets::{ASCII_MARKDOWN, UTF8_FULL_CONDENSED};
use comfy_table::{CellAlignment, Table, TableStyle};
use serde::Serialize;

use crate::{Misses, Outcome, ValueOutcome};

/// All that was compared.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// Where keys are.
    pub keys: Vec<Outcome>,
    /// What values mean.
    pub values: Vec<ValueOutcome>,
}

/// Tables for a terminal, and below them what did not agree.
#[must_use]
pub fn terminal(report: &Report) -> String {
    let mut text = keys_table(&report.keys, UTF8_FULL_CONDENSED).to_string();
    if !report.values.is_empty() {
        text += &format!("\n{}", values_table(&report.values, UTF8_FULL_CONDENSED));
    }
    for complaint in complaints(report) {
        text += &format!("\n{complaint}");
    }
    text
}

/// The same tables for a file in Markdown.
#[must_use]
pub fn markdown(report: &Report, command: &str) -> String {
    let keys = keys_table(&report.keys, ASCII_MARKDOWN);
    let values = values_table(&report.values, ASCII_MARKDOWN);
    format!("# Interoperability, live\n\nWritten by `{command}`.\n{KEYS}\n{keys}\n{VALUES}\n{values}\n")
}

/// What did not agree, and what was not run, each with the reason.
fn complaints(report: &Report) -> Vec<String> {
    let mut complaints = Vec::new();
    for outcome in &report.keys {
        let who = [outcome.client.as_str(), &outcome.setup].join(" ");
        for (part, misses) in outcome.parts() {
            complaints.extend(misses.first.iter().map(|miss| format!("{who}, {part}: {miss}")));
        }
        complaints.extend(outcome.failure.iter().map(|failure| format!("{}: {failure}", who.trim_end())));
    }
    for outcome in &report.values {
        let who = [outcome.client.as_str(), &outcome.options].join(" ");
        let both = [("remcache reads", &outcome.misread), ("the client reads", &outcome.written)];
        for (part, misses) in both {
            complaints.extend(misses.first.iter().map(|miss| format!("{}, {part}: {miss}", who.trim_end())));
        }
    }
    complaints
}

fn keys_table(outcomes: &[Outcome], style: TableStyle) -> Table {
    table(&KEY_COLUMNS, outcomes.iter().map(keys_row), style)
}

fn values_table(outcomes: &[ValueOutcome], style: TableStyle) -> Table {
    table(&VALUE_COLUMNS, outcomes.iter().map(values_row), style)
}

/// Three columns of words, then numbers.
fn table(columns: &[&str], rows: impl Iterator<Item = Vec<String>>, style: TableStyle) -> Table {
    let mut table = Table::new();
    table.load_style(style);
    table.set_header(columns.to_vec());
    table.add_rows(rows);
    for (column, name) in table.column_iter_mut().zip(columns).skip(3) {
        if *name != REASON {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

fn keys_row(outcome: &Outcome) -> Vec<String> {
    let misses = if outcome.lists == 0 { "–".to_owned() } else { outcome.misses().to_string() };
    vec![
        outcome.client.clone(),
        outcome.version.clone(),
        outcome.setup.clone(),
        outcome.lists.to_string(),
        agreed(&outcome.stored_by_client),
        agreed(&outcome.stored_by_remcache),
        agreed(&outcome.routes),
        misses,
        outcome.failure.as_deref().map(first_words).unwrap_or_default(),
    ]
}

fn values_row(outcome: &ValueOutcome) -> Vec<String> {
    vec![
        outcome.client.clone(),
        outcome.version.clone(),
        outcome.options.clone(),
        outcome.exact.to_string(),
        outcome.serialized.to_string(),
        agreed(&outcome.written),
        outcome.misses().to_string(),
    ]
}

/// How many agree, out of how many if that is not all.
fn agreed(misses: &Misses) -> String {
    match misses {
        Misses { keys: 0, .. } => "–".to_owned(),
        Misses { keys, misses: 0, .. } => keys.to_string(),
        Misses { keys, misses, .. } => format!("{} of {keys}", keys - misses),
    }
}

/// Enough to name the matter; the rest is below the tables of a terminal.
fn first_words(failure: &str) -> String {
    let line = failure.lines().next().unwrap_or_default();
    match line.char_indices().nth(WIDTH) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line.to_owned(),
    }
}

const WIDTH: usize = 90;
const REASON: &str = "not run because";
const KEY_COLUMNS: [&str; 9] = [
    "client",
    "version",
    "placement",
    "lists",
    "it stores, remcache finds",
    "remcache stores, it finds",
    "same route",
    "misses",
    REASON,
];
const VALUE_COLUMNS: [&str; 7] =
    ["client", "version", "options", "read exactly", "serialised", "written for it", "misread"];

const KEYS: &str = "\
Every client here is the real program, and so are the memcached servers.

## Where keys are

The keys are random, of 1 to 250 bytes, and have every byte that the client lets through.
The lists have 1 to 25 servers, half of them on port 11211, some by name, with unequal weights where the client knows
weights; \"every hash\" takes another of the client's hash functions for each list.

- *It stores, remcache finds*: keys that the client stored and remcache then read.
- *Remcache stores, it finds*: the way back.
- *Same route*: keys of random lists for which the client's own routing function names the server that remcache goes to.
  A client without such a function stores them instead, and remcache has to find them.
";

const VALUES: &str = "
## What values mean

Every client wrote texts, bytes, integers, floating-point numbers and more, some long enough to be compressed.

- *Read exactly*: remcache's convention of that client gives the value that was written, or what the client itself makes
  of it.
- *Serialised*: it hands out what the client's language has serialised (pickle, Marshal, PHP, Java) as it is.
- *Written for it*: what remcache wrote by the same convention, plain and compressed as the client reads it, and the client read.
";
