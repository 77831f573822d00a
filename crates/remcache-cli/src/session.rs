//! The session of a command: its options, its output, and its servers.

use std::io::{self, IsTerminal as _, Write as _};
use std::sync::{Arc, OnceLock};

use clap::{Command, FromArgMatches as _};
use remcache::config::{Credentials, Endpoint};
use remcache::discovery::{UrlSource, resolve_url};
use remcache::{Client, Config};

use crate::context::{self as contexts, ActiveContext, Contexts, Settings, password};
use crate::embedded::Embedded;
use crate::exit::Failure;
use crate::interrupt::Interrupt;
use crate::item_limit;
use crate::logging;
use crate::options::Global;
use crate::output::{Output, is_colored};
use crate::prompt::{self, Prompter};

/// The session of a command.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) options: Global,
    pub(crate) output: Output,
    pub(crate) interrupt: Interrupt,
    /// The global options that the command line gives.
    pub(crate) given: Settings,
    /// The values of all global options, whatever their sources.
    pub(crate) resolved: Settings,
    /// The context whose options apply.
    pub(crate) context: Option<ActiveContext>,
    /// Builds the definition of the command line, which only the topmost module knows.
    definition: fn() -> Command,
    /// The servers that `--embedded` started for this run.
    embedded: Option<Arc<Embedded>>,
    /// The credentials, once they were read: standard input can be read only once.
    credentials: OnceLock<Option<Credentials>>,
    /// The client that all lines of a shell share.
    shared_client: Option<Client>,
    /// Asks questions in place of standard input, which a shell reads.
    prompter: Option<Prompter>,
}

/// Settings of a session that the command line determines, apart from the options' values.
#[derive(Debug)]
pub(crate) struct Setup {
    pub(crate) given: Settings,
    pub(crate) resolved: Settings,
    pub(crate) context: Option<ActiveContext>,
    pub(crate) definition: fn() -> Command,
}

/// The options that change how a line of a shell prints, and not its client.
const OUTPUT_OPTIONS: &[&str] = &["format", "color"];

/// The options that determine the distribution of keys together.
const DISTRIBUTION_OPTIONS: &[&str] = &["distribution", "like", "hash", "hash-tag"];

/// The options for TLS.
const TLS_OPTIONS: &[&str] = &["tls", "tls-ca", "tls-cert", "tls-key", "tls-name"];

/// The options for authentication.
const CREDENTIALS_OPTIONS: &[&str] = &["user", "password-file"];

/// Returns whether one of these options was given.
fn has_any(given: &Settings, names: &[&str]) -> bool {
    given.iter().any(|(name, _)| names.contains(&name.as_str()))
}

impl Session {
    /// Prepares a run: logging, signals, embedded servers.
    pub(crate) async fn open(options: Global, setup: Setup) -> Result<Self, Failure> {
        let Setup { given, resolved, context, definition } = setup;
        warn_of_passwords(&given);
        raise_file_limit();
        logging::start(options.verbose, is_colored(options.color, io::stderr().is_terminal()));
        let interrupt = Interrupt::listen().map_err(|error| Failure::Io("signals".into(), error))?;
        let output = Output::new(&options);
        let embedded = match options.embedded {
            Some(count) => Some(Arc::new(Embedded::start(count.into(), options.embedded_memory).await?)),
            None => None,
        };
        let credentials = OnceLock::new();
        let (shared_client, prompter) = (None, None);
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
            shared_client,
            prompter,
        })
    }

    /// Replaces URLs that name a source, such as `dns+memcached://name`, by URLs of the servers that it lists now.
    pub(crate) async fn look_servers_up(&mut self) -> Result<(), Failure> {
        if self.is_embedded() || self.shared_client.is_some() {
            return Ok(());
        }
        let named = self.addresses();
        let found = self.look_up(&named).await?;
        if found != named {
            self.options.servers = found;
        }
        Ok(())
    }

    /// Returns these addresses and URLs, with servers in place of each source.
    async fn look_up(&self, urls: &[String]) -> Result<Vec<String>, Failure> {
        let mut found = Vec::with_capacity(urls.len());
        for url in urls {
            found.push(match UrlSource::parse(url, Config::new())? {
                // TLS, credentials and timeouts of the options concern a configuration endpoint too.
                Some(_) => resolve_url(url, self.configure(Config::new(), |_| true)?).await?,
                None => url.clone(),
            });
        }
        Ok(found)
    }

    /// Shares a client among the lines of a shell, and asks their questions with this prompter.
    pub(crate) fn share(&mut self, client: Client, prompter: Option<Prompter>) {
        (self.shared_client, self.prompter) = (Some(client), prompter);
    }

    /// Creates the session of a line of a shell. A line with options of its own has a client of its own.
    pub(crate) fn for_line(&self, options: Global, given: Settings) -> Self {
        let keeps_client = given.iter().all(|(name, _)| OUTPUT_OPTIONS.contains(&name.as_str()));
        let changes_credentials = has_any(&given, CREDENTIALS_OPTIONS);
        let inherited = self.given.iter().filter(|(name, _)| !has_any(&given, &[name.as_str()])).cloned();
        let given = inherited.chain(given.clone()).collect();
        Self {
            output: Output::new(&options),
            options,
            interrupt: self.interrupt.clone(),
            resolved: self.resolved.clone(),
            context: self.context.clone(),
            definition: self.definition,
            embedded: self.embedded.clone(),
            credentials: if changes_credentials { OnceLock::new() } else { self.credentials.clone() },
            shared_client: self.shared_client.clone().filter(|_| keeps_client),
            prompter: self.prompter.clone(),
            given,
        }
    }

    /// Returns the definition of the command line: every command with its options.
    pub(crate) fn definition(&self) -> Command {
        (self.definition)()
    }

    /// Returns a client of the servers that the options name. It connects when it is used.
    pub(crate) fn client(&self) -> Result<Client, Failure> {
        match &self.shared_client {
            Some(client) => Ok(client.clone()),
            None => self.client_with(|config| config),
        }
    }

    /// Returns a client with settings of the command's own.
    ///
    /// The command line overrides the options of a URL, which override everything else.
    pub(crate) fn client_with(&self, tune: impl FnOnce(Config) -> Config) -> Result<Client, Failure> {
        self.client_tuned(&self.addresses(), tune)
    }

    /// Returns a client of other servers than those that the options name: of a context, of addresses, or of URLs.
    pub(crate) async fn client_of(&self, servers: &[String]) -> Result<Client, Failure> {
        if let [name] = servers
            && let Some(mut session) = self.of_context(name)?
        {
            session.look_servers_up().await?;
            return session.client();
        }
        self.client_tuned(&self.look_up(servers).await?, |config| config)
    }

    /// Returns the session with the options of another context; `None` if there is no context of this name.
    ///
    /// The command line still overrides the options of the context.
    fn of_context(&self, name: &str) -> Result<Option<Self>, Failure> {
        let Some(contexts) = Contexts::read_if_any()?.filter(|contexts| contexts.names().contains(&name)) else {
            return Ok(None);
        };
        let (definition, given) = (self.definition(), self.given.iter().filter(|(option, _)| option != "server"));
        contexts.check(name, &definition)?;
        let given: Settings = given.cloned().collect();
        let settings = [contexts.settings(name, &definition)?, given.clone()].concat();
        let definition = contexts::with_defaults(definition, settings).mut_args(|option| option.env(None));
        let invalid = |error: clap::Error| Failure::usage(error.render().to_string());
        let matches = definition.try_get_matches_from(["remcache", "version"]).map_err(invalid)?;
        let options = Global::from_arg_matches(&matches).map_err(invalid)?;
        let session = self.for_line(options, given);
        let (embedded, shared_client, credentials) = (None, None, OnceLock::new());
        Ok(Some(Self { embedded, shared_client, credentials, ..session }))
    }

    fn client_tuned(&self, servers: &[String], tune: impl FnOnce(Config) -> Config) -> Result<Client, Failure> {
        let config = tune(self.configure(Config::new(), |_| true)?);
        // Values have no limit of the client: an operator must be able to read whatever a server holds.
        let config =
            config.max_value_size(item_limit::MAX_VALUE_SIZE).check_item_size_from(item_limit::SIZE_CHECKED_FROM);
        let config = servers.iter().try_fold(config, |config, server| config.server(server))?;
        let config = self.configure(config, |names| has_any(&self.given, names))?;
        let client = Client::from_config(config)?;
        if self.options.verbose > 0 {
            logging::log_connections(&client);
        }
        Ok(client)
    }

    /// Applies the options that are selected by their names.
    fn configure(&self, mut config: Config, is_selected: impl Fn(&[&str]) -> bool) -> Result<Config, Failure> {
        let options = &self.options;
        if is_selected(&["protocol"]) {
            config = config.protocol(options.protocol);
        }
        if is_selected(DISTRIBUTION_OPTIONS) {
            config = config.distribution(options.placement());
        }
        if is_selected(&["namespace"]) {
            config = config.namespace(options.namespace.clone().unwrap_or_default());
        }
        if is_selected(&["timeout"]) {
            config = config.timeout(options.timeout);
        }
        if is_selected(&["connect-timeout"]) {
            config = config.connect_timeout(options.connect_timeout);
        }
        // Embedded servers have neither TLS nor users.
        if !self.is_embedded() && is_selected(TLS_OPTIONS) {
            config = options.security.apply(config)?;
        }
        if !self.is_embedded() && is_selected(CREDENTIALS_OPTIONS) {
            config = self.authenticate(config)?;
        }
        Ok(config)
    }

    fn authenticate(&self, config: Config) -> Result<Config, Failure> {
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

    /// Returns the servers that the options name, as the distribution sees them.
    pub(crate) fn endpoints(&self) -> Result<Vec<Endpoint>, Failure> {
        Ok(self.client()?.servers().iter().map(|server| server.endpoint().clone()).collect())
    }

    /// Warns about passwords in the URLs of an option, unless they come from its environment variable.
    pub(crate) fn warn_of_password_in(&self, urls: &[String], variable: &str) {
        let inherited = std::env::var(variable).ok();
        if urls.iter().any(|url| password(url).is_some() && inherited.as_ref() != Some(url)) {
            warn(&format!("other users can see a password on the command line: use {variable}"));
        }
    }

    /// Returns whether the servers are those of a production context.
    pub(crate) fn is_production(&self) -> bool {
        self.embedded.is_none() && self.context.as_ref().is_some_and(|context| context.is_production)
    }

    /// Returns whether the servers are those that this run started.
    pub(crate) fn is_embedded(&self) -> bool {
        self.embedded.is_some()
    }

    /// Asks for confirmation: in a production context for the name of the context, else for a yes. If it is refused,
    /// this is reported.
    ///
    /// Without a terminal it refuses, and names the action: "refusing to flush 3 servers".
    pub(crate) fn confirm(&self, action: &str, question: &str) -> Result<bool, Failure> {
        if self.prompter.is_none() {
            prompt::require_terminal(action)?;
        }
        let is_confirmed = match self.context.as_ref().filter(|_| self.is_production()) {
            Some(context) => {
                let question =
                    format!("{question} {} is a production context: type its name to confirm:", context.name);
                self.ask(&question)? == context.name
            }
            None => matches!(self.ask(&format!("{question} [y/N]"))?.to_lowercase().as_str(), "y" | "yes"),
        };
        if !is_confirmed {
            self.output.notes().print("not confirmed: nothing was changed");
        }
        Ok(is_confirmed)
    }

    fn ask(&self, question: &str) -> Result<String, Failure> {
        match &self.prompter {
            Some(prompter) => prompter.ask(question),
            None => prompt::ask(question),
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

/// Raises the limit of open files as far as allowed: hundreds of servers need more than the usual 1,024.
#[cfg(unix)]
fn raise_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    // If this fails, connections that cannot be opened report the limit.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
}

#[cfg(not(unix))]
fn raise_file_limit() {}

/// Warns about passwords in arguments, which every user of the machine can read.
fn warn_of_passwords(given: &Settings) {
    let mut servers = given.iter().filter(|(option, _)| option == "server").flat_map(|(_, servers)| servers);
    if servers.any(|server| password(server).is_some()) {
        warn("other users can see a password on the command line: use --password-file or REMCACHE_SERVERS");
    }
}

fn warn(message: &str) {
    // If stderr is closed, there is no place left to report to.
    let _ = writeln!(io::stderr(), "warning: {message}");
}
