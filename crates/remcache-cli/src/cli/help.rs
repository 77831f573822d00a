//! `help`: prints the help of a command.

use crate::exit::{Exit, Failure, Outcome};
use crate::session::Session;

/// Print the help of a command
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The command; without one, all commands are listed
    command: Vec<String>,
}

pub(super) fn run(args: &Args, session: &mut Session) -> Outcome {
    let mut definition = session.definition();
    definition.build();
    let mut command = &mut definition;
    for name in &args.command {
        let parent = command.get_name().to_owned();
        command = command
            .find_subcommand_mut(name)
            .ok_or_else(|| Failure::usage(format!("no command {name:?} in {parent}; see {parent} --help")))?;
    }
    let help = command.render_long_help();
    let help = if session.output.paint().is_on() { help.ansi().to_string() } else { help.to_string() };
    session.output.bytes(help.as_bytes())?;
    Ok(Exit::Yes)
}
