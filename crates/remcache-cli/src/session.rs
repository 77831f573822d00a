//! What a command works with: the options, the output, the servers.

use std::fmt;
use std::io::{self, BufRead as _, IsTerminal as _, Write as _};
use std::sync::{Arc, OnceLock};

use clap::Command;
use remcache::config::{Credentials, Endpoint};
use remcache::{Client, Config};
use tracing_subscriber::filter::LevelFilter;

use crate::context::{InUse, Settings};
use crate::embedded::Embedded;
use crate::exit::Failure;
use crate::interrupt::Interrupt;
use crate::item_limit;
use crate::options::Global;
use crate::output::{Output, is_colored};

/// What a command works with.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) options: Global,
    pub(crate) output: Output,
    pub(crate) interrupt: Interrupt,
    /// The global options that the command line gives.
    pub(crate) given: Settings,
    /// The global options with their values, wherever these come from.
    pub(crate) resolved: Settings,
    /// The context in use.
    pub(crate) context: Option<InUse>,
    /// Builds the definition of the command line, which only the topmost module knows.
    definition: fn() -> Command,
    /// Servers that live as long as this run.
    embedded: Option<Arc<Embedded>>,
    /// Who we are to the servers, once it is known: a pipe tells a password once.
    credentials: OnceLock<Option<Credentials>>,
    /// The client that a shell keeps for its lines.
    kept: Option<Client>,
    /// Where questions are answered, if not on standard input itself.
    asking: Option<Asking>,
}

/// What the command line determines for a session, apart from the options' values.
#[derive(Debug)]
pub(crate) struct Setup {
    pub(crate) given: Settings,
    pub(crate) resolved: Settings,
    pub(crate) context: Option<InUse>,
    pub(crate) definition: fn() -> Command,
}

/// Something that asks a question on a terminal that it reads itself, and gives the answer.
#[derive(Clone)]
pub(crate) struct Asking(Arc<Ask>);

type Ask = dyn Fn(&str) -> Result<String, Failure> + Send + Sync;

impl Asking {
    pub(crate) fn new(ask: impl Fn(&str) -> Result<String, Failure> + Send + Sync + 'static) -> Self {
        Self(Arc::new(ask))
    }
}

impl fmt::Debug for Asking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Asking")
    }
}

/// The options that change how a line prints, and not what it talks to.
const OF_OUTPUT: &[&str] = &["format", "color"];

/// The options that say where keys are placed, together.
const OF_PLACEMENT: &[&str] = &["distribution", "like", "hash", "hash-tag"];

/// The options that say whom to trust.
const OF_TLS: &[&str] = &["tls", "tls-ca", "tls-cert", "tls-key", "tls-name"];

/// The options that say who we are.
const OF_IDENTITY: &[&str] = &["user", "password-file"];

/// Whether one of these options was given.
fn gives(given: &Settings, names: &[&str]) -> bool {
    given.iter().any(|(name, _)| names.contains(&name.as_str()))
}

impl Session {
    /// Prepares a run: logging, signals, embedded servers.
    pub(crate) async fn open(options: Global, setup: Setup) -> Result<Self, Failure> {
        let Setup { given, resolved, context, definition } = setup;
        warn_of_passwords(&given);
        open_many_files();
        log(options.verbose, is_colored(options.color, io::stderr().is_terminal()));
        let interrupt = Interrupt::listen().map_err(|error| Failure::Io("signals".into(), error))?;
        let output = Output::new(&options);
        let embedded = match options.embedded {
            Some(count) => Some(Arc::new(Embedded::start(count.into(), options.embedded_memory).await?)),
            None => None,
        };
        let credentials = OnceLock::new();
        let (kept, asking) = (None, None);
        Ok(Self {
            options,
            output,
            interrupt,
            given,
            resolved,
            context,
            definition,
            embedded,
            credentials,
            kept,
            asking,
        })
    }

    /// Keeps a client for the lines of a shell, and asks their questions in this way.
    pub(crate) fn keep(&mut self, client: Client, asking: Option<Asking>) {
        (self.kept, self.asking) = (Some(client), asking);
    }

    /// The session of a line of a shell: with options of its own it has a client of its own.
    pub(crate) fn of_line(&self, options: Global, given: Settings) -> Self {
        let is_of_output = given.iter().all(|(name, _)| OF_OUTPUT.contains(&name.as_str()));
        let is_somebody_else = gives(&given, OF_IDENTITY);
        let of_shell = self.given.iter().filter(|(name, _)| !gives(&given, &[name.as_str()])).cloned();
        let given = of_shell.chain(given.clone()).collect();
        Self {
            output: Output::new(&options),
            options,
            interrupt: self.interrupt.clone(),
            resolved: self.resolved.clone(),
            context: self.context.clone(),
            definition: self.definition,
            embedded: self.embedded.clone(),
            credentials: if is_somebody_else { OnceLock::new() } else { self.credentials.clone() },
            kept: self.kept.clone().filter(|_| is_of_output),
            asking: self.asking.clone(),
            given,
        }
    }

    /// The definition of the command line: every command with its options.
    pub(crate) fn definition(&self) -> Command {
        (self.definition)()
    }

    /// A client of the servers that the options name. It connects when it is used.
    pub(crate) fn client(&self) -> Result<Client, Failure> {
        match &self.kept {
            Some(client) => Ok(client.clone()),
            None => self.client_with(|config| config),
        }
    }

    /// The same with settings of the command's own.
    ///
    /// What the command line gives wins over the options of a URL, and these over everything else.
    pub(crate) fn client_with(&self, tune: impl FnOnce(Config) -> Config) -> Result<Client, Failure> {
        self.client_tuned(&self.addresses(), tune)
    }

    /// The same of other servers than those that the options name.
    pub(crate) fn client_of(&self, servers: &[String]) -> Result<Client, Failure> {
        self.client_tuned(servers, |config| config)
    }

    fn client_tuned(&self, servers: &[String], tune: impl FnOnce(Config) -> Config) -> Result<Client, Failure> {
        let config = tune(self.configure(Config::new(), |_| true)?);
        // How long a value may be is up to the server: an operator looks at whatever is there.
        let config = config.max_value_size(item_limit::MAX_VALUE_SIZE).size_checked_from(item_limit::SIZE_CHECKED_FROM);
        let config = servers.iter().try_fold(config, |config, server| config.server(server))?;
        let config = self.configure(config, |names| gives(&self.given, names))?;
        Ok(Client::from_config(config)?)
    }

    /// The settings with what the options say that are meant, by their names.
    fn configure(&self, mut config: Config, is_meant: impl Fn(&[&str]) -> bool) -> Result<Config, Failure> {
        let options = &self.options;
        if is_meant(&["protocol"]) {
            config = config.protocol(options.protocol);
        }
        if is_meant(OF_PLACEMENT) {
            config = config.distribution(options.placement());
        }
        if is_meant(&["namespace"]) {
            config = config.namespace(options.namespace.clone().unwrap_or_default());
        }
        if is_meant(&["timeout"]) {
            config = config.timeout(options.timeout);
        }
        if is_meant(&["connect-timeout"]) {
            config = config.connect_timeout(options.connect_timeout);
        }
        // Servers of this run want neither.
        if !self.is_embedded() && is_meant(OF_TLS) {
            config = options.security.apply(config)?;
        }
        if !self.is_embedded() && is_meant(OF_IDENTITY) {
            config = self.identify(config)?;
        }
        Ok(config)
    }

    fn identify(&self, config: Config) -> Result<Config, Failure> {
        let credentials = match self.credentials.get() {
            Some(known) => known.clone(),
            None => {
                let credentials = self.options.security.credentials()?;
                self.credentials.get_or_init(|| credentials).clone()
            }
        };
        Ok(match credentials {
            Some(credentials) => config.credentials(credentials),
            None => config,
        })
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

    /// Whether the servers are those of a production context.
    pub(crate) fn is_production(&self) -> bool {
        self.embedded.is_none() && self.context.as_ref().is_some_and(|context| context.is_production)
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
                Ok(self.ask(&question)? == context.name)
            }
            None => Ok(matches!(self.ask(&format!("{question} [y/N]"))?.to_lowercase().as_str(), "y" | "yes")),
        }
    }

    fn ask(&self, question: &str) -> Result<String, Failure> {
        match &self.asking {
            Some(Asking(ask)) => ask(question),
            None => ask(question),
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

/// Hundreds of servers take more files than a shell usually allows; where that cannot be changed, what does not
/// open says so.
#[cfg(unix)]
fn open_many_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
}

#[cfg(not(unix))]
fn open_many_files() {}

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
