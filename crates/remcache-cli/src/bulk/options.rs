//! The options that bulk commands have in common.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::skip_reason::SkipReason;
use crate::options::value;

/// The options that bulk commands have in common.
#[derive(Debug, Args)]
pub(crate) struct BulkOptions {
    /// At most N items per second: 500, 200k
    #[arg(long, value_name = "N", value_parser = value::count)]
    pub(crate) rate: Option<u64>,

    /// Write the skipped items with their reasons into this file, one JSON document per line
    #[arg(long, value_name = "FILE")]
    pub(crate) failed: Option<PathBuf>,
}

/// What to do with items on servers where no client would look for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Misplaced {
    /// Skip them
    Skip,
    /// Include them like all others
    Take,
}

impl Misplaced {
    /// The reason that is not a failure once the command line has decided what to do.
    pub(crate) fn accepted(chosen: Option<Self>) -> Option<SkipReason> {
        chosen.map(|_| SkipReason::Misplaced)
    }
}
