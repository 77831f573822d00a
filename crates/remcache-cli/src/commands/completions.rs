//! `completions`: the script with which a shell completes the tool's command lines.

use std::io;

use clap_complete::env::Shells;
use clap_complete::{CompleteEnv, Shell};

use crate::exit::{Exit, Outcome};
use crate::session::Session;

/// Print the completion script of a shell
///
/// It completes commands, options and their values, names of contexts, and files.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Where it goes:
  bash        remcache completions bash \\
                > ~/.local/share/bash-completion/completions/remcache
  zsh         remcache completions zsh > a directory of $fpath, as _remcache
  fish        remcache completions fish \\
                > ~/.config/fish/completions/remcache.fish
  powershell  remcache completions powershell >> $PROFILE
  elvish      remcache completions elvish >> ~/.config/elvish/rc.elv
For the current shell alone: source <(remcache completions bash)")]
pub(crate) struct Args {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

/// The environment variable in which the script names its shell.
const VARIABLE: &str = "REMCACHE_COMPLETE";

/// The command that is completed, and that the script runs.
const NAME: &str = "remcache";

pub(crate) fn run(args: &Args, session: &mut Session) -> Outcome {
    session.output.bytes(&script(args.shell)?)?;
    Ok(Exit::Yes)
}

fn script(shell: Shell) -> io::Result<Vec<u8>> {
    let (shells, shell) = (Shells::builtins(), shell.to_string());
    let completer = shells.completer(&shell).ok_or_else(|| io::Error::other(format!("no script for {shell}")))?;
    let mut script = Vec::new();
    completer.write_registration(VARIABLE, NAME, NAME, NAME, &mut script)?;
    Ok(script)
}

/// Lists what may follow on a command line and ends the process, if the script of a shell asks for it.
pub(crate) fn complete(definition: fn() -> clap::Command) {
    CompleteEnv::with_factory(definition).var(VARIABLE).bin(NAME).completer(NAME).complete();
}
