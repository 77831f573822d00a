//! `delete`: removes items.

use super::changes::Changes;
use crate::exit::Outcome;
use crate::input::Keys;
use crate::session::Session;

/// Remove items
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    keys: Keys,

    /// Only if the item has this CAS value: for one key
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    cas: Option<u64>,
}

/// How many keys are asked for at a time, so that what is printed keeps up with what is done.
const CHUNK: usize = 10_000;

pub(crate) async fn run(args: &Args, session: &mut Session) -> Outcome {
    let keys = args.keys.read()?;
    let client = session.client()?;
    let interrupt = session.interrupt.expect();
    let mut changes = Changes::begin(keys.len(), "deleted", &mut session.output)?;
    match (args.cas, &keys[..]) {
        (Some(cas), [key]) => changes.push(key, &client.delete(key).cas(cas).await)?,
        (Some(_), _) => return Err(crate::exit::Failure::usage("--cas is a condition of one key")),
        (None, keys) => {
            for chunk in keys.chunks(CHUNK).take_while(|_| !interrupt.is_raised()) {
                for (key, changed) in client.delete_many(chunk).await {
                    changes.push(key, &changed)?;
                }
            }
        }
    }
    let tally = changes.end()?;
    tally.complain("keys", &mut session.output)?;
    Ok(interrupt.unless_raised(tally.exit()))
}
