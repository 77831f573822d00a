//! `help`: prints the help of a command, and the fields of records.

use crate::commands::subcommand;
use crate::exit::{Exit, Failure, Outcome};
use crate::output::{Cell, Column, Table, TextStyle};
use crate::session::Session;

/// Print the help of a command, or the meaning of the fields of records
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  remcache help context add
  remcache help fields                  the fields of -f json, ndjson and csv
  remcache help fields uncounted_gets   one of them")]
pub(crate) struct Args {
    /// The command, or fields; without one, all commands are listed
    command: Vec<String>,
}

pub(super) fn run(args: &Args, session: &mut Session) -> Outcome {
    if let [first, names @ ..] = &args.command[..]
        && first == "fields"
    {
        return print_fields(names, session);
    }
    let mut definition = session.definition();
    let help = subcommand(&mut definition, &args.command)?.render_long_help();
    let help = if session.output.paint().is_on() { help.ansi().to_string() } else { help.to_string() };
    session.output.bytes(help.as_bytes())?;
    Ok(Exit::Yes)
}

/// The table of the fields of records.
const FIELDS: &str = include_str!("../../docs/fields.md");

/// Prints the meaning of these fields, or of all.
fn print_fields(names: &[String], session: &mut Session) -> Outcome {
    let mut table = Table::new([Column::left("FIELD"), Column::left("TYPE"), Column::left("MEANING")]);
    let mut known = Vec::new();
    for row in FIELDS.lines().filter(|line| line.starts_with("| `")) {
        let mut cells = row.trim_matches('|').split('|').map(plain);
        let (Some(fields), Some(kind), Some(meaning)) = (cells.next(), cells.next(), cells.next()) else { continue };
        let is_named = |name: &String| fields.split(", ").any(|field| field == name.trim_end_matches("_b64"));
        if names.is_empty() || names.iter().any(is_named) {
            table.row([Cell::new(&fields).style(TextStyle::Name), Cell::new(kind), Cell::new(meaning)]);
        }
        known.extend(fields.split(", ").map(str::to_owned));
    }
    if let Some(unknown) = names.iter().find(|name| !known.iter().any(|known| known == name.trim_end_matches("_b64"))) {
        return Err(Failure::usage(format!("no field {unknown:?}; remcache help fields lists all")));
    }
    session.output.table(&table)?;
    Ok(Exit::Yes)
}

/// Returns the text of a cell of the table without its markup.
fn plain(cell: &str) -> String {
    let mut text = cell.trim().replace('`', "");
    // A link is its text.
    while let Some((before, rest)) = text.split_once('[')
        && let Some((link, after)) = rest.split_once("](")
        && let Some((_, after)) = after.split_once(')')
    {
        text = format!("{before}{link}{after}");
    }
    text
}
