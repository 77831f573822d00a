//! The commands: one module each, with its options and its implementation.

mod availability;
pub(crate) mod bench;
pub(crate) mod check;
pub(crate) mod completions;
pub(crate) mod context;
pub(crate) mod copy;
pub(crate) mod count;
pub(crate) mod delete;
pub(crate) mod delete_matching;
pub(crate) mod demo;
pub(crate) mod doctor;
pub(crate) mod dump;
pub(crate) mod exists;
pub(crate) mod extend;
pub(crate) mod fill;
pub(crate) mod flush;
pub(crate) mod get;
pub(crate) mod hotkeys;
pub(crate) mod keys;
pub(crate) mod load;
pub(crate) mod locate;
pub(crate) mod man;
#[cfg(not(all(feature = "serve-metrics", feature = "top")))]
mod missing;
pub(crate) mod ping;
mod prefix;
pub(crate) mod ring;
pub(crate) mod serve;
#[cfg(feature = "serve-metrics")]
pub(crate) mod serve_metrics;
mod server_error;
mod server_log;
mod server_results;
pub(crate) mod shell;
pub(crate) mod stats;
pub(crate) mod store;
#[cfg(feature = "top")]
pub(crate) mod top;
pub(crate) mod touch;
pub(crate) mod version;
pub(crate) mod watch;
mod write_results;

#[cfg(not(feature = "serve-metrics"))]
pub(crate) use missing::serve_metrics;
#[cfg(not(feature = "top"))]
pub(crate) use missing::top;

use clap::Command;

use crate::exit::Failure;

/// Returns the command below a definition that these words name; without words, the definition itself.
pub(crate) fn subcommand<'d>(definition: &'d mut Command, names: &[String]) -> Result<&'d mut Command, Failure> {
    definition.build();
    names.iter().try_fold(definition, |parent, name| {
        let parent_name = parent.get_name().to_owned();
        let command = parent.find_subcommand_mut(name);
        command.ok_or_else(|| Failure::usage(format!("no command {name:?} in {parent_name}; see {parent_name} --help")))
    })
}
