//! Generates parts of the command-line tool's documentation: screenshots, and the comparison with other tools.

mod comparison;
mod screenshots;
mod servers;
mod svg;
mod terminal;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// Generates parts of the command-line tool's documentation.
#[derive(Debug, Parser)]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Draw the tool's screens with real servers
    Screenshots(screenshots::ScreenshotOptions),
    /// Compare the tool with others: each cell of the table is a command that is run
    CompareTools(comparison::ComparisonOptions),
    /// Print the screen of a program after some seconds
    #[command(hide = true)]
    Screen(terminal::ScreenOptions),
}

fn main() -> Result<()> {
    match CommandLine::parse().command {
        Command::Screenshots(options) => screenshots::run(&options),
        Command::CompareTools(options) => comparison::run(&options),
        Command::Screen(options) => terminal::show(&options),
    }
}
