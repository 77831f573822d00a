//! `append`, `prepend`: add bytes after or before a value.

use std::ffi::OsString;

use remcache::WriteOutcome;

use super::exists::exist;
use super::store::report_outcome;
use crate::exit::{Exit, Outcome, print_error};
use crate::input;
use crate::item_limit;
use crate::session::Session;

/// The position of the added bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Side {
    /// Before the value.
    Before,
    /// After it.
    After,
}

/// The bytes to add. The flags and time to live of the item stay.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The key
    key: OsString,

    /// The bytes; @FILE reads them from a file, - or no value from standard input; @@ stands for a leading @
    #[arg(allow_negative_numbers = true)]
    value: Option<OsString>,

    /// Store only if the item has this CAS value; get --meta shows it
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    cas: Option<u64>,
}

pub(crate) async fn run(side: Side, args: &Args, session: &mut Session) -> Outcome {
    let key = input::key(&args.key)?;
    let value = input::value(args.value.as_ref())?;
    let client = session.client()?;
    if args.cas.is_some() {
        item_limit::require_cas_for(&client, &key).await?;
    }
    let command = match side {
        Side::Before => client.prepend(&key, &value),
        Side::After => client.append(&key, &value),
    };
    let change = match args.cas {
        Some(cas) => command.cas(cas).await?,
        None => command.await?,
    };
    let exit = report_outcome(&key, change, &mut session.output)?;
    if change == WriteOutcome::NotStored && matches!(exist(std::slice::from_ref(&key), &client).await[..], [Ok(true)]) {
        // memcached answers as if the key did not exist.
        let server = client.locate(&key)?.map_or_else(String::new, |server| format!("{}: ", server.name()));
        print_error(format_args!("{server}the value would be too large: start the server with a larger -I"));
        return Ok(Exit::Server);
    }
    Ok(exit)
}
