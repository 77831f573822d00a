//! How the tool ends: its exit codes, and what stops a command.

use std::fmt;
use std::io::{self, Write as _};
use std::path::Path;
use std::process::ExitCode;

use remcache::{Error, ErrorKind};

/// The exit codes, which scripts rely on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Exit {
    /// Yes; it is done.
    Yes,
    /// The answer is no: a miss, not stored, a conflict.
    No,
    /// The command line cannot be followed.
    Usage,
    /// Some servers failed; the healthy part is printed.
    Partly,
    /// No server was reached, or the time was up.
    Unreachable,
    /// A server or the protocol failed.
    Server,
    /// A server wants an authentication, or refused it, or TLS failed.
    Auth,
    /// A threshold is broken.
    Threshold,
    /// Interrupted, after printing what there is.
    Interrupted,
    /// Monitoring: worth a look.
    Warning,
    /// Monitoring: something is wrong.
    Critical,
    /// Monitoring: nothing can be said.
    Unknown,
}

impl Exit {
    /// The number that the process ends with.
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

    /// The exit code of an error of the library.
    pub(crate) fn of(error: &Error) -> Self {
        match error.kind() {
            ErrorKind::InvalidKey | ErrorKind::InvalidArguments | ErrorKind::Config => Self::Usage,
            ErrorKind::Conflict => Self::No,
            ErrorKind::Disconnected(_) | ErrorKind::TimedOut(_) | ErrorKind::Overloaded => Self::Unreachable,
            ErrorKind::Auth | ErrorKind::Tls => Self::Auth,
            _ => Self::Server,
        }
    }

    /// The exit code of a question with this answer.
    pub(crate) fn answer(yes: bool) -> Self {
        if yes { Self::Yes } else { Self::No }
    }
}

/// What stops a command.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The command line or its input cannot be followed.
    Usage(String),
    /// The library could not do it.
    Library(Error),
    /// Reading or writing failed; where, and how.
    Io(String, io::Error),
    /// A server lacks what the command needs.
    Unsupported(String),
    /// Nobody reads the output any more.
    ClosedPipe,
}

pub(crate) type Outcome = Result<Exit, Failure>;

impl Failure {
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::Usage(message.into())
    }

    pub(crate) fn file(path: &Path, error: io::Error) -> Self {
        Self::Io(path.display().to_string(), error)
    }

    /// The exit code that it gives.
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::Usage(_) | Self::Io(..) => Exit::Usage,
            Self::Library(error) => Exit::of(error),
            Self::Unsupported(_) => Exit::Server,
            Self::ClosedPipe => Exit::Yes,
        }
    }
}

/// Errors of writing to standard output: a reader that has gone is no error of ours.
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
            Self::Usage(message) | Self::Unsupported(message) => f.write_str(message),
            Self::Library(error) => f.write_str(&words(error)),
            Self::Io(place, error) => write!(f, "{place}: {error}"),
            Self::ClosedPipe => f.write_str("nobody reads the output"),
        }
    }
}

/// What the library says, in the words of the tool: where it names a setting, here is an option.
pub(crate) fn words(said: impl fmt::Display) -> String {
    let said = said.to_string().replace("Config::credentials", "--user and --password-file");
    said.replace("docs/placement.md and Distribution::all list", "remcache ring profiles lists")
}

/// Says what stopped the command, if anything did, and gives the exit code.
pub(crate) fn leave(outcome: Outcome) -> ExitCode {
    let exit = match outcome {
        Ok(exit) => exit,
        Err(Failure::ClosedPipe) => Exit::Yes,
        // To monitoring, the code of a command line that cannot be followed is that of a broken server.
        Err(failure) if is_monitored() => {
            let line = failure.to_string().replace(['|', '\n'], " ");
            // Where stdout is closed there is nobody to tell.
            let _ = writeln!(io::stdout(), "MEMCACHED UNKNOWN - {line}");
            Exit::Unknown
        }
        Err(failure) => {
            complain(&failure);
            failure.exit()
        }
    };
    ExitCode::from(exit.code())
}

/// Whether monitoring called, as far as the command line can be read: it has codes of its own.
pub(crate) fn is_monitored() -> bool {
    let words: Vec<_> = std::env::args_os().skip(1).collect();
    let has = |word: &str| words.iter().any(|known| known == word);
    let format = std::env::var_os("REMCACHE_FORMAT");
    let is_format = ["nagios", "-fnagios", "--format=nagios"].into_iter().any(has)
        || format.is_some_and(|format| format == "nagios");
    has("check") && is_format
}

/// An error, on stderr.
pub(crate) fn complain(what: impl fmt::Display) {
    // Where stderr is closed there is nobody to tell.
    let _ = writeln!(io::stderr(), "error: {what}");
}
