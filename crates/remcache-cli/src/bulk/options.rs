//! The options that bulk commands have in common.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::request::OutageWait;
use crate::interrupt::Interrupt;
use crate::options::value;
use crate::output::Notes;

/// The options that bulk commands have in common.
#[derive(Debug, Args)]
pub(crate) struct BulkOptions {
    /// At most N items per second: 500, 200k
    #[arg(long, value_name = "N", value_parser = value::rate)]
    pub(crate) rate: Option<u64>,

    /// How long to wait for a server that stops answering; then a command that stores items there ends, and items to be
    /// read from it fail
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = value::duration)]
    wait: Duration,

    /// Write the skipped items with their reasons into this file, one JSON document per line
    #[arg(long, value_name = "FILE")]
    pub(crate) failed: Option<PathBuf>,
}

impl BulkOptions {
    /// Returns how the requests of a run are repeated while a server does not answer.
    pub(crate) fn outage_wait(&self, interrupt: &Interrupt, notes: Notes) -> OutageWait {
        OutageWait { limit: self.wait, interrupt: interrupt.clone(), notes }
    }
}
