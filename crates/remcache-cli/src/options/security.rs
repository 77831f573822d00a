//! The options about who we are to a server, and whether it is the one it says.

use std::io::{self, IsTerminal as _};
use std::path::PathBuf;

use clap::builder::BoolishValueParser;
use clap::{ArgAction, Args};
use remcache::Config;
use remcache::config::Credentials;
use remcache::transport::Tls;

use crate::exit::Failure;

/// The options about passwords and TLS.
#[derive(Debug, Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Security {
    /// The user to be known as, with --password-file or --password-stdin
    #[arg(long, value_name = "NAME", env = "REMCACHE_USER", global = true)]
    user: Option<String>,

    /// A file whose first line is the password
    #[arg(long, value_name = "FILE", env = "REMCACHE_PASSWORD_FILE", global = true)]
    password_file: Option<PathBuf>,

    /// Read the password from the first line of standard input
    #[arg(long, env = "REMCACHE_PASSWORD_STDIN", global = true, action = ArgAction::SetTrue, value_parser = BoolishValueParser::new())]
    password_stdin: bool,

    /// Speak TLS, trusting the authorities of the system
    #[arg(long, env = "REMCACHE_TLS", global = true, action = ArgAction::SetTrue, value_parser = BoolishValueParser::new())]
    tls: bool,

    /// Speak TLS, trusting the authorities of this PEM file alone
    #[arg(long, value_name = "FILE", env = "REMCACHE_TLS_CA", global = true)]
    tls_ca: Option<PathBuf>,

    /// Our own certificate as PEM, with --tls-key
    #[arg(long, value_name = "FILE", env = "REMCACHE_TLS_CERT", global = true)]
    tls_cert: Option<PathBuf>,

    /// The key of our certificate as PEM
    #[arg(long, value_name = "FILE", env = "REMCACHE_TLS_KEY", global = true)]
    tls_key: Option<PathBuf>,

    /// The name that the server's certificate must have, if not that of its address
    #[arg(long, value_name = "NAME", env = "REMCACHE_TLS_NAME", global = true)]
    tls_name: Option<String>,
}

impl Security {
    /// The settings with what these options say of TLS.
    pub(crate) fn apply(&self, config: Config) -> Result<Config, Failure> {
        Ok(match self.tls()? {
            Some(tls) => config.tls(tls),
            None => config,
        })
    }

    fn tls(&self) -> Result<Option<Tls>, Failure> {
        let trusting = match &self.tls_ca {
            Some(file) => Tls::with_roots_file(file),
            None => Tls::with_system_roots(),
        };
        let named = match &self.tls_name {
            Some(name) => trusting.server_name(name),
            None => trusting,
        };
        let is_wanted = self.tls || self.tls_ca.is_some() || self.tls_name.is_some();
        match (&self.tls_cert, &self.tls_key) {
            (Some(certificate), Some(key)) => Ok(Some(named.client_certificate(certificate, key))),
            (None, None) => Ok(is_wanted.then_some(named)),
            _ => Err(Failure::usage("--tls-cert and --tls-key belong together: give both")),
        }
    }

    /// Who we are to the servers. What comes from standard input can be read once.
    pub(crate) fn credentials(&self) -> Result<Option<Credentials>, Failure> {
        let password = match (&self.password_file, self.password_stdin) {
            (Some(_), true) => return Err(Failure::usage("--password-file and --password-stdin exclude each other")),
            (Some(file), false) => Some(std::fs::read_to_string(file).map_err(|error| Failure::file(file, error))?),
            (None, true) => Some(typed()?),
            (None, false) => None,
        };
        match (&self.user, password) {
            (Some(user), Some(password)) => {
                Ok(Some(Credentials::new(user.as_str(), password.lines().next().unwrap_or_default())))
            }
            (Some(_), None) => Err(Failure::usage("--user needs --password-file or --password-stdin")),
            (None, Some(_)) => Err(Failure::usage("a password needs --user")),
            (None, None) => Ok(None),
        }
    }
}

fn typed() -> Result<String, Failure> {
    if io::stdin().is_terminal() {
        return Err(Failure::usage(
            "--password-stdin would show the password on the terminal: use a pipe, or --password-file",
        ));
    }
    let mut line = String::new();
    io::stdin().read_line(&mut line).map_err(|error| Failure::Io("standard input".into(), error))?;
    Ok(line)
}
