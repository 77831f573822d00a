//! `ring`: how keys are spread over servers, and what moves if the list changes; without a connection.

mod change;
mod spread;

use std::path::PathBuf;

use clap::Subcommand;
use remcache::distribution::Distribution;

use crate::exit::{Exit, Outcome};
use crate::options::value;
use crate::output::{Cell, Column, Record, Table, TextStyle};
use crate::session::Session;
use change::Change;

/// Show how keys are distributed over the servers, and which keys move if the list changes
///
/// Nothing is connected to. Without a file of keys, --sample generated keys are used.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: RingAction,
}

/// What to show.
#[derive(Debug, Subcommand)]
enum RingAction {
    /// Show the share of each server, now and after the change
    #[command(after_help = "\
Example: remcache ring balance -s cache1,cache2,cache3 --remove cache3

Columns:
  SHARE, KEYS  keys on the server, in percent and as a number
  ±IDEAL       deviation from an even share (by weight), in percent of it
  AFTER        share after the change
  MOVED IN     keys that move to the server by the change")]
    Balance(Options),
    /// Show how many keys move from which server to which
    #[command(after_help = "\
Example: remcache ring diff -s cache1,cache2 --like pylibmc --to ketama

Columns:
  FROM, TO     server that loses the keys, and server that gains them
  KEYS, SHARE  keys that move, as a number and in percent of all")]
    Diff(Options),
    /// List the names of the distributions
    Profiles,
}

/// The keys, and what changes.
#[derive(Debug, clap::Args)]
struct Options {
    /// A server to add
    #[arg(long, value_name = "ADDR")]
    add: Vec<String>,

    /// A server to remove
    #[arg(long, value_name = "ADDR")]
    remove: Vec<String>,

    /// The distribution after the change
    #[arg(long, value_name = "NAME", value_parser = crate::options::distribution(), hide_possible_values = true)]
    to: Option<Distribution>,

    /// A file with one key per line; - reads standard input
    #[arg(long, value_name = "FILE")]
    keys: Option<PathBuf>,

    /// Number of generated keys
    #[arg(long, value_name = "N", default_value = "1m", value_parser = value::count, conflicts_with = "keys")]
    sample: u64,
}

pub(crate) fn run(args: &Args, session: &mut Session) -> Outcome {
    match &args.verb {
        RingAction::Balance(options) => spread::balance(options, session),
        RingAction::Diff(options) => {
            let change = Change::of(options, session)?;
            change.print_diff(options, session)
        }
        RingAction::Profiles => profiles(session),
    }
}

fn profiles(session: &mut Session) -> Outcome {
    let output = &mut session.output;
    if !output.is_text() {
        let mut records = output.records(&["name", "aliases", "description"])?;
        for known in Distribution::all() {
            let record = Record::new().with("name", known.name()).with("aliases", known.aliases().join(" "));
            records.push(record.with("description", known.description()))?;
        }
        records.end()?;
        return Ok(Exit::Yes);
    }
    let mut table = Table::new([Column::left("NAME"), Column::left("")]);
    for known in Distribution::all() {
        let about = match known.aliases() {
            [] => known.description().to_owned(),
            aliases => format!("{} (also {})", known.description(), aliases.join(", ")),
        };
        table.row([Cell::new(known.name()).style(TextStyle::Name), Cell::new(about)]);
    }
    output.table(&table)?;
    Ok(Exit::Yes)
}
