//! `version`: the versions of the servers.

use super::server_results::ServerResults;
use crate::exit::Outcome;
use crate::output::{Record, TextStyle};
use crate::session::Session;

/// Show the versions of the servers
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

const COLUMNS: &[&str] = &["server", "version", "error"];

pub(crate) async fn run(_: &Args, session: &mut Session) -> Outcome {
    let versions = session.client()?.version().await;
    let mut results = ServerResults::new();
    for (server, version) in versions {
        let record = Record::new().with("server", server.name());
        match version {
            Ok(version) => {
                let record = record.with("version", &*version);
                results.push(server.name(), (&version, TextStyle::Plain), record, Ok(()));
            }
            Err(error) => results.push(server.name(), ("DOWN", TextStyle::Bad), record, Err(error)),
        }
    }
    results.print(COLUMNS, &mut session.output)
}
