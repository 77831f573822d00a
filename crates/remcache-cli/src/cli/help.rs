//! `help`: prints the help of a command, and the fields of records.

use clap_complete::CompletionCandidate;

use crate::commands::subcommand;
use crate::exit::{Exit, Failure, Outcome};
use crate::output::{Cell, Column, Table, TextStyle};
use crate::session::Session;

/// Print the help of a command, or the meaning of the fields of records
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  remcache help context add
  remcache help fields                  all fields of -f json, ndjson and csv
  remcache help fields ping             those of a command
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

/// The tables of the fields of records, and of the fields of each command.
const FIELDS: &str = include_str!("../../docs/fields.md");

/// Prints the meaning of the fields with these names, and of those of the commands with these names; without names, of
/// all fields.
fn print_fields(names: &[String], session: &mut Session) -> Outcome {
    let (of_commands, meanings) = tables();
    let of_command =
        |name: &str| of_commands.iter().find(|[commands, _]| has(commands, name)).map(|[_, fields]| fields);
    let mut selected: Vec<&str> = Vec::new();
    for name in names.iter().map(|name| name.trim_end_matches("_b64")) {
        let is_field = meanings.iter().any(|[fields, _, _]| has(fields, name));
        if !is_field && of_command(name).is_none() {
            return Err(Failure::usage(unknown_name(name, session)));
        }
        selected.push(name);
        selected.extend(of_command(name).into_iter().flat_map(|fields| fields.split(", ")));
    }
    let mut table = Table::new([Column::left("FIELD"), Column::left("TYPE"), Column::left("MEANING")]);
    for [fields, kind, meaning] in &meanings {
        if names.is_empty() || selected.iter().any(|name| has(fields, name)) {
            table.row([Cell::new(fields).style(TextStyle::Name), Cell::new(kind), Cell::new(meaning)]);
        }
    }
    session.output.table(&table)?;
    if names.is_empty() {
        session.output.notes().say("remcache help fields COMMAND explains only those of a command");
    }
    Ok(Exit::Yes)
}

fn unknown_name(name: &str, session: &Session) -> String {
    match session.definition().find_subcommand(name) {
        Some(_) => format!("{name} has no records with fields; remcache help fields lists those of all commands"),
        None => format!("no field or command {name:?}; remcache help fields lists all fields"),
    }
}

/// Returns what can follow `help fields` on a command line: commands with records, and fields.
pub(super) fn candidates() -> Vec<CompletionCandidate> {
    let (of_commands, meanings) = tables();
    let names = |cell: String| cell.split(", ").map(CompletionCandidate::new).collect::<Vec<_>>();
    let commands = of_commands.into_iter().flat_map(|[commands, _]| names(commands));
    let fields = meanings.into_iter().flat_map(|[fields, _, meaning]| {
        names(fields).into_iter().map(move |field| field.help(Some(meaning.clone().into())))
    });
    commands.chain(fields).collect()
}

/// Returns the rows of the table of commands, and of the table of fields, without markup.
fn tables() -> (Vec<[String; 2]>, Vec<[String; 3]>) {
    let (mut of_commands, mut meanings) = (Vec::new(), Vec::new());
    for row in FIELDS.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<String> = row.trim_matches('|').split('|').map(plain).collect();
        match <[String; 3]>::try_from(cells) {
            Ok(meaning) => meanings.push(meaning),
            Err(cells) => of_commands.extend(<[String; 2]>::try_from(cells)),
        }
    }
    (of_commands, meanings)
}

/// Returns whether a list of names in a cell contains this one.
fn has(names: &str, name: &str) -> bool {
    names.split(", ").any(|known| known == name)
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
