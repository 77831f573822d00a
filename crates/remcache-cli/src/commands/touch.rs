//! `touch`: gives items a new time to live.

use remcache::Ttl;

use super::write_results::WriteResults;
use crate::exit::Outcome;
use crate::input::Keys;
use crate::options::value;
use crate::session::Session;

/// Set a new time to live for items
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    keys: Keys,

    /// The time to live from now: 10m, never, or a date such as 2027-01-01T00:00Z
    #[arg(long, value_name = "TIME", value_parser = value::ttl)]
    ttl: Ttl,
}

pub(crate) async fn run(args: &Args, session: &mut Session) -> Outcome {
    let mut blocks = args.keys.blocks()?;
    let client = session.client()?;
    let interrupt = session.interrupt.handled();
    let mut report = WriteResults::begin(blocks.all().map(<[_]>::len), "touched", &mut session.output)?;
    while let Some(keys) = blocks.next(&interrupt).await? {
        for (key, changed) in client.touch_many(&keys, args.ttl).await {
            report.push(key, &changed.map(Into::into))?;
        }
    }
    let counts = report.end()?;
    counts.report_failures("keys", &mut session.output)?;
    Ok(interrupt.unless_raised(counts.exit()))
}
