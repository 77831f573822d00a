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
    // The short help only names the global options; a page describes them.
    let command = command.mut_args(|option| option.hide_short_help(false));
    let mut page = Vec::new();
    Man::new(command).render(&mut page)?;
    Ok(with_sections(&String::from_utf8_lossy(&page)).into_bytes())
}

/// Returns a page with a section for each titled part of the text after the options, in place of one section for all.
fn with_sections(page: &str) -> String {
    let Some((before, after)) = page.split_once(".SH EXTRA\n") else { return page.to_owned() };
    let (extra, rest) = after.find("\n.SH ").map_or((after, ""), |end| after.split_at(end + 1));
    let line = |line: &str| match line.strip_suffix(':').filter(|title| !title.starts_with([' ', '.'])) {
        // Names of options are in lower case.
        Some(title) if title.contains('-') => format!(".SH {title}\n"),
        Some(title) => format!(".SH {}\n", title.to_uppercase()),
        None => format!("{line}\n"),
    };
    let extra: String = extra.lines().map(line).collect();
    let heading = if extra.starts_with(".SH ") { "" } else { ".SH NOTES\n" };
    format!("{before}{heading}{extra}{rest}")
}
