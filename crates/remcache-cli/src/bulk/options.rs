//! The options that bulk commands have in common.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::skip_reason::SkipReason;
use crate::options::value;

/// The options that bulk commands have in common.
#[derive(Debug, Args)]
pub(crate) struct BulkOptions {
    /// At most so many items a second: 500, 200k
    #[arg(long, value_name = "N", value_parser = value::count)]
    pub(crate) rate: Option<u64>,

    /// List what was left out in this file, a JSON document a line, each with the reason
    #[arg(long, value_name = "FILE")]
    pub(crate) failed: Option<PathBuf>,
}

/// What to do with items that no client would look for where they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Misplaced {
    /// Leave them out
    Skip,
    /// Take them as well, as if they were where they belong
    Take,
}

impl Misplaced {
    /// The reason that is no surprise once it was chosen.
    pub(crate) fn accepted(chosen: Option<Self>) -> Option<SkipReason> {
        chosen.map(|_| SkipReason::Misplaced)
    }
}
