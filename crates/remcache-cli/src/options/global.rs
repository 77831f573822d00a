//! The options that every command has.

use std::time::Duration;

use clap::builder::BoolishValueParser;
use clap::{ArgAction, Args, ValueEnum};
use remcache::config::ProtocolSetting;
use remcache::distribution::{Distribution, Hash};

use super::security::Security;
use super::value;

/// The options that every command has.
#[derive(Debug, Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Global {
    /// A server: host, host:port, host:port:weight, [v6]:port, /path/to.sock, a comma list of
    /// them, or a URL
    ///
    /// May be given more than once. A URL reads
    /// memcached://a,b:11212/namespace?timeout=250ms&distribution=ketama. What the command line gives
    /// wins over the options of a URL, and these over the environment and the context. Without this option the servers come from the context in use, from
    /// MEMCACHED_SERVERS, and without both it is localhost:11211.
    #[arg(short = 's', long = "server", value_name = "ADDR", env = "REMCACHE_SERVERS", global = true)]
    pub(crate) servers: Vec<String>,

    /// The context whose options are the defaults; see remcache context
    #[arg(long, value_name = "NAME", env = "REMCACHE_CONTEXT", global = true)]
    pub(crate) context: Option<String>,

    /// Start N embedded servers on loopback for this run, and use them
    #[arg(long, value_name = "N", env = "REMCACHE_EMBEDDED", global = true, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) embedded: Option<u16>,

    /// The memory of each embedded server
    #[arg(long, value_name = "BYTES", env = "REMCACHE_EMBEDDED_MEMORY", global = true, default_value = "64m", value_parser = value::bytes)]
    pub(crate) embedded_memory: usize,

    /// Where keys are placed; ring profiles lists the names
    ///
    /// Clients that share servers must agree on it. ketama is libmemcached's weighted ring; new
    /// fleets may take rendezvous.
    #[arg(long, value_name = "NAME", env = "REMCACHE_DISTRIBUTION", global = true, default_value = "ketama", value_parser = value::placement)]
    pub(crate) distribution: Distribution,

    /// Place keys as another client does: pylibmc, dalli, twemproxy, …; wins over --distribution
    #[arg(long, value_name = "CLIENT", env = "REMCACHE_LIKE", global = true, value_parser = value::placement)]
    pub(crate) like: Option<Distribution>,

    /// The hash that the other client was set to, where it lets one choose: md5, crc32, fnv1a_64, …
    #[arg(long, value_name = "HASH", env = "REMCACHE_HASH", global = true)]
    pub(crate) hash: Option<Hash>,

    /// Place keys by what stands between these two characters, as twemproxy does: {}
    #[arg(long, value_name = "TAG", env = "REMCACHE_HASH_TAG", global = true, value_parser = hash_tag)]
    pub(crate) hash_tag: Option<[u8; 2]>,

    /// A prefix of every key
    #[arg(long, value_name = "PREFIX", env = "REMCACHE_NAMESPACE", global = true)]
    pub(crate) namespace: Option<String>,

    /// What to speak: auto (what each server understands), binary, meta, or text
    #[arg(long, value_name = "PROTOCOL", env = "REMCACHE_PROTOCOL", global = true, default_value = "auto")]
    pub(crate) protocol: ProtocolSetting,

    #[command(flatten)]
    pub(crate) security: Security,

    /// How long a request may take: 250ms, 5s, 2h
    #[arg(long, value_name = "TIME", env = "REMCACHE_TIMEOUT", global = true, default_value = "1s", value_parser = value::duration)]
    pub(crate) timeout: Duration,

    /// How long connecting may take
    #[arg(long, value_name = "TIME", env = "REMCACHE_CONNECT_TIMEOUT", global = true, default_value = "1s", value_parser = value::duration)]
    pub(crate) connect_timeout: Duration,

    /// How to print
    #[arg(
        short = 'f',
        long,
        value_name = "FORMAT",
        env = "REMCACHE_FORMAT",
        global = true,
        default_value = "auto",
        value_enum
    )]
    pub(crate) format: Format,

    /// When to colour; NO_COLOR is heeded
    #[arg(long, value_name = "WHEN", env = "REMCACHE_COLOR", global = true, default_value = "auto", value_enum)]
    pub(crate) color: Color,

    /// Say nothing but the output and errors
    #[arg(short = 'q', long, env = "REMCACHE_QUIET", global = true, action = ArgAction::SetTrue, value_parser = BoolishValueParser::new())]
    pub(crate) quiet: bool,

    /// Log on stderr what happens to the connections; twice for more
    #[arg(short = 'v', long, env = "REMCACHE_VERBOSE", global = true, action = ArgAction::Count)]
    pub(crate) verbose: u8,
}

impl Global {
    /// Where keys are placed, all options considered.
    pub(crate) fn placement(&self) -> Distribution {
        let mut chosen = self.like.unwrap_or(self.distribution);
        if let Some(hash) = self.hash {
            chosen = chosen.hash(hash);
        }
        if let Some(tag) = self.hash_tag {
            chosen = chosen.hash_tag(tag);
        }
        chosen
    }
}

fn hash_tag(text: &str) -> Result<[u8; 2], String> {
    text.as_bytes().try_into().map_err(|_| "expected two characters such as {}".into())
}

/// How to print.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Text on a terminal, raw in a pipe
    Auto,
    /// For people, also in a pipe
    Text,
    /// One JSON document
    Json,
    /// A JSON document a line
    Ndjson,
    /// Comma-separated values with a header
    Csv,
    /// Metrics as Prometheus reads them; for stats
    Prometheus,
    /// One line for a monitoring plugin; for check
    Nagios,
}

/// When to colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Color {
    /// On a terminal, unless NO_COLOR is set
    Auto,
    /// Also in a pipe
    Always,
    /// Nowhere
    Never,
}
