//! What all connections of a server share.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::clock::Clock;
use crate::fault::Faults;
use crate::login::User;
use crate::store::{Limits, Store};

/// How a server was ordered.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) limits: Limits,
    pub(crate) version: String,
    pub(crate) clock: Clock,
    pub(crate) users: Vec<User>,
    pub(crate) max_connections: usize,
}

/// What all connections of a server share.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) settings: Settings,
    store: Mutex<Store>,
    pub(crate) faults: Faults,
    pub(crate) traffic: Traffic,
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
        let store = Mutex::new(Store::new(settings.limits.clone(), now));
        Self { settings, store, faults: Faults::new(), traffic }
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
        *self.store() = Store::new(self.settings.limits.clone(), now);
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
