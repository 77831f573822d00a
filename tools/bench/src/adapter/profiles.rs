//! The table of the measured clients.

use ::remcache::config::ProtocolSetting;

use super::{Adapter, Profile, Role};

/// Every client, in the order of the tables' rows.
pub(super) const PROFILES: &[Profile] = &[
    Profile {
        adapter: Adapter::Lockstep,
        id: "lockstep",
        role: Role::Baseline,
        note: "a blocking socket that writes one request per caller, then reads all replies, then writes the next requests",
        ..SHARED
    },
    Profile {
        adapter: Adapter::AsyncMemcached,
        id: "async-memcached",
        max_servers: 1,
        holds_connections: true,
        note: "async-memcached 0.9, one client per caller",
        ..PEER_ON_TOKIO
    },
    Profile {
        adapter: Adapter::MemcacheExp,
        id: "memcache-exp",
        note: "memcache 0.21, its experimental tokio client, with one pooled connection per caller",
        ..PEER_ON_TOKIO
    },
    Profile {
        adapter: Adapter::MemcacheClassic,
        id: "memcache-classic",
        supports_tls: true,
        note: "memcache 0.21, its blocking client with the text protocol (its faster one), one thread and one pooled connection per caller, TLS by OpenSSL",
        ..PEER_ON_THREADS
    },
    Profile {
        adapter: Adapter::MemcacheAsync,
        id: "memcache-async",
        max_servers: 1,
        confirms_sets: false,
        supports_tls: true,
        holds_connections: true,
        note: "memcache-async 0.10, one connection per caller, TLS by tokio-rustls; its set does not wait for the reply",
        ..PEER_ON_TOKIO
    },
    Profile {
        adapter: Adapter::Libmemcached,
        id: "libmemcached",
        note: "libmemcached with its default text protocol (its faster one), one thread and one connection per caller",
        ..PEER_ON_THREADS
    },
    OURS,
    Profile {
        adapter: Adapter::Remcache(ProtocolSetting::Binary),
        id: "remcache-binary",
        role: Role::Variant,
        only: Some(VARIANT_SCENARIOS),
        note: "remcache with the binary protocol",
        ..OURS
    },
    Profile {
        adapter: Adapter::Remcache(ProtocolSetting::Text),
        id: "remcache-text",
        role: Role::Variant,
        only: Some(VARIANT_SCENARIOS),
        note: "remcache with the text protocol",
        ..OURS
    },
    Profile {
        adapter: Adapter::RemcachePolling,
        id: "remcache-polling",
        role: Role::Variant,
        only: Some(&["get-1", "get-64"]),
        note: "remcache with busy polling",
        ..OURS
    },
];

/// The values of fields that most clients share.
const SHARED: Profile = Profile {
    adapter: Adapter::Lockstep,
    id: "",
    role: Role::Peer,
    max_callers: usize::MAX,
    max_servers: usize::MAX,
    on_tokio: false,
    confirms_sets: true,
    supports_tls: false,
    holds_connections: false,
    only: None,
    note: "",
};
const PEER_ON_TOKIO: Profile = Profile { on_tokio: true, max_callers: MAX_CONNECTIONS, ..SHARED };
const PEER_ON_THREADS: Profile = Profile { max_callers: MAX_THREADS, ..SHARED };
const OURS: Profile = Profile {
    adapter: Adapter::Remcache(ProtocolSetting::Auto),
    id: "remcache",
    role: Role::Ours,
    on_tokio: true,
    supports_tls: true,
    holds_connections: true,
    note: "remcache with the meta protocol and without busy polling, one client for all callers, one connection per server",
    ..SHARED
};

/// The scenarios in which remcache's protocols are compared.
const VARIANT_SCENARIOS: &[&str] = &["get-1", "get-64", "get-512", "many-100", "set-64"];

/// With 10,000 connections the result would depend on the system's limits of open files and ephemeral ports.
const MAX_CONNECTIONS: usize = 4096;
/// With thousands of threads on one core the result would depend on the scheduler.
const MAX_THREADS: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::Scenario;

    #[test]
    fn there_is_one_baseline_and_one_default_remcache() {
        let count = |role| PROFILES.iter().filter(|profile| profile.role == role).count();
        assert_eq!((count(Role::Baseline), count(Role::Ours)), (1, 1));
    }

    #[test]
    fn variants_run_in_scenarios_that_exist() {
        for profile in PROFILES.iter().filter(|profile| profile.role == Role::Variant) {
            assert!(profile.only.unwrap().iter().all(|id| Scenario::by_id(id).is_some()), "{}", profile.id);
        }
    }
}
