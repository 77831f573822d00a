//! The tool `remcache`: memcached servers at the command line, over the library's public API.

mod cli;
mod commands;
mod embedded;
mod exit;
mod input;
mod interrupt;
mod load;
mod output;
mod sample;
mod session;
mod tally;

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    exit::leave(commands::run(cli::Cli::parse()))
}
