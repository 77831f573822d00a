//! `remcache`, a command-line tool for memcached servers, on the library's public API.

mod atomic_file;
mod bulk;
mod certificate;
mod cli;
mod commands;
mod comparison;
mod context;
mod embedded;
mod escape;
mod exit;
mod input;
mod interrupt;
mod item_limit;
mod load_generator;
mod logging;
mod metrics;
mod options;
mod outcome_counts;
mod output;
mod prompt;
mod same_server;
mod selection;
mod session;
mod stats;
mod wrap;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::complete();
    exit::leave(cli::parse().and_then(cli::run))
}
