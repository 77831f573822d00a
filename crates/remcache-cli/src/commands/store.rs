//! `set`, `add`, `replace`: store an item.

use std::ffi::OsString;

use remcache::{Ttl, WriteOutcome};

use super::write_results;
use crate::exit::{Exit, Failure, Outcome};
use crate::input;
use crate::item_limit;
use crate::options::value;
use crate::output::{Layout, Output, TextStyle};
use crate::session::Session;

/// The command: `set`, `add` or `replace`.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Verb {
    /// Stores whether or not the item exists.
    Set,
    /// Stores if the item does not exist.
    Add,
    /// Stores if the item exists.
    Replace,
}

/// What is stored, and how.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The key
    key: OsString,

    /// The value; @FILE reads it from a file, - or no value from standard input; @@ stands for a leading @
    #[arg(allow_negative_numbers = true)]
    value: Option<OsString>,

    /// Time to live: 10m, never, or a date such as 2027-01-01T00:00Z
    #[arg(long, value_name = "TIME", default_value = "never", value_parser = value::ttl)]
    ttl: Ttl,

    /// Flags to store with the value
    #[arg(long, value_name = "N", default_value_t = 0)]
    flags: u32,

    /// Store only if the item has this CAS value; get --meta shows it
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    cas: Option<u64>,
}

pub(crate) async fn run(verb: Verb, args: &Args, session: &mut Session) -> Outcome {
    let key = input::key(&args.key)?;
    let value = input::value(args.value.as_ref())?;
    let client = session.client()?;
    if args.cas.is_some() {
        item_limit::require_cas_for(&client, &key).await?;
    }
    let command = match (verb, args.cas) {
        (Verb::Set, None) => {
            let set = client.set(&key, &value).ttl(args.ttl).flags(args.flags).await?;
            return report_outcome(&key, set.into(), &mut session.output);
        }
        (Verb::Set, Some(cas)) => client.compare_and_swap(&key, &value, cas),
        (Verb::Add, None) => client.add(&key, &value),
        (Verb::Add, Some(cas)) => client.add(&key, &value).cas(cas),
        (Verb::Replace, None) => client.replace(&key, &value),
        (Verb::Replace, Some(cas)) => client.replace(&key, &value).cas(cas),
    };
    let change = command.ttl(args.ttl).flags(args.flags).await?;
    report_outcome(&key, change, &mut session.output)
}

/// Reports the outcome of the change of one item.
pub(super) fn report_outcome(key: &[u8], change: WriteOutcome, output: &mut Output) -> Outcome {
    let reason = match change {
        WriteOutcome::Applied(_) => None,
        WriteOutcome::NotFound => Some("there is no such key"),
        WriteOutcome::Exists => Some("the key exists, or the item was changed in the meantime"),
        WriteOutcome::NotStored => Some("there is no such key, or the value would be too large"),
    };
    match (output.layout(), reason) {
        (Layout::Raw, None) => {}
        (Layout::Text, None) => print_stored(change, output)?,
        (Layout::Raw | Layout::Text, Some(reason)) => output.notes().say(format_args!("not stored: {reason}")),
        _ => output.record(write_results::COLUMNS, write_results::record(key, &Ok(change), "stored"))?,
    }
    Ok(Exit::answer(change.is_applied()))
}

fn print_stored(change: WriteOutcome, output: &mut Output) -> Result<(), Failure> {
    let paint = output.paint();
    let cas = match change.cas() {
        Some(cas) if cas != 0 => paint.apply(TextStyle::Faint, format_args!("  cas {cas}")),
        _ => String::new(),
    };
    Ok(output.line(format_args!("{}{cas}", paint.apply(TextStyle::Good, "stored")))?)
}
