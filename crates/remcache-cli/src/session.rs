//! What a command works with: the options, the output, the servers.

use std::io::{self, IsTerminal as _};

use remcache::{Client, Config};
use tracing_subscriber::filter::LevelFilter;

use crate::cli::Global;
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
    /// Servers that live as long as this run.
    embedded: Option<Embedded>,
}

impl Session {
    /// Prepares a run: logging, signals, embedded servers.
    pub(crate) async fn open(options: Global) -> Result<Self, Failure> {
        log(options.verbose, is_colored(options.color, io::stderr().is_terminal()));
        let interrupt = Interrupt::listen().map_err(|error| Failure::Io("signals".into(), error))?;
        let output = Output::new(&options);
        let embedded = match options.embedded {
            Some(count) => Some(Embedded::start(count.into(), options.embedded_memory).await?),
            None => None,
        };
        Ok(Self { options, output, interrupt, embedded })
    }

    /// A client of the servers that the options name. It connects when it is used.
    pub(crate) fn client(&self) -> Result<Client, Failure> {
        self.client_with(|config| config)
    }

    /// The same with settings of the command's own.
    pub(crate) fn client_with(&self, tune: impl FnOnce(Config) -> Config) -> Result<Client, Failure> {
        let options = &self.options;
        let config = Config::new()
            .distribution(options.distribution)
            .namespace(options.namespace.clone().unwrap_or_default())
            .timeout(options.timeout)
            .connect_timeout(options.connect_timeout);
        Ok(Client::with_config(self.addresses(), tune(config))?)
    }

    /// Whether the servers are this run's own.
    pub(crate) fn is_embedded(&self) -> bool {
        self.embedded.is_some()
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
