//! `version`: the versions of the servers.

use crate::exit::Outcome;
use crate::output::{Cell, Column, Record, Table, Tone};
use crate::session::Session;
use crate::tally::Tally;

/// Tell the versions of the servers
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

const COLUMNS: &[&str] = &["server", "version", "error"];

pub(crate) async fn run(_: &Args, session: &mut Session) -> Outcome {
    let versions = session.client()?.version().await;
    let mut tally = Tally::default();
    let mut table = Table::new([Column::left(""), Column::left("")]);
    let mut list = Vec::new();
    for (server, version) in versions {
        let record = Record::new().with("server", server.name());
        let name = Cell::new(server.name());
        match version {
            Ok(version) => {
                tally.answer(true);
                table.row([name, Cell::new(&version)]);
                list.push(record.with("version", version));
            }
            Err(error) => {
                tally.error(&error);
                table.row([name, Cell::new("DOWN").tone(Tone::Bad)]);
                list.push(record.with("error", error.to_string()));
            }
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
