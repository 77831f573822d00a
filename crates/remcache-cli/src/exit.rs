//! Exit codes, and the failures that end a command.

use std::fmt;
use std::io::{self, Write as _};
use std::path::Path;
use std::process::ExitCode;

use remcache::{Error, ErrorKind};

use crate::escape::escape;
use crate::wrap::{fold, stderr_columns};

/// The exit codes, which scripts rely on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Exit {
    /// Success, or the answer to a question is yes.
    Yes,
    /// The answer is no: a miss, not stored, a conflict, not confirmed.
    No,
    /// The command line or its input is invalid.
    Usage,
    /// Some servers failed; the results of the others were printed.
    Partly,
    /// No server was reachable, or the requests timed out.
    Unreachable,
    /// A server or protocol error.
    Server,
    /// Authentication is required or failed, or TLS failed.
    Auth,
    /// A threshold is exceeded.
    Threshold,
    /// Interrupted, after printing the results so far.
    Interrupted,
    /// Monitoring: warning.
    Warning,
    /// Monitoring: critical.
    Critical,
    /// Monitoring: unknown.
    Unknown,
}

impl Exit {
    /// Returns the exit status of the process.
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Yes => 0,
            Self::No | Self::Warning => 1,
            Self::Usage | Self::Critical => 2,
            Self::Partly | Self::Unknown => 3,
            Self::Unreachable => 4,
            Self::Server => 5,
            Self::Auth => 6,
            Self::Threshold => 8,
            Self::Interrupted => 130,
        }
    }

    /// Returns the exit code for an error of the library.
    pub(crate) fn of(error: &Error) -> Self {
        match error.kind() {
            ErrorKind::InvalidKey | ErrorKind::InvalidArguments | ErrorKind::Config => Self::Usage,
            ErrorKind::Conflict => Self::No,
            ErrorKind::Disconnected(_) | ErrorKind::TimedOut(_) | ErrorKind::Overloaded => Self::Unreachable,
            ErrorKind::Auth | ErrorKind::Tls => Self::Auth,
            _ => Self::Server,
        }
    }

    /// Returns the exit code for a yes or no answer.
    pub(crate) fn answer(yes: bool) -> Self {
        if yes { Self::Yes } else { Self::No }
    }
}

/// The reason why a command ended early.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The command line or its input is invalid.
    Usage(String),
    /// An error of the library.
    Library(Error),
    /// Reading or writing failed: what was read or written, and the error.
    Io(String, io::Error),
    /// A server lacks a feature that the command needs.
    Unsupported(String),
    /// A server that did not recover while the command waited for it.
    Unreachable(String),
    /// The reader of standard output has closed it.
    ClosedPipe,
}

pub(crate) type Outcome = Result<Exit, Failure>;

impl Failure {
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::Usage(message.into())
    }

    /// Creates a failure for a feature that this build does not have.
    #[cfg(not(feature = "full"))]
    pub(crate) fn missing(what: &str, feature: &str) -> Self {
        Self::Usage(format!(
            "{what} is not in this build: cargo install remcache-cli --features {feature}, or full for the whole tool"
        ))
    }

    pub(crate) fn file(path: &Path, error: io::Error) -> Self {
        Self::Io(path.display().to_string(), error)
    }

    /// Returns the exit code for this failure.
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::Usage(_) | Self::Io(..) => Exit::Usage,
            Self::Library(error) => Exit::of(error),
            Self::Unsupported(_) => Exit::Server,
            Self::Unreachable(_) => Exit::Unreachable,
            Self::ClosedPipe => Exit::Yes,
        }
    }
}

/// Errors of writing to standard output. A closed pipe is not an error: the reader has seen enough.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::ClosedPipe,
            _ => Self::Io("standard output".into(), error),
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Library(error)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(message) | Self::Unsupported(message) | Self::Unreachable(message) => f.write_str(message),
            Self::Library(error) => f.write_str(&words(error)),
            Self::Io(subject, error) if is_file_limit(error) => {
                write!(f, "{subject}: {error}: raise the limit of open files (ulimit -n)")
            }
            Self::Io(subject, error) => write!(f, "{subject}: {error}"),
            Self::ClosedPipe => f.write_str("standard output is closed"),
        }
    }
}

/// Returns whether the process has as many open files as it may have.
#[cfg(unix)]
fn is_file_limit(error: &io::Error) -> bool {
    error.raw_os_error() == Some(rustix::io::Errno::MFILE.raw_os_error())
}

#[cfg(not(unix))]
fn is_file_limit(_error: &io::Error) -> bool {
    false
}

/// Returns the library's message with the tool's options in place of the library's settings.
pub(crate) fn words(message: impl fmt::Display) -> String {
    let message = without_connection(message.to_string());
    OPTIONS.iter().fold(message, |message, (setting, option)| message.replace(setting, option))
}

/// Returns the message of an error without the name of its server, which stands before it.
pub(crate) fn words_without(server: &str, error: &Error) -> String {
    let text = words(error);
    text.strip_prefix(server).and_then(|text| text.strip_prefix(": ")).unwrap_or(&text).to_owned()
}

/// Returns the message without the part that says that a connection was lost, if it may never have existed: the error
/// of the system says more.
fn without_connection(message: String) -> String {
    if let Some((server, reason)) = message.split_once("disconnected, the request was not sent: ") {
        return format!("{server}{}", brief(reason));
    }
    match message.split_once(MAYBE_SENT) {
        Some((server, reason)) => format!("{server}{MAYBE_SENT}{}", brief(reason)),
        None => message,
    }
}

const MAYBE_SENT: &str = "disconnected, the request may have taken effect: ";

/// Returns an error of the system without its number, as part of a sentence: `connection refused`.
pub(crate) fn brief(text: &str) -> String {
    let Some((text, number)) = text.split_once(" (os error ") else { return text.to_owned() };
    let (_, rest) = number.split_once(')').unwrap_or_default();
    let mut characters = text.chars();
    let first = characters.next().map(|first| first.to_ascii_lowercase());
    first.into_iter().chain(characters).chain(rest.chars()).collect()
}

/// Names in messages of the library, and the names of the tool for them; longer texts first.
const OPTIONS: &[(&str, &str)] = &[
    ("docs/placement.md and Distribution::all list every name", "remcache ring profiles lists every name"),
    ("docs/placement.md and Distribution::all list", "remcache ring profiles lists"),
    ("pass the authority's certificate to Tls::with_roots_file", "pass the issuer's certificate with --tls-ca FILE"),
    ("pass a file to Tls::with_roots_file", "pass a file with --tls-ca FILE"),
    ("Tls::with_roots_file", "--tls-ca FILE"),
    ("set Tls::server_name", "pass one with --tls-name NAME"),
    ("Tls::server_name", "--tls-name NAME"),
    ("set Tls::client_certificate", "pass one with --tls-cert and --tls-key"),
    ("Tls::client_certificate", "--tls-cert and --tls-key"),
    ("turn on the feature `dns` of remcache", "cargo install remcache-cli --features dns, or full for the whole tool"),
    ("turn on the feature `tls` of remcache", "cargo install remcache-cli --features tls, or full for the whole tool"),
    ("supports the binary protocol only", "supports the binary protocol only, which cannot list keys or watch events"),
    ("use memcacheds://", "pass --tls or use memcacheds://"),
    ("a port without TLS; use memcached://", "a port without TLS: leave out --tls, or use memcached://"),
    ("then use memcached://", "then leave out --tls, or use memcached://"),
    ("Config::credentials", "--user and --password-file"),
    ("leave the credentials out, or make them Credentials::optional", "leave out --user and the password"),
    ("the time to live is zero: use Ttl::Never to keep an item, Ttl::Expired to drop it", "the time to live is zero"),
];

/// Prints the failure of a command, if any, and returns the exit status.
pub(crate) fn leave(outcome: Outcome) -> ExitCode {
    let exit = match outcome {
        Ok(exit) => exit,
        Err(Failure::ClosedPipe) => Exit::Yes,
        // A monitoring plugin reports on standard output, and 2, the code of a usage error, would mean CRITICAL.
        Err(failure) if is_monitored() => {
            report_unknown(&failure.to_string());
            Exit::Unknown
        }
        Err(failure) => {
            print_error(&failure);
            failure.exit()
        }
    };
    ExitCode::from(exit.code())
}

/// Prints why a check has no result, as a monitoring plugin does.
pub(crate) fn report_unknown(message: &str) {
    let line = message.replace(['|', '\n'], " ");
    // If standard output is closed, there is no place left to report to.
    let _ = writeln!(io::stdout(), "MEMCACHED UNKNOWN - {}", escape(&line));
}

/// Returns whether the arguments ask for `check` in the format of monitoring plugins, which has its own exit codes.
///
/// It looks at the raw arguments, because it is needed where these cannot be parsed.
pub(crate) fn is_monitored() -> bool {
    let args: Vec<_> = std::env::args_os().skip(1).collect();
    let has = |arg: &str| args.iter().any(|known| known == arg);
    let format = std::env::var_os("REMCACHE_FORMAT");
    let is_format = ["nagios", "-fnagios", "--format=nagios"].into_iter().any(has)
        || format.is_some_and(|format| format == "nagios");
    has("check") && is_format
}

/// Prints an error on stderr.
pub(crate) fn print_error(error: impl fmt::Display) {
    let message = format!("error: {}", escape(&error.to_string()));
    // If stderr is closed, there is no place left to report to.
    let _ = writeln!(io::stderr(), "{}", fold(&message, stderr_columns()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_name_the_options_of_the_tool() {
        let message = "it is for another host: connect by such a name, or set Tls::server_name";
        assert!(words(message).ends_with("or pass one with --tls-name NAME"));
        assert_eq!(words("give them by Config::credentials"), "give them by --user and --password-file");
        assert_eq!(
            words("if it is a port for TLS, use memcacheds://"),
            "if it is a port for TLS, pass --tls or use memcacheds://"
        );
    }

    #[test]
    fn errors_of_the_system_become_part_of_a_sentence() {
        assert_eq!(brief("Connection refused (os error 111)"), "connection refused");
        assert_eq!(brief("Broken pipe (os error 32) before its first reply"), "broken pipe before its first reply");
        assert_eq!(brief("no connection within 1s"), "no connection within 1s");
        assert_eq!(brief("TLS failed (expired)"), "TLS failed (expired)");
        let refused = "a:1: disconnected, the request was not sent: Connection refused (os error 111)";
        assert_eq!(words(refused), "a:1: connection refused");
        assert_eq!(words("a:1: disconnected, the request was not sent"), "a:1: disconnected, the request was not sent");
    }

    #[test]
    fn a_library_setting_is_replaced_by_its_longest_entry() {
        for (index, (setting, _)) in OPTIONS.iter().enumerate() {
            assert!(OPTIONS[..index].iter().all(|(earlier, _)| !setting.contains(earlier)), "{setting}");
        }
    }
}
