//! The results as tables for a terminal and for Markdown.

use comfy_table::presets::{ASCII_MARKDOWN, UTF8_FULL_CONDENSED};
use comfy_table::{CellAlignment, Table, TableStyle};
use serde::Serialize;

use crate::{Misses, PlacementResult, ValueResult};

/// The results of all comparisons.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// Placement of keys.
    pub keys: Vec<PlacementResult>,
    /// Encoding of values.
    pub values: Vec<ValueResult>,
}

/// Returns the tables for a terminal, followed by the problems.
#[must_use]
pub fn terminal(report: &Report) -> String {
    let mut text = keys_table(&report.keys, UTF8_FULL_CONDENSED).to_string();
    if !report.values.is_empty() {
        text += &format!("\n{}", values_table(&report.values, UTF8_FULL_CONDENSED));
    }
    for problem in problems(report) {
        text += &format!("\n{problem}");
    }
    text
}

/// Returns the tables as Markdown.
#[must_use]
pub fn markdown(report: &Report, command: &str) -> String {
    let keys = keys_table(&report.keys, ASCII_MARKDOWN);
    let values = values_table(&report.values, ASCII_MARKDOWN);
    format!("# Interoperability with other clients\n\nWritten by `{command}`.\n{KEYS}\n{keys}\n{VALUES}\n{values}\n")
}

/// Describes the misses, and the clients that were not run.
fn problems(report: &Report) -> Vec<String> {
    let mut problems = Vec::new();
    for result in &report.keys {
        let client = [result.client.as_str(), &result.placement].join(" ");
        for (part, misses) in result.parts() {
            problems.extend(misses.descriptions.iter().map(|miss| format!("{client}, {part}: {miss}")));
        }
        problems.extend(result.failure.iter().map(|failure| format!("{}: {failure}", client.trim_end())));
    }
    for result in &report.values {
        let client = [result.client.as_str(), &result.options].join(" ");
        let parts = [("remcache reads", &result.misread), ("the client reads", &result.written)];
        for (part, misses) in parts {
            problems.extend(misses.descriptions.iter().map(|miss| format!("{}, {part}: {miss}", client.trim_end())));
        }
    }
    problems
}

fn keys_table(results: &[PlacementResult], style: TableStyle) -> Table {
    table(&KEY_COLUMNS, results.iter().map(keys_row), style)
}

fn values_table(results: &[ValueResult], style: TableStyle) -> Table {
    table(&VALUE_COLUMNS, results.iter().map(values_row), style)
}

/// Formats a table with three columns of text, followed by columns of numbers.
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

fn keys_row(result: &PlacementResult) -> Vec<String> {
    let misses = if result.lists == 0 { "–".to_owned() } else { result.misses().to_string() };
    vec![
        result.client.clone(),
        result.version.clone(),
        result.placement.clone(),
        result.lists.to_string(),
        agreed(&result.stored_by_client),
        agreed(&result.stored_by_remcache),
        agreed(&result.routes),
        misses,
        result.failure.as_deref().map(shortened).unwrap_or_default(),
    ]
}

fn values_row(result: &ValueResult) -> Vec<String> {
    vec![
        result.client.clone(),
        result.version.clone(),
        result.options.clone(),
        result.exact.to_string(),
        result.serialized.to_string(),
        agreed(&result.written),
        result.misses().to_string(),
    ]
}

/// Returns the number of equal results, and the total if they are not all equal.
fn agreed(misses: &Misses) -> String {
    match misses {
        Misses { keys: 0, .. } => "–".to_owned(),
        Misses { keys, misses: 0, .. } => keys.to_string(),
        Misses { keys, misses, .. } => format!("{} of {keys}", keys - misses),
    }
}

/// Returns the start of a failure's description; the rest follows the tables of a terminal.
fn shortened(failure: &str) -> String {
    let line = failure.lines().next().unwrap_or_default();
    match line.char_indices().nth(WIDTH) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line.to_owned(),
    }
}

const WIDTH: usize = 90;
const REASON: &str = "not run";
const KEY_COLUMNS: [&str; 9] = [
    "client",
    "version",
    "placement",
    "lists",
    "client stores, remcache finds",
    "remcache stores, client finds",
    "same route",
    "misses",
    REASON,
];
const VALUE_COLUMNS: [&str; 7] = ["client", "version", "options", "read exactly", "serialized", "written", "misread"];

const KEYS: &str = "\
All clients and all servers are the real programs.

## Placement of keys

The keys are random, of 1 to 250 bytes, with every byte that the client supports.
The lists have 1 to 25 servers, half of them on port 11211, some with host names, with random weights if the client
supports weights; \"every hash\" uses another of the client's hash functions for each list.

- *Client stores, remcache finds*: keys that the client stored and remcache read.
- *Remcache stores, client finds*: keys that remcache stored and the client read.
- *Same route*: keys for which the client's routing function returns the same server as remcache's.
  A client without such a function stores the keys, and remcache has to find them.
";

const VALUES: &str = "
## Encoding of values

Every client wrote texts, bytes, integers, floating-point numbers and more, some long enough to be compressed.

- *Read exactly*: with the client's encoding, remcache reads the value that was written, or the one that the client
  itself reads.
- *Serialized*: remcache returns the bytes of the client's serializer (pickle, Marshal, PHP, Java).
- *Written*: values that remcache wrote with the client's encoding, plain and compressed, and the client read.
";
