//! The contestants: a table of what each can do, and the one trait that the Rust clients are measured through.

mod async_memcached;
mod idle;
mod lockstep;
mod memcache_async;
mod memcache_classic;
mod memcache_exp;
mod race;
mod remcache;
mod tls;

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use ::remcache::config::Protocol;
use anyhow::{Result, bail};
use serde::{Deserialize, Serialize};

use crate::course::{Answer, Fault};
use crate::samples::Sample;
use crate::scenario::{Scenario, Verb};

pub(crate) use idle::{Footprint, hold};
pub(crate) use race::start;

/// One of the clients that are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Contestant {
    Lockstep,
    AsyncMemcached,
    MemcacheExp,
    MemcacheClassic,
    MemcacheAsync,
    Libmemcached,
    /// remcache, on the wire that this setting gives it.
    Remcache(Protocol),
}

/// What a contestant is in the comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Role {
    /// The floor that one connection reaches without overlapping.
    Floor,
    Peer,
    Ours,
    /// Ours on a wire that it would not choose: what that costs, beside ours.
    Wire,
}

/// A contestant's name and limits.
#[derive(Debug)]
pub(crate) struct Profile {
    pub(crate) contestant: Contestant,
    pub(crate) id: &'static str,
    pub(crate) role: Role,
    /// More callers than this would need more connections or threads than a peer stands.
    pub(crate) max_callers: usize,
    pub(crate) max_servers: usize,
    /// Whether it runs on tokio, and hence also on the multi-threaded runtime.
    pub(crate) on_tokio: bool,
    /// Whether a set is over when the server said so; if not, it is shown and not ranked.
    pub(crate) confirms_sets: bool,
    /// Whether it speaks TLS, by itself or over a stream that its user brings.
    pub(crate) speaks_tls: bool,
    /// Whether it can hold as many connections as it is told to, idle and without a thread for each.
    pub(crate) holds_connections: bool,
    /// The scenarios in which it is of interest, if not all are.
    pub(crate) only: Option<&'static [&'static str]>,
    /// What a reader must know to read its figures.
    pub(crate) note: &'static str,
}

impl Profile {
    /// Why the contestant's figures in a scenario are no measure for others, if they are not.
    pub(crate) fn unranked(&self, scenario: &Scenario) -> Option<&'static str> {
        let unconfirmed = scenario.verb == Verb::Set && !self.confirms_sets;
        unconfirmed.then_some("not ranked: sets are sent, not confirmed")
    }

    /// Whether the contestant is of interest in a scenario.
    pub(crate) fn is_of_interest(&self, scenario: &Scenario) -> bool {
        self.only.is_none_or(|only| only.contains(&scenario.id))
    }

    /// Why the contestant cannot take part in a scenario, if it cannot.
    pub(crate) fn unfit(&self, scenario: &Scenario) -> Option<String> {
        if scenario.callers > self.max_callers {
            return Some(format!("at most {} callers", self.max_callers));
        }
        if scenario.tls && !self.speaks_tls {
            return Some("no TLS".to_owned());
        }
        (scenario.servers > self.max_servers).then(|| "one server only".to_owned())
    }
}

/// What a contestant runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Runtime {
    /// Threads of its own.
    Threads,
    /// tokio's current-thread runtime.
    CurrentThread,
    /// tokio's multi-threaded runtime.
    MultiThread,
}

/// A contestant on a runtime: one row of a table. Written `name`, or `name+mt` for the multi-threaded runtime.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    pub(crate) profile: &'static Profile,
    pub(crate) runtime: Runtime,
}

impl Entry {
    /// Every contestant, and beside it, where it runs on tokio, its twin on the multi-threaded runtime.
    pub(crate) fn all() -> Vec<Self> {
        let usual = PROFILES.iter().map(Self::usual);
        let on_tokio = PROFILES.iter().filter(|profile| profile.on_tokio && profile.role != Role::Wire);
        let twins = on_tokio.map(|profile| Self { profile, runtime: Runtime::MultiThread });
        usual.chain(twins).collect()
    }

    fn usual(profile: &'static Profile) -> Self {
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
        let twin = text.strip_suffix(MULTI_THREAD_SUFFIX);
        let id = twin.unwrap_or(text);
        let Some(profile) = PROFILES.iter().find(|profile| profile.id == id) else {
            let known: Vec<_> = Self::all().iter().map(ToString::to_string).collect();
            bail!("no contestant is called {id:?}; there are {}", known.join(", "));
        };
        match (twin, profile.on_tokio) {
            (None, _) => Ok(Self::usual(profile)),
            (Some(_), true) => Ok(Self { profile, runtime: Runtime::MultiThread }),
            (Some(_), false) => bail!("{id} does not run on tokio: name it without {MULTI_THREAD_SUFFIX}"),
        }
    }
}

/// Where and for whom a contestant connects.
#[derive(Debug)]
pub(crate) struct Setup {
    pub(crate) scenario: &'static Scenario,
    pub(crate) ports: Vec<u16>,
    /// The file with the authority that has signed the servers' certificates, if they speak TLS.
    pub(crate) authority: Option<PathBuf>,
}

impl Setup {
    /// `host:port` of every server.
    pub(crate) fn addresses(&self) -> Vec<String> {
        self.ports.iter().map(|port| format!("{HOST}:{port}")).collect()
    }

    /// `host:port` of the only server.
    pub(crate) fn address(&self) -> Result<String> {
        match self.ports.as_slice() {
            [port] => Ok(format!("{HOST}:{port}")),
            ports => bail!("made for one server, not {}", ports.len()),
        }
    }
}

/// One caller of a Rust client. A blocking client answers within the first poll.
pub(crate) trait Caller: Send + 'static {
    /// Gets one key.
    fn get(&mut self, sample: &Sample) -> impl Future<Output = Answer> + Send;

    /// Gets a batch of keys in one call.
    fn get_many(&mut self, samples: &[Sample]) -> impl Future<Output = Answer> + Send;

    /// Sets one key.
    fn set(&mut self, sample: &Sample) -> impl Future<Output = Answer> + Send;
}

/// Judges a get: a miss is wrong, as every key is there.
fn judge_get<V: AsRef<[u8]>, E: fmt::Display>(sample: &Sample, answer: std::result::Result<Option<V>, E>) -> Answer {
    match answer {
        Ok(Some(value)) if sample.holds(value.as_ref()) => Ok(()),
        Ok(_) => Err(Fault::Wrong),
        Err(error) => Err(Fault::Failed(error.to_string())),
    }
}

/// Judges a batch: every key once, each with its own value.
fn judge_many<K: AsRef<[u8]>, V: AsRef<[u8]>>(samples: &[Sample], found: impl Iterator<Item = (K, V)>) -> Answer {
    let is_right = |(key, value): &(K, V)| samples[0].holds_for(key.as_ref(), value.as_ref());
    let right = found.filter(is_right).count();
    if right == samples.len() { Ok(()) } else { Err(Fault::Wrong) }
}

/// An error of a client, as a fault.
fn failed(error: impl fmt::Display) -> Fault {
    Fault::Failed(error.to_string())
}

pub(crate) const HOST: &str = "127.0.0.1";
const MULTI_THREAD_SUFFIX: &str = "+mt";

/// Every contestant, in the order of the tables' rows.
const PROFILES: &[Profile] = &[
    Profile {
        contestant: Contestant::Lockstep,
        id: "lockstep",
        role: Role::Floor,
        max_callers: usize::MAX,
        max_servers: usize::MAX,
        on_tokio: false,
        confirms_sets: true,
        speaks_tls: false,
        holds_connections: false,
        only: None,
        note: "a blocking socket: writes a pipeline as deep as there are callers, reads all replies, then the next",
    },
    Profile {
        contestant: Contestant::AsyncMemcached,
        id: "async-memcached",
        role: Role::Peer,
        max_callers: MAX_CONNECTIONS,
        max_servers: 1,
        on_tokio: true,
        confirms_sets: true,
        speaks_tls: false,
        holds_connections: true,
        only: None,
        note: "async-memcached 0.9, a client for each caller",
    },
    Profile {
        contestant: Contestant::MemcacheExp,
        id: "memcache-exp",
        role: Role::Peer,
        max_callers: MAX_CONNECTIONS,
        max_servers: usize::MAX,
        on_tokio: true,
        confirms_sets: true,
        speaks_tls: false,
        holds_connections: false,
        only: None,
        note: "memcache 0.21, its experimental tokio client, keeping a connection for each caller",
    },
    Profile {
        contestant: Contestant::MemcacheClassic,
        id: "memcache-classic",
        role: Role::Peer,
        max_callers: MAX_THREADS,
        max_servers: usize::MAX,
        on_tokio: false,
        confirms_sets: true,
        speaks_tls: true,
        holds_connections: false,
        only: None,
        note: "memcache 0.21, its blocking client on the text wire (here the faster by far), a thread and a pooled connection for each caller, over TLS on OpenSSL",
    },
    Profile {
        contestant: Contestant::MemcacheAsync,
        id: "memcache-async",
        role: Role::Peer,
        max_callers: MAX_CONNECTIONS,
        max_servers: 1,
        on_tokio: true,
        confirms_sets: false,
        speaks_tls: true,
        holds_connections: true,
        only: None,
        note: "memcache-async 0.10, a connection for each caller, over TLS on tokio-rustls; its set waits for no reply, so sets are sent, not confirmed",
    },
    Profile {
        contestant: Contestant::Libmemcached,
        id: "libmemcached",
        role: Role::Peer,
        max_callers: MAX_THREADS,
        max_servers: usize::MAX,
        on_tokio: false,
        confirms_sets: true,
        speaks_tls: false,
        holds_connections: false,
        only: None,
        note: "libmemcached through its C library on its default text wire (the faster here), a thread and a connection for each caller",
    },
    OURS,
    Profile {
        contestant: Contestant::Remcache(Protocol::Binary),
        id: "remcache-binary",
        role: Role::Wire,
        only: Some(WIRES),
        note: "remcache on the binary wire",
        ..OURS
    },
    Profile {
        contestant: Contestant::Remcache(Protocol::Text),
        id: "remcache-text",
        role: Role::Wire,
        only: Some(WIRES),
        note: "remcache on the classic text wire",
        ..OURS
    },
];

const OURS: Profile = Profile {
    contestant: Contestant::Remcache(Protocol::Auto),
    id: "remcache",
    role: Role::Ours,
    max_callers: usize::MAX,
    max_servers: usize::MAX,
    on_tokio: true,
    confirms_sets: true,
    speaks_tls: true,
    holds_connections: true,
    only: None,
    note: "remcache with default settings, that is on the meta wire, one client for all callers, one connection for each server",
};

/// Where the wires are compared.
const WIRES: &[&str] = &["get-1", "get-64", "get-512", "many-100", "set-64"];

/// With 10,000 callers the limits of open files and of ephemeral ports decide, and no longer the client.
const MAX_CONNECTIONS: usize = 4096;
/// With thousands of threads on one core it is the scheduler that is measured.
const MAX_THREADS: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_entry_is_found_by_the_name_it_prints() {
        for entry in Entry::all() {
            let name = entry.to_string();
            let found: Entry = name.parse().unwrap();
            assert_eq!(found.profile.contestant, entry.profile.contestant, "{name}");
            assert_eq!(found.runtime, entry.runtime, "{name}");
        }
    }

    #[test]
    fn unknown_names_and_a_runtime_for_who_needs_none_are_refused() {
        for name in ["", "memcache", "lockstep+mt", "libmemcached+mt"] {
            assert!(name.parse::<Entry>().is_err(), "{name:?}");
        }
    }

    #[test]
    fn there_is_one_floor_and_one_of_ours() {
        let count = |role| PROFILES.iter().filter(|profile| profile.role == role).count();
        assert_eq!((count(Role::Floor), count(Role::Ours)), (1, 1));
    }

    #[test]
    fn wires_are_compared_in_scenarios_that_exist() {
        for profile in PROFILES.iter().filter(|profile| profile.role == Role::Wire) {
            assert!(profile.only.unwrap().iter().all(|id| Scenario::by_id(id).is_some()), "{}", profile.id);
        }
    }

    #[test]
    fn a_batch_with_a_key_missing_or_another_value_is_wrong() {
        let scenario = Scenario::by_id("many-100").unwrap();
        let samples = crate::samples::Samples::of(scenario);
        let samples = samples.window(0, 2);
        let value = |key| crate::samples::value(key, scenario.value_len);
        let right = vec![("key-00000", value("key-00000")), ("key-00001", value("key-00001"))];
        let swapped = vec![("key-00000", value("key-00001")), ("key-00001", value("key-00000"))];
        assert!(judge_many(samples, right.clone().into_iter()).is_ok());
        assert!(judge_many(samples, right[..1].iter().cloned()).is_err());
        assert!(judge_many(samples, swapped.into_iter()).is_err());
    }
}
