//! The options for authentication and TLS.

#[cfg(feature = "tls")]
use std::fs::File;
#[cfg(feature = "tls")]
use std::io::Read as _;
use std::io::{self, IsTerminal as _};
#[cfg(feature = "tls")]
use std::path::Path;
use std::path::PathBuf;

use clap::builder::BoolishValueParser;
use clap::{ArgAction, Args};
use remcache::Config;
use remcache::config::Credentials;
#[cfg(feature = "tls")]
use remcache::transport::Tls;

use crate::exit::Failure;

/// The options for authentication and TLS.
#[derive(Debug, Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Security {
    /// The user name, with --password-file or --password-stdin
    #[arg(long, value_name = "NAME", env = "REMCACHE_USER", global = true)]
    user: Option<String>,

    /// A file with the password in its first line
    #[arg(long, value_name = "FILE", env = "REMCACHE_PASSWORD_FILE", global = true)]
    password_file: Option<PathBuf>,

    /// Read the password from the first line of standard input
    #[arg(long, env = "REMCACHE_PASSWORD_STDIN", global = true, action = ArgAction::SetTrue, value_parser = BoolishValueParser::new())]
    password_stdin: bool,

    /// Use TLS, and trust the certificate authorities of the system
    #[arg(long, env = "REMCACHE_TLS", global = true, action = ArgAction::SetTrue, value_parser = BoolishValueParser::new())]
    tls: bool,

    /// Use TLS, and trust only the certificate authorities of this PEM file
    #[arg(long, value_name = "FILE", env = "REMCACHE_TLS_CA", global = true)]
    tls_ca: Option<PathBuf>,

    /// The client certificate as PEM, with --tls-key
    #[arg(long, value_name = "FILE", env = "REMCACHE_TLS_CERT", global = true)]
    tls_cert: Option<PathBuf>,

    /// The private key of the client certificate as PEM
    #[arg(long, value_name = "FILE", env = "REMCACHE_TLS_KEY", global = true)]
    tls_key: Option<PathBuf>,

    /// The name in the server's certificate, if it is not the host name of its address
    #[arg(long, value_name = "NAME", env = "REMCACHE_TLS_NAME", global = true)]
    tls_name: Option<String>,
}

impl Security {
    /// Applies the options for TLS to the settings of a client.
    #[cfg(not(feature = "tls"))]
    pub(crate) fn apply(&self, config: Config) -> Result<Config, Failure> {
        let options = [&self.tls_ca, &self.tls_cert, &self.tls_key];
        match self.tls || self.tls_name.is_some() || options.into_iter().any(Option::is_some) {
            true => Err(Failure::missing("TLS", "tls")),
            false => Ok(config),
        }
    }

    /// Applies the options for TLS to the settings of a client.
    #[cfg(feature = "tls")]
    pub(crate) fn apply(&self, config: Config) -> Result<Config, Failure> {
        // Unusable files are errors of the command line, and not of a server.
        let files = [(&self.tls_ca, CERTIFICATE), (&self.tls_cert, CERTIFICATE), (&self.tls_key, PRIVATE_KEY)];
        for (file, kind) in files.into_iter().filter_map(|(file, kind)| Some((file.as_ref()?, kind))) {
            require_pem(file, kind)?;
        }
        Ok(match self.tls()? {
            Some(tls) => config.tls(tls),
            None => config,
        })
    }

    #[cfg(feature = "tls")]
    fn tls(&self) -> Result<Option<Tls>, Failure> {
        let tls = match &self.tls_ca {
            Some(file) => Tls::with_roots_file(file),
            None => Tls::with_system_roots(),
        };
        let tls = match &self.tls_name {
            Some(name) => tls.server_name(name),
            None => tls,
        };
        let is_enabled = self.tls || self.tls_ca.is_some() || self.tls_name.is_some();
        match (&self.tls_cert, &self.tls_key) {
            (Some(certificate), Some(key)) => Ok(Some(tls.client_certificate(certificate, key))),
            (None, None) => Ok(is_enabled.then_some(tls)),
            _ => Err(Failure::usage("--tls-cert needs --tls-key, and the other way round: pass both")),
        }
    }

    /// Returns whether the password comes from standard input.
    pub(crate) fn reads_password(&self) -> bool {
        self.password_stdin
    }

    /// Returns the credentials. Standard input can be read only once, so call this once.
    pub(crate) fn credentials(&self) -> Result<Option<Credentials>, Failure> {
        let password = match (&self.password_file, self.password_stdin) {
            (Some(_), true) => return Err(Failure::usage("--password-file and --password-stdin exclude each other")),
            (Some(file), false) => Some(std::fs::read_to_string(file).map_err(|error| Failure::file(file, error))?),
            (None, true) => Some(read_password()?),
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

/// What a PEM file contains.
#[cfg(feature = "tls")]
#[derive(Clone, Copy)]
struct PemKind {
    name: &'static str,
    /// The end of the line before its data: `RSA` and other words may stand before it.
    marker: &'static [u8],
}

#[cfg(feature = "tls")]
const CERTIFICATE: PemKind = PemKind { name: "certificate", marker: b"CERTIFICATE-----" };

#[cfg(feature = "tls")]
const PRIVATE_KEY: PemKind = PemKind { name: "private key", marker: b"PRIVATE KEY-----" };

/// Fails if a file cannot be read or contains no data of this kind.
#[cfg(feature = "tls")]
fn require_pem(path: &Path, kind: PemKind) -> Result<(), Failure> {
    let unreadable = |error| Failure::file(path, error);
    let mut file = File::open(path).map_err(unreadable)?;
    let kind_of_file = file.metadata().map_err(unreadable)?.file_type();
    if kind_of_file.is_dir() {
        return Err(Failure::usage(format!("{}: is a directory", path.display())));
    }
    // A pipe can be read only once.
    if !kind_of_file.is_file() {
        return Ok(());
    }
    let mut content = Vec::new();
    file.read_to_end(&mut content).map_err(unreadable)?;
    match content.windows(kind.marker.len()).any(|window| window == kind.marker) {
        true => Ok(()),
        false => Err(Failure::usage(format!("{}: no {} in PEM format in this file", path.display(), kind.name))),
    }
}

fn read_password() -> Result<String, Failure> {
    if io::stdin().is_terminal() {
        return Err(Failure::usage(
            "--password-stdin would show the password on the terminal: use a pipe, or --password-file",
        ));
    }
    let mut line = String::new();
    io::stdin().read_line(&mut line).map_err(|error| Failure::Io("standard input".into(), error))?;
    Ok(line)
}
