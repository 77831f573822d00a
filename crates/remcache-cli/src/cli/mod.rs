//! The command line: one definition of each option gives its parser, help and environment variable.

mod global;
pub(crate) mod value;

pub(crate) use global::{Color, Format, Global};

use clap::{Parser, Subcommand};

use crate::commands::{
    bench, count, delete, demo, extend, fill, flush, get, locate, ping, serve, stats, store, touch, version,
};

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
    Stats(stats::Args),
    Version(version::Args),
    Ping(ping::Args),
    Flush(flush::Args),
    Locate(locate::Args),
    Bench(bench::Args),
    Fill(fill::Args),
}

const EXIT_CODES: &str = "\
Exit codes:
  0  yes, done
  1  the answer is no: a miss, not stored, a conflict
  2  the command line or its input cannot be followed
  3  some servers failed; the healthy part is printed
  4  no server was reached, or the time was up
  5  a server or the protocol failed
  6  a server wants an authentication, or TLS failed
  8  a threshold is broken (bench --fail-if)
  130  interrupted, after printing what there is";

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

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
