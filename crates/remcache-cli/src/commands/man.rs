//! `man`: manual pages, generated from the definitions of the options.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command as Process, Stdio};

use clap::Command;
use clap_mangen::Man;

use super::subcommand;
use crate::atomic_file;
use crate::exit::{Exit, Failure, Outcome};
use crate::session::Session;

/// Show a manual page, or write one for each command into a directory
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  remcache man keys
  remcache man > remcache.1
  remcache man -d ~/.local/share/man/man1")]
pub(crate) struct Args {
    /// The command; without one, the page lists all commands
    #[arg(conflicts_with = "directory")]
    command: Vec<String>,

    /// Write remcache.1 and a page for each command into this directory
    #[arg(short = 'd', long, value_name = "DIR")]
    directory: Option<PathBuf>,
}

pub(crate) fn run(args: &Args, session: &mut Session) -> Outcome {
    let mut definition = session.definition();
    let command = subcommand(&mut definition, &args.command)?;
    match &args.directory {
        None => {
            let name = std::iter::once("remcache").chain(args.command.iter().map(String::as_str)).collect::<Vec<_>>();
            let page = page(command.clone().name(name.join("-")))?;
            if session.output.is_terminal() { show(&page)? } else { session.output.bytes(&page)? }
        }
        Some(directory) => {
            std::fs::create_dir_all(directory).map_err(|error| Failure::file(directory, error))?;
            write_pages(command, "remcache", directory)?;
        }
    }
    Ok(Exit::Yes)
}

/// Shows a page on the terminal, formatted by `man`.
fn show(page: &[u8]) -> Result<(), Failure> {
    let needs_man = |error| {
        Failure::usage(format!(
            "cannot run man, which formats the page ({error}); remcache help prints the same options"
        ))
    };
    let mut man = Process::new("man").args(["-l", "-"]).stdin(Stdio::piped()).spawn().map_err(needs_man)?;
    if let Some(mut input) = man.stdin.take() {
        // A reader may quit before the page has been read.
        let _ = input.write_all(page);
    }
    man.wait().map_err(needs_man).map(drop)
}

fn write_pages(command: &Command, name: &str, directory: &Path) -> Result<(), Failure> {
    for part in command.get_subcommands() {
        write_pages(part, &format!("{name}-{}", part.get_name()), directory)?;
    }
    let path = directory.join(format!("{name}.1"));
    let page = page(command.clone().name(name.to_owned()))?;
    atomic_file::write(&path, &page)
}

fn page(command: Command) -> io::Result<Vec<u8>> {
    let mut page = Vec::new();
    Man::new(command).render(&mut page)?;
    Ok(page)
}
