//! The outcomes as a table for people.

use comfy_table::presets::{ASCII_MARKDOWN, UTF8_FULL_CONDENSED};
use comfy_table::{CellAlignment, Table, TableStyle};

use crate::{Misses, Outcome};

/// A table for a terminal, and below it what did not agree.
#[must_use]
pub fn terminal(outcomes: &[Outcome]) -> String {
    let mut text = table(outcomes, UTF8_FULL_CONDENSED).to_string();
    for outcome in outcomes {
        for (part, misses) in outcome.parts() {
            for miss in &misses.first {
                text += &format!("\n{} {}, {part}: {miss}", outcome.client, outcome.setup);
            }
        }
        if let Some(failure) = &outcome.failure {
            text += &format!("\n{}: {failure}", [outcome.client.as_str(), &outcome.setup].join(" ").trim_end());
        }
    }
    text
}

/// The same table for a file in Markdown.
#[must_use]
pub fn markdown(outcomes: &[Outcome], command: &str) -> String {
    let table = table(outcomes, ASCII_MARKDOWN);
    INTRODUCTION.replace("{command}", command) + &table.to_string() + "\n"
}

fn table(outcomes: &[Outcome], style: TableStyle) -> Table {
    let mut table = Table::new();
    table.load_style(style);
    table.set_header(COLUMNS.to_vec());
    table.add_rows(outcomes.iter().map(row));
    for column in table.column_iter_mut().skip(3).take(5) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

fn row(outcome: &Outcome) -> Vec<String> {
    vec![
        outcome.client.clone(),
        outcome.version.clone(),
        outcome.setup.clone(),
        outcome.lists.to_string(),
        agreed(&outcome.stored_by_client),
        agreed(&outcome.stored_by_remcache),
        agreed(&outcome.routes),
        match outcome.lists {
            0 => "–".to_owned(),
            _ => outcome.misses().to_string(),
        },
        outcome.failure.as_deref().map(first_words).unwrap_or_default(),
    ]
}

/// Enough to name the matter; the rest is below the table.
fn first_words(failure: &str) -> String {
    let line = failure.lines().next().unwrap_or_default();
    match line.char_indices().nth(WIDTH) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line.to_owned(),
    }
}

/// How many were found, out of how many if that is not all.
fn agreed(misses: &Misses) -> String {
    match misses {
        Misses { keys: 0, .. } => "–".to_owned(),
        Misses { keys, misses: 0, .. } => keys.to_string(),
        Misses { keys, misses, .. } => format!("{} of {keys}", keys - misses),
    }
}

const WIDTH: usize = 90;

const COLUMNS: [&str; 9] = [
    "client",
    "version",
    "placement",
    "lists",
    "it stores, remcache finds",
    "remcache stores, it finds",
    "same route",
    "misses",
    "not run because",
];

const INTRODUCTION: &str = "\
# Other clients on the same servers

Written by `{command}`: every client here is the real program, and the servers are real memcached servers.

The keys are random, of 1 to 250 bytes, and have every byte that the client lets through.
The lists have 1 to 25 servers, half of them on port 11211, with unequal weights where the client knows weights.
\"It stores, remcache finds\" counts keys that the client stored and remcache read; the next column is the way back.
\"Same route\" counts keys for which the client's own routing function names the server that remcache goes to, on random
lists; for a client without such a function the keys are stored, and the server that has them is the route.

";
