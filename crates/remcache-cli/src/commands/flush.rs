//! `flush`: removes all items of the servers, after a confirmation.

use std::time::Duration;

use remcache::{Client, ServerHandle};

use super::server_results::ServerResults;
use crate::exit::{Exit, Failure, Outcome};
use crate::options::value;
use crate::output::{Record, TextStyle, text};
use crate::session::Session;

/// Remove all items from the servers, in every namespace
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Flush after this delay; the servers wait, not the command
    #[arg(long, value_name = "TIME", value_parser = value::duration)]
    delay: Option<Duration>,

    /// Do not ask for confirmation
    #[arg(short = 'y', long)]
    yes: bool,
}

const COLUMNS: &[&str] = &["server", "status", "error"];

pub(crate) async fn run(args: &Args, session: &mut Session) -> Outcome {
    let client = session.client()?;
    refuse_namespace(&client)?;
    if !args.yes && !session.confirm(&action(&client), &format!("Remove ALL items of {}?", names(&client.servers())))? {
        return Ok(Exit::No);
    }
    let outcomes = client.flush().after(args.delay.unwrap_or_default()).await;
    let done = if args.delay.is_some() { "scheduled" } else { "flushed" };
    let mut results = ServerResults::new();
    for (server, outcome) in outcomes {
        let word = if outcome.is_ok() { (done, TextStyle::Good) } else { ("failed", TextStyle::Bad) };
        let record = Record::new().with("server", server.name()).with("status", word.0);
        results.push(server.name(), word, record, outcome);
    }
    results.print(COLUMNS, &mut session.output)
}

/// Fails if the client has a namespace: flushing would remove the items of all others too.
fn refuse_namespace(client: &Client) -> Result<(), Failure> {
    match text::inline(client.namespace()) {
        namespace if namespace.is_empty() => Ok(()),
        namespace => Err(Failure::usage(format!(
            "flush removes the items of every namespace, not only those of the namespace \"{namespace}\": for these use \
             remcache delete-matching '*'; for all items pass --namespace ''"
        ))),
    }
}

fn action(client: &Client) -> String {
    match client.servers().len() {
        1 => format!("flush {}", names(&client.servers())),
        count => format!("flush {count} servers"),
    }
}

/// Returns the names of servers, for a question.
pub(super) fn names(servers: &[ServerHandle]) -> String {
    let names: Vec<_> = servers.iter().map(|server| server.name().to_owned()).collect();
    match names.len() {
        0..=5 => names.join(", "),
        count => format!("{} and {} more servers", names[..4].join(", "), count - 4),
    }
}
