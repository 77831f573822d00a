//! State that all connections of a server share.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, watch};

use crate::cluster::ClusterConfig;
use crate::fault_registry::FaultRegistry;
use crate::settings::Settings;
use crate::store::Store;

/// State that all connections of a server share.
#[derive(Debug)]
pub(crate) struct ServerState {
    pub(crate) settings: Settings,
    store: Mutex<Store>,
    pub(crate) faults: FaultRegistry,
    pub(crate) traffic: Traffic,
    /// The number of the last connection. A restart does not reset it.
    last_connection: AtomicU64,
    /// The peer addresses of the open connections, by connection number.
    peers: Mutex<BTreeMap<u64, String>>,
    cluster: Mutex<Option<ClusterConfig>>,
    /// Notified when a client shuts the server down.
    pub(crate) shutdown: Notify,
    /// Whether the server runs. Every change closes the connections that [`Server::serve`](crate::Server::serve)
    /// serves.
    pub(crate) running: watch::Sender<bool>,
}

/// Counters of connections, requests and bytes.
#[derive(Debug, Default)]
pub(crate) struct Traffic {
    pub(crate) started_at: AtomicU64,
    pub(crate) open: AtomicUsize,
    pub(crate) accepted: AtomicU64,
    pub(crate) rejected: AtomicU64,
    pub(crate) requests: AtomicU64,
    pub(crate) bytes_read: AtomicU64,
    pub(crate) bytes_written: AtomicU64,
    pub(crate) auth_attempts: AtomicU64,
    pub(crate) auth_failures: AtomicU64,
    #[cfg(feature = "tls")]
    pub(crate) tls_handshakes: AtomicU64,
    #[cfg(feature = "tls")]
    pub(crate) tls_resumptions: AtomicU64,
}

impl ServerState {
    pub(crate) fn new(settings: Settings) -> Self {
        let now = settings.clock.seconds();
        let traffic = Traffic { started_at: AtomicU64::new(now), ..Traffic::default() };
        let store = Mutex::new(Store::new(settings.limits.clone(), now, Arc::default()));
        let cluster = Mutex::new(settings.cluster.clone());
        Self {
            settings,
            store,
            faults: FaultRegistry::new(),
            traffic,
            last_connection: AtomicU64::new(0),
            peers: Mutex::default(),
            cluster,
            shutdown: Notify::new(),
            running: watch::Sender::new(false),
        }
    }

    /// Returns the number of a new connection.
    pub(crate) fn next_connection(&self) -> u64 {
        self.last_connection.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Counts a new connection. Returns false if it exceeds the limit and must be rejected.
    pub(crate) fn admit_connection(&self) -> bool {
        let open_another = |open| (open < self.settings.max_connections).then_some(open + 1);
        let admitted = self.traffic.open.fetch_update(Ordering::Relaxed, Ordering::Relaxed, open_another).is_ok();
        add(if admitted { &self.traffic.accepted } else { &self.traffic.rejected }, 1);
        admitted
    }

    /// Returns the peer addresses of the open connections, by connection number.
    pub(crate) fn peers(&self) -> MutexGuard<'_, BTreeMap<u64, String>> {
        // A panic cannot leave the map half changed, so a poisoned lock is safe to use.
        self.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the cluster configuration that clients are given.
    pub(crate) fn cluster(&self) -> MutexGuard<'_, Option<ClusterConfig>> {
        // It is only replaced as a whole, so a poisoned lock is safe to use.
        self.cluster.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Locks the store and advances it to the current second.
    pub(crate) fn store(&self) -> MutexGuard<'_, Store> {
        // A store is consistent after every operation, so a poisoned lock is safe to use.
        let mut store = self.store.lock().unwrap_or_else(PoisonError::into_inner);
        store.set_time(self.settings.clock.seconds());
        store
    }

    /// Removes all items and resets all counters, as a restart of the process does.
    pub(crate) fn reset(&self) {
        let now = self.settings.clock.seconds();
        let mut store = self.store();
        // Dropping the watchers would end the streams of connections that are still open.
        let watchers = Arc::clone(&store.watchers);
        *store = Store::new(self.settings.limits.clone(), now, watchers);
        drop(store);
        self.traffic.started_at.store(now, Ordering::Relaxed);
        self.traffic.reset();
    }
}

impl Traffic {
    /// Resets all counters except the number of open connections.
    pub(crate) fn reset(&self) {
        let counters = [
            &self.accepted,
            &self.rejected,
            &self.requests,
            &self.bytes_read,
            &self.bytes_written,
            &self.auth_attempts,
            &self.auth_failures,
            #[cfg(feature = "tls")]
            &self.tls_handshakes,
            #[cfg(feature = "tls")]
            &self.tls_resumptions,
        ];
        for counter in counters {
            counter.store(0, Ordering::Relaxed);
        }
    }
}

/// Adds to a counter that nothing synchronizes on.
pub(crate) fn add(counter: &AtomicU64, count: usize) {
    counter.fetch_add(count as u64, Ordering::Relaxed);
}

/// Reads a counter that nothing synchronizes on.
pub(crate) fn read(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}
