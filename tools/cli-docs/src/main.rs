//! Makes what the documents show of the tool: pictures of its screens, and the table of tools.

mod drawing;
mod fleet;
mod pictures;
mod terminal;
mod tools;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// What the documents show of the tool.
#[derive(Debug, Parser)]
struct CommandLine {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Pictures of the tool at work on real servers
    Pictures(pictures::Options),
    /// The table of tools: each cell is a command that is run
    Tools(tools::Options),
    /// Prints what a program shows on a terminal after some seconds
    #[command(hide = true)]
    Screen(terminal::Options),
}

fn main() -> Result<()> {
    match CommandLine::parse().what {
        What::Pictures(options) => pictures::run(&options),
        What::Tools(options) => tools::run(&options),
        What::Screen(options) => terminal::show(&options),
    }
}
