//! The tool `remcache`: memcached servers at the command line, over the library's public API.

mod bulk;
mod cli;
mod commands;
mod context;
mod embedded;
mod exit;
mod input;
mod interrupt;
mod load;
mod metrics;
mod options;
mod output;
mod relation;
mod room;
mod sample;
mod selection;
mod session;
mod tally;
mod unfinished;

use std::process::ExitCode;

fn main() -> ExitCode {
    exit::leave(cli::parse().and_then(cli::run))
}
