//! `completions`: what a shell needs to complete the tool's command lines.

use clap_complete::Shell;

use crate::exit::{Exit, Outcome};
use crate::session::Session;

/// Print the completions of a shell
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Where they go:
  bash        remcache completions bash > ~/.local/share/bash-completion/completions/remcache
  zsh         remcache completions zsh > a directory of $fpath, as _remcache
  fish        remcache completions fish > ~/.config/fish/completions/remcache.fish
  powershell  remcache completions powershell >> $PROFILE
  elvish      remcache completions elvish >> ~/.config/elvish/rc.elv")]
pub(crate) struct Args {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

pub(crate) fn run(args: &Args, session: &mut Session) -> Outcome {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut session.definition(), "remcache", &mut script);
    session.output.bytes(&script)?;
    Ok(Exit::Yes)
}
