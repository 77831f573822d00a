//! `append`, `prepend`: put bytes behind or before a value.

use std::ffi::OsString;

use remcache::WriteOutcome;

use super::exists::exist;
use super::store::conclude;
use crate::exit::{Exit, Outcome, complain};
use crate::input;
use crate::session::Session;

/// The position of the added bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Side {
    /// Before the value.
    Before,
    /// Behind it.
    Behind,
}

/// What is put to a value. Its flags and time to live stay.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The key
    key: OsString,

    /// The bytes; @FILE reads a file, - or nothing standard input, @@ begins with an @
    #[arg(allow_negative_numbers = true)]
    value: Option<OsString>,

    /// Only if the item has this CAS value: see get --meta
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    cas: Option<u64>,
}

pub(crate) async fn run(side: Side, args: &Args, session: &mut Session) -> Outcome {
    let key = input::key(&args.key)?;
    let value = input::value(args.value.as_ref())?;
    let client = session.client()?;
    let command = match side {
        Side::Before => client.prepend(&key, &value),
        Side::Behind => client.append(&key, &value),
    };
    let change = match args.cas {
        Some(cas) => command.cas(cas).await?,
        None => command.await?,
    };
    let exit = conclude(&key, change, &mut session.output)?;
    if change == WriteOutcome::NotStored && matches!(exist(&[key], &client).await[..], [Ok(true)]) {
        // memcached answers as if the key did not exist.
        complain("the value would be too large: start the server with a larger -I");
        return Ok(Exit::Server);
    }
    Ok(exit)
}
