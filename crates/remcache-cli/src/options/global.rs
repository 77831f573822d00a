//! The options that every command has.

use std::time::Duration;

use clap::builder::BoolishValueParser;
use clap::{ArgAction, Args, ValueEnum};
use remcache::config::ProtocolSetting;
use remcache::distribution::{Distribution, Hash};

use super::named_value::NamedValue;
use super::security::Security;
use super::value;

/// The options that every command has.
#[derive(Debug, Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Global {
    /// A server: host, host:port, host:port:weight, [v6]:port, /path/to.sock, a comma-separated list, or a URL
    ///
    /// Can be repeated. A URL has the form memcached://a,b:11212/namespace?timeout=250ms&distribution=ketama.
    /// With dns+, dnssrv+ or elasticache+ before it, its host is looked up once: dns+memcached://cache.example:11211.
    /// Options on the command line override those of a URL, which override the environment and the context.
    /// Without this option the servers come from the current context, then from MEMCACHED_SERVERS; the
    /// default is localhost:11211.
    #[arg(short = 's', long = "server", value_name = "ADDR", env = "REMCACHE_SERVERS", global = true)]
    pub(crate) servers: Vec<String>,

    /// Use the options of this context as defaults; see remcache context
    ///
    /// The current context applies only if its servers are used: with --server or --embedded, name the
    /// context to get its other options.
    #[arg(long, value_name = "NAME", env = "REMCACHE_CONTEXT", global = true)]
    pub(crate) context: Option<String>,

    /// Start N embedded servers on loopback for this run, and use them
    #[arg(long, value_name = "N", env = "REMCACHE_EMBEDDED", global = true, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) embedded: Option<u16>,

    /// The memory of each embedded server
    #[arg(long, value_name = "BYTES", env = "REMCACHE_EMBEDDED_MEMORY", global = true, default_value = "64m", value_parser = value::bytes)]
    pub(crate) embedded_memory: usize,

    /// How keys are distributed over the servers; remcache ring profiles lists the names
    ///
    /// All clients that share the servers must use the same distribution. ketama is libmemcached's weighted
    /// ring; rendezvous is a good choice for new clusters.
    #[arg(long, value_name = "NAME", env = "REMCACHE_DISTRIBUTION", global = true, default_value = "ketama", value_parser = distribution(), hide_possible_values = true)]
    pub(crate) distribution: Distribution,

    /// Distribute keys as another client does: pylibmc, dalli, twemproxy, …; overrides --distribution
    #[arg(long, value_name = "CLIENT", env = "REMCACHE_LIKE", global = true, value_parser = distribution(), hide_possible_values = true)]
    pub(crate) like: Option<Distribution>,

    /// The hash function, if the other client was configured with one: md5, crc32, fnv1a_64, …
    #[arg(long, value_name = "HASH", env = "REMCACHE_HASH", global = true, value_parser = NamedValue::<Hash>::new(hashes), hide_possible_values = true)]
    pub(crate) hash: Option<Hash>,

    /// Hash only the part of a key between these two characters, as twemproxy does: {}
    #[arg(long, value_name = "TAG", env = "REMCACHE_HASH_TAG", global = true, value_parser = hash_tag)]
    pub(crate) hash_tag: Option<[u8; 2]>,

    /// A prefix for every key
    #[arg(long, value_name = "PREFIX", env = "REMCACHE_NAMESPACE", global = true)]
    pub(crate) namespace: Option<String>,

    /// The protocol: auto (negotiated with each server), binary, meta, or text
    #[arg(long, value_name = "PROTOCOL", env = "REMCACHE_PROTOCOL", global = true, default_value = "auto", value_parser = NamedValue::<ProtocolSetting>::new(protocols), hide_possible_values = true)]
    pub(crate) protocol: ProtocolSetting,

    #[command(flatten)]
    pub(crate) security: Security,

    /// The timeout of a request: 250ms, 5s, 2h
    #[arg(long, value_name = "TIME", env = "REMCACHE_TIMEOUT", global = true, default_value = "1s", value_parser = value::duration)]
    pub(crate) timeout: Duration,

    /// The timeout of connecting
    #[arg(long, value_name = "TIME", env = "REMCACHE_CONNECT_TIMEOUT", global = true, default_value = "1s", value_parser = value::duration)]
    pub(crate) connect_timeout: Duration,

    /// The output format; remcache help fields explains the fields of json, ndjson and csv
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

    /// When to use colours; NO_COLOR is respected
    #[arg(long, value_name = "WHEN", env = "REMCACHE_COLOR", global = true, default_value = "auto", value_enum)]
    pub(crate) color: Color,

    /// Print only the output and errors
    #[arg(short = 'q', long, env = "REMCACHE_QUIET", global = true, action = ArgAction::SetTrue, value_parser = BoolishValueParser::new())]
    pub(crate) quiet: bool,

    /// Log connections on stderr; twice for more detail
    #[arg(short = 'v', long, env = "REMCACHE_VERBOSE", global = true, action = ArgAction::Count)]
    pub(crate) verbose: u8,
}

impl Global {
    /// Returns the distribution that the options describe together.
    pub(crate) fn placement(&self) -> Distribution {
        let mut distribution = self.like.unwrap_or(self.distribution);
        if let Some(hash) = self.hash {
            distribution = distribution.hash(hash);
        }
        if let Some(tag) = self.hash_tag {
            distribution = distribution.hash_tag(tag);
        }
        distribution
    }
}

/// Returns a parser of the name of a distribution.
pub(crate) fn distribution() -> NamedValue<Distribution> {
    NamedValue::new(distributions)
}

fn distributions() -> Vec<String> {
    Distribution::all().map(|distribution| distribution.to_string()).collect()
}

fn hashes() -> Vec<String> {
    Hash::all().map(|hash| hash.to_string()).collect()
}

fn protocols() -> Vec<String> {
    [ProtocolSetting::Auto, ProtocolSetting::Binary, ProtocolSetting::Meta, ProtocolSetting::Text]
        .map(|protocol| protocol.to_string())
        .to_vec()
}

fn hash_tag(text: &str) -> Result<[u8; 2], String> {
    text.as_bytes().try_into().map_err(|_| "expected two characters such as {}".into())
}

/// An output format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Text on a terminal, raw in a pipe
    Auto,
    /// Text for people, in a pipe too
    Text,
    /// One JSON document
    Json,
    /// One JSON document per line
    Ndjson,
    /// Comma-separated values with a header
    Csv,
    /// Metrics in the format of Prometheus; for stats
    Prometheus,
    /// One line for a monitoring plugin; for check
    Nagios,
}

/// When to use colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Color {
    /// On a terminal, unless NO_COLOR is set
    Auto,
    /// In a pipe too
    Always,
    /// Not at all
    Never,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_listed_name_can_be_parsed() {
        assert!(distributions().iter().all(|name| name.parse::<Distribution>().is_ok()), "{:?}", distributions());
        assert!(hashes().iter().all(|name| name.parse::<Hash>().is_ok()), "{:?}", hashes());
        assert!(protocols().iter().all(|name| name.parse::<ProtocolSetting>().is_ok()), "{:?}", protocols());
    }
}
