//! `touch`: gives items a new time to live.

use remcache::Ttl;

use super::changes::Changes;
use crate::cli::value;
use crate::exit::Outcome;
use crate::input::Keys;
use crate::session::Session;

/// Give items a new time to live
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    keys: Keys,

    /// How long the items live from now: 10m, never, or a date such as 2027-01-01T00:00Z
    #[arg(long, value_name = "TIME", value_parser = value::ttl)]
    ttl: Ttl,
}

/// How many keys are asked for at a time, so that what is printed keeps up with what is done.
const CHUNK: usize = 10_000;

pub(crate) async fn run(args: &Args, session: &mut Session) -> Outcome {
    let keys = args.keys.read()?;
    let client = session.client()?;
    let interrupt = session.interrupt.expect();
    let mut changes = Changes::begin(keys.len(), "touched", &mut session.output)?;
    for chunk in keys.chunks(CHUNK).take_while(|_| !interrupt.is_raised()) {
        for (key, changed) in client.touch_many(chunk, args.ttl).await {
            changes.push(key, &changed)?;
        }
    }
    let tally = changes.end()?;
    tally.complain("keys", &mut session.output)?;
    Ok(interrupt.unless_raised(tally.exit()))
}
