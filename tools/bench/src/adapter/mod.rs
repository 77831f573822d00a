//! The adapters of the measured clients: a table of their limits, and the trait that the Rust clients implement.

mod async_memcached;
mod idle;
mod lockstep;
mod memcache_async;
mod memcache_classic;
mod memcache_exp;
mod profiles;
mod remcache;
mod runner;
mod tls;

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use ::remcache::config::ProtocolSetting;
use anyhow::{Result, bail};
use serde::{Deserialize, Serialize};

use crate::items::Item;
use crate::scenario::{Scenario, Verb};
use crate::workload::{CallResult, Fault};

pub(crate) use idle::{Footprint, measure_idle};
pub(crate) use runner::start;

use profiles::PROFILES;

/// Drives one of the measured clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Adapter {
    Lockstep,
    AsyncMemcached,
    MemcacheExp,
    MemcacheClassic,
    MemcacheAsync,
    Libmemcached,
    /// remcache with this protocol setting.
    Remcache(ProtocolSetting),
    /// remcache with busy polling.
    RemcachePolling,
}

/// The role of a client in the comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Role {
    /// The pipeline of one connection that does not overlap writing and reading.
    Baseline,
    /// Another client library.
    Peer,
    /// remcache with default settings.
    Ours,
    /// remcache with settings that are not its defaults.
    Variant,
}

/// The name and the limits of a client.
#[derive(Debug)]
pub(crate) struct Profile {
    pub(crate) adapter: Adapter,
    pub(crate) id: &'static str,
    pub(crate) role: Role,
    /// The maximum number of callers, limited by the connections or threads that they need.
    pub(crate) max_callers: usize,
    pub(crate) max_servers: usize,
    /// Whether it runs on tokio, and so also on the multi-threaded runtime.
    pub(crate) on_tokio: bool,
    /// Whether its sets wait for the server's reply; otherwise they are shown, but not ranked.
    pub(crate) confirms_sets: bool,
    /// Whether it supports TLS, either itself or on a stream opened by its user.
    pub(crate) supports_tls: bool,
    /// Whether it can hold a given number of idle connections without a thread for each.
    pub(crate) holds_connections: bool,
    /// The scenarios that it runs in; all if `None`.
    pub(crate) only: Option<&'static [&'static str]>,
    /// A description for the reader of the results.
    pub(crate) note: &'static str,
}

impl Profile {
    /// Returns why other clients are not compared with this one in a scenario, if they are not.
    pub(crate) fn unranked(&self, scenario: &Scenario) -> Option<&'static str> {
        let unconfirmed = scenario.verb == Verb::Set && !self.confirms_sets;
        unconfirmed.then_some("not ranked: sets are sent, not confirmed")
    }

    /// Returns whether the client runs in a scenario.
    pub(crate) fn runs_in(&self, scenario: &Scenario) -> bool {
        self.only.is_none_or(|only| only.contains(&scenario.id))
    }

    /// Returns why the client does not support a scenario, if it does not.
    pub(crate) fn unsupported(&self, scenario: &Scenario) -> Option<String> {
        if scenario.callers > self.max_callers {
            return Some(format!("at most {} callers", self.max_callers));
        }
        if scenario.tls && !self.supports_tls {
            return Some("no TLS".to_owned());
        }
        (scenario.servers > self.max_servers).then(|| "one server only".to_owned())
    }
}

/// The runtime of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Runtime {
    /// No async runtime: a thread per caller.
    Threads,
    /// tokio's current-thread runtime.
    CurrentThread,
    /// tokio's multi-threaded runtime.
    MultiThread,
}

/// A client on a runtime: one row of a table. It is written `name`, or `name+mt` for the multi-threaded runtime.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    pub(crate) profile: &'static Profile,
    pub(crate) runtime: Runtime,
}

impl Entry {
    /// Returns every client, and those that run on tokio a second time on the multi-threaded runtime.
    pub(crate) fn all() -> Vec<Self> {
        let default = PROFILES.iter().map(Self::on_default_runtime);
        let on_tokio = PROFILES.iter().filter(|profile| profile.on_tokio && profile.role != Role::Variant);
        let multi_threaded = on_tokio.map(|profile| Self { profile, runtime: Runtime::MultiThread });
        default.chain(multi_threaded).collect()
    }

    fn on_default_runtime(profile: &'static Profile) -> Self {
        let runtime = if profile.on_tokio { Runtime::CurrentThread } else { Runtime::Threads };
        Self { profile, runtime }
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.profile.id)?;
        match self.runtime {
            Runtime::Threads | Runtime::CurrentThread => Ok(()),
            Runtime::MultiThread => f.write_str(MULTI_THREAD_SUFFIX),
        }
    }
}

impl FromStr for Entry {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let multi_threaded = text.strip_suffix(MULTI_THREAD_SUFFIX);
        let id = multi_threaded.unwrap_or(text);
        let Some(profile) = PROFILES.iter().find(|profile| profile.id == id) else {
            let known: Vec<_> = Self::all().iter().map(ToString::to_string).collect();
            bail!("unknown client {id:?}; the clients are {}", known.join(", "));
        };
        match (multi_threaded, profile.on_tokio) {
            (None, _) => Ok(Self::on_default_runtime(profile)),
            (Some(_), true) => Ok(Self { profile, runtime: Runtime::MultiThread }),
            (Some(_), false) => bail!("{id} does not run on tokio; omit {MULTI_THREAD_SUFFIX}"),
        }
    }
}

/// The scenario that a client runs, and the servers that it connects to.
#[derive(Debug)]
pub(crate) struct Setup {
    pub(crate) scenario: &'static Scenario,
    pub(crate) ports: Vec<u16>,
    /// The file with the certificate authority of the servers, if they use TLS.
    pub(crate) authority: Option<PathBuf>,
}

impl Setup {
    /// Returns `host:port` of every server.
    pub(crate) fn addresses(&self) -> Vec<String> {
        self.ports.iter().map(|port| format!("{HOST}:{port}")).collect()
    }

    /// Returns `host:port` of the only server, or an error if there are several.
    pub(crate) fn address(&self) -> Result<String> {
        match self.ports.as_slice() {
            [port] => Ok(format!("{HOST}:{port}")),
            ports => bail!("this client supports one server, not {}", ports.len()),
        }
    }
}

/// One caller of a Rust client. The futures of a blocking client are ready at the first poll.
pub(crate) trait Caller: Send + 'static {
    /// Gets one key.
    fn get(&mut self, item: &Item) -> impl Future<Output = CallResult> + Send;

    /// Gets several keys in one call.
    fn get_many(&mut self, items: &[Item]) -> impl Future<Output = CallResult> + Send;

    /// Sets one key.
    fn set(&mut self, item: &Item) -> impl Future<Output = CallResult> + Send;
}

/// Checks the result of a get. A miss is wrong, because every key is stored.
fn check_get<V: AsRef<[u8]>, E: fmt::Display>(item: &Item, result: std::result::Result<Option<V>, E>) -> CallResult {
    match result {
        Ok(Some(value)) if item.holds(value.as_ref()) => Ok(()),
        Ok(_) => Err(Fault::Wrong),
        Err(error) => Err(Fault::Failed(error.to_string())),
    }
}

/// Checks the result of a get of several keys: every key once, each with its own value.
fn check_many<K: AsRef<[u8]>, V: AsRef<[u8]>>(items: &[Item], found: impl Iterator<Item = (K, V)>) -> CallResult {
    let is_correct = |(key, value): &(K, V)| items[0].holds_for(key.as_ref(), value.as_ref());
    let correct = found.filter(is_correct).count();
    if correct == items.len() { Ok(()) } else { Err(Fault::Wrong) }
}

/// Converts a client's error into a fault.
fn failed(error: impl fmt::Display) -> Fault {
    Fault::Failed(error.to_string())
}

pub(crate) const HOST: &str = "127.0.0.1";
const MULTI_THREAD_SUFFIX: &str = "+mt";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_entry_is_parsed_from_its_name() {
        for entry in Entry::all() {
            let name = entry.to_string();
            let found: Entry = name.parse().unwrap();
            assert_eq!(found.profile.adapter, entry.profile.adapter, "{name}");
            assert_eq!(found.runtime, entry.runtime, "{name}");
        }
    }

    #[test]
    fn unknown_names_and_unsupported_runtimes_are_refused() {
        for name in ["", "memcache", "lockstep+mt", "libmemcached+mt"] {
            assert!(name.parse::<Entry>().is_err(), "{name:?}");
        }
    }

    #[test]
    fn a_batch_with_a_key_missing_or_another_value_is_wrong() {
        let scenario = Scenario::by_id("many-100").unwrap();
        let items = crate::items::Items::new(scenario);
        let items = items.window(0, 2);
        let value = |key| crate::items::value(key, scenario.value_len);
        let right = vec![("key-00000", value("key-00000")), ("key-00001", value("key-00001"))];
        let swapped = vec![("key-00000", value("key-00001")), ("key-00001", value("key-00000"))];
        assert!(check_many(items, right.clone().into_iter()).is_ok());
        assert!(check_many(items, right[..1].iter().cloned()).is_err());
        assert!(check_many(items, swapped.into_iter()).is_err());
    }
}
