//! The command line: one definition of each option gives its parser, help and environment variable.

mod line;
mod run;

pub(crate) use run::run;

use clap::{ArgMatches, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

use crate::commands::{
    bench, check, completions, context, copy, count, delete, delete_matching, demo, doctor, dump, exists, extend, fill,
    flush, get, hotkeys, keys, load, locate, man, ping, ring, serve, serve_metrics, shell, stats, store, top, touch,
    version, watch,
};
use crate::context::{self as contexts, Contexts, InUse, Settings};
use crate::exit::{self, Exit, Failure};
use crate::options::Global;

/// Memcached servers at the command line.
#[derive(Debug, Parser)]
#[command(
    name = "remcache",
    version,
    after_help = EXIT_CODES,
    max_term_width = 100,
    arg_required_else_help = true,
    subcommand_required = true,
    disable_help_subcommand = true
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Demo(demo::Args),
    Serve(serve::Args),
    Get(get::Args),
    /// Store an item, whether or not there is one
    Set(store::Args),
    /// Store an item if there is none
    Add(store::Args),
    /// Store an item if there is one
    Replace(store::Args),
    /// Put bytes behind a value
    Append(extend::Args),
    /// Put bytes before a value
    Prepend(extend::Args),
    Delete(delete::Args),
    /// Raise a counter, and print the new number
    Incr(count::Args),
    /// Lower a counter, and print the new number; it stops at 0
    Decr(count::Args),
    Touch(touch::Args),
    Exists(exists::Args),
    Stats(stats::Args),
    Version(version::Args),
    Ping(ping::Args),
    Flush(flush::Args),
    Locate(locate::Args),
    Ring(ring::Args),
    Keys(keys::Args),
    Dump(dump::Args),
    Load(load::Args),
    Copy(copy::Args),
    DeleteMatching(delete_matching::Args),
    Hotkeys(hotkeys::Args),
    Watch(watch::Args),
    Shell(shell::Args),
    Bench(bench::Args),
    Fill(fill::Args),
    Top(top::Args),
    Check(check::Args),
    ServeMetrics(serve_metrics::Args),
    Doctor(doctor::Args),
    Context(context::Args),
    Completions(completions::Args),
    Man(man::Args),
}

/// What the tool was called with.
#[derive(Debug)]
pub(crate) struct Invocation {
    pub(crate) cli: Cli,
    /// The global options that the command line gives.
    pub(crate) given: Settings,
    /// The global options with their values, wherever these come from.
    pub(crate) resolved: Settings,
    /// The context in use.
    pub(crate) context: Option<InUse>,
}

/// The definition of the command line.
pub(crate) fn command() -> clap::Command {
    Cli::command()
}

/// Reads the command line; what it leaves open the context in use says. A command line that cannot be
/// followed ends the process.
pub(crate) fn parse() -> Result<Invocation, Failure> {
    let context = match context_in_use() {
        // The command that mends or examines the file must not stumble over it, nor one that needs none.
        Err(_) if needs_no_context() => None,
        context => context?,
    };
    let settings = match &context {
        Some((name, contexts)) => contexts.settings(name, &command())?,
        None => Settings::new(),
    };
    let command = contexts::with_defaults(command(), settings);
    let matches = command.clone().try_get_matches().unwrap_or_else(|error| give_up(&error));
    let innermost = innermost(&matches);
    let (given, resolved) = (contexts::given(&command, innermost), contexts::resolved(&command, innermost));
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| give_up(&error));
    let context = context.map(|(name, contexts)| InUse { is_production: contexts.is_production(&name), name });
    Ok(Invocation { cli, given, resolved, context })
}

/// Says what is wrong with the command line, or what was asked about it, and ends the process.
fn give_up(error: &clap::Error) -> ! {
    if error.use_stderr() && exit::is_monitored() {
        // Where the streams are closed there is nobody to tell.
        let _ = error.print();
        std::process::exit(Exit::Unknown.code().into());
    }
    error.exit()
}

/// Where global options are found, wherever they stand.
fn innermost(matches: &ArgMatches) -> &ArgMatches {
    matches.subcommand().map_or(matches, |(_, matches)| matches)
}

/// The command line, as far as it can be read.
fn at_first_sight() -> Option<ArgMatches> {
    command().ignore_errors(true).try_get_matches().ok()
}

/// Whether what was asked for can be done without the context in use: help too, which is no match.
fn needs_no_context() -> bool {
    at_first_sight().is_none_or(|matches| {
        matches!(matches.subcommand_name(), None | Some("doctor" | "context" | "completions" | "man"))
    })
}

/// The context that the command line or the environment names, else the file's current one.
fn context_in_use() -> Result<Option<(String, Contexts)>, Failure> {
    let matches = at_first_sight();
    let named = matches.as_ref().and_then(|matches| innermost(matches).try_get_one::<String>("context").ok()?.cloned());
    let in_use = match named {
        Some(name) => Some((name, Contexts::read()?)),
        // Without a place for contexts there are none.
        None => Contexts::read_if_any()?.and_then(|contexts| Some((contexts.current()?.to_owned(), contexts))),
    };
    if let Some((name, contexts)) = &in_use {
        contexts.check(name, &command())?;
    }
    Ok(in_use)
}

const EXIT_CODES: &str = "\
Exit codes:
  0  yes, done
  1  the answer is no: a miss, not stored, a conflict
  2  the command line cannot be followed, or a file or stream that it names: bad input, a full disk
  3  some servers failed; the healthy part is printed
  4  no server was reached, or the time was up
  5  a server or the protocol failed
  6  a server wants an authentication, or TLS failed
  8  a threshold is broken (bench --fail-if, check)
  130  interrupted, after printing what there is";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definitions_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_global_option_has_an_environment_variable() {
        for option in Cli::command().get_arguments().filter(|option| option.is_global_set()) {
            let expected = format!("REMCACHE_{}", option.get_id().as_str().to_uppercase());
            assert_eq!(option.get_env().and_then(|name| name.to_str()), Some(expected.as_str()));
        }
    }

    #[test]
    fn everything_has_a_help_text() {
        for command in Cli::command().get_subcommands() {
            assert!(command.get_about().is_some(), "{}", command.get_name());
            for option in command.get_arguments() {
                assert!(option.get_help().is_some(), "{} {}", command.get_name(), option.get_id());
            }
        }
    }
}
