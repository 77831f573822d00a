//! `delete`: removes items.

use super::write_results::WriteResults;
use crate::exit::{Failure, Outcome};
use crate::input::Keys;
use crate::item_limit;
use crate::session::Session;

/// Remove items
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    keys: Keys,

    /// Delete only if the item has this CAS value; for one key
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    cas: Option<u64>,
}

pub(crate) async fn run(args: &Args, session: &mut Session) -> Outcome {
    let mut blocks = args.keys.blocks()?;
    let client = session.client()?;
    let interrupt = session.interrupt.handled();
    let mut report = WriteResults::begin(blocks.all().map(<[_]>::len), "deleted", &mut session.output)?;
    match (args.cas, blocks.all()) {
        (Some(cas), Some([key])) => {
            item_limit::require_cas_for(&client, key).await?;
            report.push(key, &client.delete(key).cas(cas).await)?;
        }
        (Some(_), _) => return Err(Failure::usage("--cas is a condition of one key")),
        (None, _) => {
            while let Some(keys) = blocks.next(&interrupt).await? {
                for (key, changed) in client.delete_many(&keys).await {
                    report.push(key, &changed.map(Into::into))?;
                }
            }
        }
    }
    let counts = report.end()?;
    counts.report_failures("keys", &mut session.output)?;
    if counts.no > 0 {
        args.keys.suggest_patterns("delete-matching", session.output.notes());
    }
    Ok(interrupt.unless_raised(counts.exit()))
}
