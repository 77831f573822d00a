//! What a command works with: the options, the output, the servers.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};

use remcache::client::Endpoint;
use remcache::{Client, Config};
use tracing_subscriber::filter::LevelFilter;

use crate::cli::Global;
use crate::context::{InUse, Settings};
use crate::embedded::Embedded;
use crate::exit::Failure;
use crate::interrupt::Interrupt;
use crate::output::{Output, is_colored};

/// What a command works with.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) options: Global,
    pub(crate) output: Output,
    pub(crate) interrupt: Interrupt,
    /// The global options that the command line gives.
    pub(crate) given: Settings,
    /// The context in use.
    pub(crate) context: Option<InUse>,
    /// Servers that live as long as this run.
    embedded: Option<Embedded>,
}

impl Session {
    /// Prepares a run: logging, signals, embedded servers.
    pub(crate) async fn open(options: Global, given: Settings, context: Option<InUse>) -> Result<Self, Failure> {
        warn_of_passwords(&given);
        log(options.verbose, is_colored(options.color, io::stderr().is_terminal()));
        let interrupt = Interrupt::listen().map_err(|error| Failure::Io("signals".into(), error))?;
        let output = Output::new(&options);
        let embedded = match options.embedded {
            Some(count) => Some(Embedded::start(count.into(), options.embedded_memory).await?),
            None => None,
        };
        Ok(Self { options, output, interrupt, given, context, embedded })
    }

    /// A client of the servers that the options name. It connects when it is used.
    pub(crate) fn client(&self) -> Result<Client, Failure> {
        self.client_with(|config| config)
    }

    /// The same with settings of the command's own.
    pub(crate) fn client_with(&self, tune: impl FnOnce(Config) -> Config) -> Result<Client, Failure> {
        self.client_of(&self.addresses(), tune)
    }

    /// The same of other servers than those that the options name.
    pub(crate) fn client_of(&self, servers: &[String], tune: impl FnOnce(Config) -> Config) -> Result<Client, Failure> {
        let options = &self.options;
        let config = Config::new()
            .protocol(options.protocol)
            .distribution(options.placement())
            .namespace(options.namespace.clone().unwrap_or_default())
            .timeout(options.timeout)
            .connect_timeout(options.connect_timeout);
        // Servers of this run want neither.
        let config = if self.is_embedded() { config } else { options.security.apply(config)? };
        Ok(Client::with_config(servers, tune(config))?)
    }

    /// The servers that the options name, as a ring sees them.
    pub(crate) fn endpoints(&self) -> Result<Vec<Endpoint>, Failure> {
        Ok(self.client()?.servers().iter().map(|server| server.endpoint().clone()).collect())
    }

    /// Warns of passwords in an option's URLs, unless they come from its environment variable.
    pub(crate) fn warn_of_password_in(&self, urls: &[String], variable: &str) {
        let inherited = std::env::var(variable).ok();
        if urls.iter().any(|url| has_password(url) && inherited.as_ref() != Some(url)) {
            complain_softly(&format!("a password on the command line can be seen by others: use {variable}"));
        }
    }

    /// Whether the servers are this run's own.
    pub(crate) fn is_embedded(&self) -> bool {
        self.embedded.is_some()
    }

    /// Asks before something is removed; where the context is marked as production, for its name.
    pub(crate) fn confirm(&self, question: &str) -> Result<bool, Failure> {
        match self.context.as_ref().filter(|context| context.is_production && self.embedded.is_none()) {
            Some(context) => {
                let question = format!("{question} {} is production: type its name to do it:", context.name);
                Ok(ask(&question)? == context.name)
            }
            None => Ok(matches!(ask(&format!("{question} [y/N]"))?.to_lowercase().as_str(), "y" | "yes")),
        }
    }

    fn addresses(&self) -> Vec<String> {
        if let Some(embedded) = &self.embedded {
            return embedded.addresses();
        }
        if !self.options.servers.is_empty() {
            return self.options.servers.clone();
        }
        let inherited = std::env::var("MEMCACHED_SERVERS").ok().filter(|servers| !servers.trim().is_empty());
        vec![inherited.unwrap_or_else(|| "localhost".into())]
    }
}

/// A password that stands in a command line can be read by everybody on the machine.
fn warn_of_passwords(given: &Settings) {
    let mut servers = given.iter().filter(|(option, _)| option == "server").flat_map(|(_, servers)| servers);
    if servers.any(|server| has_password(server)) {
        complain_softly(
            "a password on the command line can be seen by others: use --password-file or REMCACHE_SERVERS",
        );
    }
}

fn has_password(url: &str) -> bool {
    let user = url.split_once("://").and_then(|(_, rest)| Some(rest.split_once('@')?.0));
    user.is_some_and(|user| user.contains(':'))
}

fn complain_softly(what: &str) {
    // Where stderr is closed there is nobody to tell.
    let _ = writeln!(io::stderr(), "warning: {what}");
}

/// Refuses where there is no terminal to ask a question on.
pub(crate) fn require_terminal(question: &str) -> Result<(), Failure> {
    match io::stdin().is_terminal() {
        true => Ok(()),
        false => Err(Failure::usage(format!("{question} There is no terminal to ask on; say --yes to do it"))),
    }
}

/// Asks on the terminal. Without one it refuses: a script has to say --yes.
fn ask(question: &str) -> Result<String, Failure> {
    require_terminal(question)?;
    let _ = write!(io::stderr(), "{question} ");
    let _ = io::stderr().flush();
    let mut answer = String::new();
    let read = io::stdin().lock().read_line(&mut answer);
    read.map_err(|error| Failure::Io("standard input".into(), error))?;
    Ok(answer.trim().to_owned())
}

/// What the library tells, on stderr.
fn log(verbosity: u8, is_colored: bool) {
    let level = match verbosity {
        0 => LevelFilter::OFF,
        1 => LevelFilter::INFO,
        2 => LevelFilter::DEBUG,
        _ => LevelFilter::TRACE,
    };
    let log = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_ansi(is_colored)
        .with_writer(io::stderr)
        .log_internal_errors(false);
    // A second run in one process keeps the first one's log.
    let _ = log.try_init();
}
