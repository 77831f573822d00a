//! `flush`: removes all items of the servers, if that is really meant.

use std::time::Duration;

use remcache::{Client, Ttl};

use crate::cli::value;
use crate::exit::{Exit, Outcome};
use crate::output::{Cell, Column, Record, Table, Tone};
use crate::session::Session;
use crate::tally::Tally;

/// Remove all items of the servers
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Do it so much later; the servers keep the appointment by themselves
    #[arg(long, value_name = "TIME", value_parser = value::duration)]
    delay: Option<Duration>,

    /// Do not ask
    #[arg(short = 'y', long)]
    yes: bool,
}

const COLUMNS: &[&str] = &["server", "status", "error"];

pub(crate) async fn run(args: &Args, session: &mut Session) -> Outcome {
    let client = session.client()?;
    if !args.yes && !session.confirm(&format!("Remove ALL items of {}?", names(&client)))? {
        return Ok(Exit::No);
    }
    let outcomes = client.flush(args.delay.map_or(Ttl::Never, Ttl::After)).await;
    let done = if args.delay.is_some() { "scheduled" } else { "flushed" };
    let mut tally = Tally::default();
    let mut table = Table::new([Column::left(""), Column::left("")]);
    let mut list = Vec::new();
    for (server, outcome) in outcomes {
        let record = Record::new().with("server", server.name());
        let (word, tone) = match &outcome {
            Ok(()) => (done, Tone::Good),
            Err(_) => ("failed", Tone::Bad),
        };
        table.row([Cell::new(server.name()), Cell::new(word).tone(tone)]);
        let error = outcome.as_ref().err().map(ToString::to_string);
        list.push(record.with("status", word).with_some("error", error));
        match &outcome {
            Ok(()) => tally.answer(true),
            Err(error) => tally.error(error),
        }
    }
    let output = &mut session.output;
    if output.is_text() {
        output.table(&table)?;
    } else {
        let mut records = output.records(COLUMNS)?;
        list.into_iter().try_for_each(|record| records.push(record))?;
        records.end()?;
    }
    tally.complain("servers", output)?;
    Ok(tally.exit_of_servers())
}

fn names(client: &Client) -> String {
    let names: Vec<_> = client.servers().iter().map(|server| server.name().to_owned()).collect();
    match names.len() {
        0..=5 => names.join(", "),
        count => format!("{} and {} more servers", names[..4].join(", "), count - 4),
    }
}
