//! What all connections of a server share.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::clock::Clock;
use crate::cluster::Cluster;
use crate::fault::Faults;
use crate::login::User;
use crate::store::{Limits, Store};
use crate::version::Version;

/// How a server was ordered.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) limits: Limits,
    pub(crate) version: Version,
    pub(crate) clock: Clock,
    pub(crate) users: Vec<User>,
    pub(crate) text_users: Vec<User>,
    pub(crate) max_connections: usize,
    pub(crate) wires: Wires,
    pub(crate) permits: Permits,
    /// Whether items are counted by their size.
    pub(crate) sizes: bool,
    pub(crate) cluster: Option<Cluster>,
}

/// Which wires a server speaks, as memcached's `-B`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "memcached has no other choice")]
pub enum Wires {
    /// The first byte of a connection says which one is spoken there: 0x80 is binary.
    #[default]
    Any,
    /// Binary alone: a connection that begins with something else is closed without a word.
    Binary,
    /// Text and meta alone: binary packets are lines that nobody understands.
    Text,
}

/// What clients of the text wire may do beside working with items.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Permits {
    pub(crate) shutdown: bool,
    pub(crate) dumps: bool,
    pub(crate) watches: bool,
    /// Whether `mgdump` is known, whatever the version.
    pub(crate) mgdump: bool,
}

/// What all connections of a server share.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) settings: Settings,
    store: Mutex<Store>,
    pub(crate) faults: Faults,
    pub(crate) traffic: Traffic,
    /// The number of the last connection; nothing resets it.
    pub(crate) numbers: AtomicU64,
    /// Where the open connections come from, by their numbers.
    peers: Mutex<BTreeMap<u64, String>>,
    cluster: Mutex<Option<Cluster>>,
    /// Told when a client stops the server.
    pub(crate) shutdown: Notify,
}

/// What went over the sockets.
#[derive(Debug, Default)]
pub(crate) struct Traffic {
    pub(crate) started_at: AtomicU64,
    pub(crate) open: AtomicUsize,
    pub(crate) accepted: AtomicU64,
    pub(crate) rejected: AtomicU64,
    pub(crate) requests: AtomicU64,
    pub(crate) bytes_read: AtomicU64,
    pub(crate) bytes_written: AtomicU64,
    pub(crate) logins: AtomicU64,
    pub(crate) failed_logins: AtomicU64,
}

impl State {
    pub(crate) fn new(settings: Settings) -> Self {
        let now = settings.clock.seconds();
        let traffic = Traffic { started_at: AtomicU64::new(now), ..Traffic::default() };
        let store = Mutex::new(Store::new(settings.limits.clone(), now, Arc::default()));
        let cluster = Mutex::new(settings.cluster.clone());
        Self {
            settings,
            store,
            faults: Faults::new(),
            traffic,
            numbers: AtomicU64::new(0),
            peers: Mutex::default(),
            cluster,
            shutdown: Notify::new(),
        }
    }

    /// Which wires are spoken: whoever authenticates on one cannot do without it.
    pub(crate) fn wires(&self) -> Wires {
        match (self.settings.users.is_empty(), self.settings.text_users.is_empty()) {
            (false, _) => Wires::Binary,
            (true, false) => Wires::Text,
            (true, true) => self.settings.wires,
        }
    }

    /// Where the open connections come from, by their numbers.
    pub(crate) fn peers(&self) -> MutexGuard<'_, BTreeMap<u64, String>> {
        // What the lock guards is consistent between any two statements.
        self.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The configuration of the cluster that clients are told of.
    pub(crate) fn cluster(&self) -> MutexGuard<'_, Option<Cluster>> {
        // It is replaced whole.
        self.cluster.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The store, at the current second.
    pub(crate) fn store(&self) -> MutexGuard<'_, Store> {
        // A store is consistent after every operation, so one that panicked leaves it usable.
        let mut store = self.store.lock().unwrap_or_else(PoisonError::into_inner);
        store.set_time(self.settings.clock.seconds());
        store
    }

    /// Begins anew, as a process that was started again.
    pub(crate) fn reset(&self) {
        let now = self.settings.clock.seconds();
        let mut store = self.store();
        // Who watches is not told of the end.
        let watchers = Arc::clone(&store.watchers);
        *store = Store::new(self.settings.limits.clone(), now, watchers);
        drop(store);
        self.traffic.started_at.store(now, Ordering::Relaxed);
        self.traffic.reset();
    }
}

impl Traffic {
    /// Counts from zero again; open connections stay open.
    pub(crate) fn reset(&self) {
        let counts = [
            &self.accepted,
            &self.rejected,
            &self.requests,
            &self.bytes_read,
            &self.bytes_written,
            &self.logins,
            &self.failed_logins,
        ];
        for count in counts {
            count.store(0, Ordering::Relaxed);
        }
    }
}

/// Adds to a count that nothing else depends on.
pub(crate) fn add(count: &AtomicU64, more: usize) {
    count.fetch_add(more as u64, Ordering::Relaxed);
}

pub(crate) fn read(count: &AtomicU64) -> u64 {
    count.load(Ordering::Relaxed)
}
