//! Lines of the shell: each is a command line without the tool's name.

use std::ffi::OsString;

use clap::FromArgMatches as _;
use clap::error::ErrorKind;
use clap::parser::ValueSource;

use super::run::run_in;
use super::{Cli, command, innermost, usage_error};
use crate::context::{self as contexts, Settings};
use crate::exit::Outcome;
use crate::session::Session;

/// A command line of the shell, parsed.
struct ParsedLine {
    cli: Cli,
    /// The global options that the line gives.
    given: Settings,
}

/// Runs the words of a line as a command; the error is a usage error or a request for help.
pub(super) async fn run_line(words: Vec<OsString>, session: &Session) -> Result<Outcome, clap::Error> {
    let line = parse(words, session.resolved.clone()).map_err(usage_error::escaped)?;
    let mut line_session = session.for_line(line.cli.global, line.given);
    let outcome = run_in(line.cli.command, &mut line_session).await;
    if let Err(error) = line_session.output.end_line().and_then(|()| line_session.output.flush()) {
        return Ok(Err(error.into()));
    }
    Ok(outcome)
}

/// Parses the words of a line; the shell's options are its defaults.
fn parse(words: Vec<OsString>, options: Settings) -> Result<ParsedLine, clap::Error> {
    // The environment was applied when the shell started.
    let command = command().no_binary_name(true).mut_args(|option| option.env(None));
    let mut command = contexts::with_defaults(command, options);
    let matches = command.clone().try_get_matches_from(words)?;
    let innermost = innermost(&matches);
    let is_given = |name: &&&str| {
        let id = name.replace('-', "_");
        innermost.value_source(&id) == Some(ValueSource::CommandLine)
    };
    if let Some(name) = contexts::STARTUP_ONLY.iter().find(is_given) {
        let message = format!("--{name} can only be given when the shell starts: remcache shell --{name}\n");
        return Err(command.error(ErrorKind::ArgumentConflict, message));
    }
    let given = contexts::given(&command, innermost);
    Ok(ParsedLine { cli: Cli::from_arg_matches(&matches)?, given })
}
