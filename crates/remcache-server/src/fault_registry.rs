//! The injected faults of a server, shared by its connections.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use crate::fault::{Fault, Injection, Scope};

/// The injected faults of a server: those in effect on all connections, and those that wait for a connection or reply.
#[derive(Debug)]
pub(crate) struct FaultRegistry {
    injected: Mutex<Injected>,
    /// Whether a fault waits for a reply. Checked for every batch of replies, which must not take the lock.
    has_reply_faults: AtomicBool,
    /// Notifies connections that the faults on all connections have changed.
    changes: watch::Sender<()>,
}

#[derive(Debug, Default)]
struct Injected {
    global: Vec<Fault>,
    for_connections: Vec<Countdown>,
    for_replies: Vec<Countdown>,
    /// The number of times that all faults were cleared.
    generation: u64,
}

#[derive(Debug)]
struct Countdown {
    remaining: u64,
    fault: Fault,
}

/// The faults on all connections.
#[derive(Debug)]
pub(crate) struct GlobalFaults<'a> {
    /// In the order of injection. Within a generation the list only grows.
    pub(crate) faults: &'a [Fault],
    pub(crate) generation: u64,
}

impl FaultRegistry {
    pub(crate) fn new() -> Self {
        Self { injected: Mutex::default(), has_reply_faults: AtomicBool::new(false), changes: watch::Sender::new(()) }
    }

    pub(crate) fn inject(&self, Injection { fault, scope }: Injection) {
        let mut injected = self.injected();
        match scope {
            Scope::AllConnections => injected.global.push(fault),
            Scope::NthConnection(n) => injected.for_connections.push(Countdown { remaining: n.max(1), fault }),
            Scope::NthReply(n) => {
                injected.for_replies.push(Countdown { remaining: n.max(1), fault });
                self.has_reply_faults.store(true, Ordering::Release);
            }
        }
        drop(injected);
        self.changes.send_replace(());
    }

    pub(crate) fn clear(&self) {
        let mut injected = self.injected();
        *injected = Injected { generation: injected.generation + 1, ..Injected::default() };
        self.has_reply_faults.store(false, Ordering::Release);
        drop(injected);
        self.changes.send_replace(());
    }

    /// Returns a receiver that is notified of changes. It starts as changed, so that the faults of now are read once.
    pub(crate) fn subscribe(&self) -> watch::Receiver<()> {
        let mut changes = self.changes.subscribe();
        changes.mark_changed();
        changes
    }

    pub(crate) fn with_global(&self, read: impl FnOnce(GlobalFaults<'_>)) {
        let injected = self.injected();
        read(GlobalFaults { faults: &injected.global, generation: injected.generation });
    }

    /// Takes the faults of a connection that was just accepted. Also returns the current generation.
    pub(crate) fn take_for_connection(&self) -> (Vec<Fault>, u64) {
        let mut injected = self.injected();
        (count_down(&mut injected.for_connections), injected.generation)
    }

    #[inline]
    pub(crate) fn has_reply_faults(&self) -> bool {
        self.has_reply_faults.load(Ordering::Acquire)
    }

    /// Takes the faults of a reply that was just produced.
    pub(crate) fn take_for_reply(&self) -> Vec<Fault> {
        if !self.has_reply_faults() {
            return Vec::new();
        }
        let mut injected = self.injected();
        let due = count_down(&mut injected.for_replies);
        self.has_reply_faults.store(!injected.for_replies.is_empty(), Ordering::Release);
        due
    }

    fn injected(&self) -> MutexGuard<'_, Injected> {
        // The lists are consistent between any two statements, so a poisoned lock is safe to use.
        self.injected.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Counts one connection or reply and removes the faults that are due for it.
fn count_down(faults: &mut Vec<Countdown>) -> Vec<Fault> {
    for countdown in faults.iter_mut() {
        countdown.remaining -= 1;
    }
    faults.extract_if(.., |countdown| countdown.remaining == 0).map(|countdown| countdown.fault).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_are_counted_from_the_injection() {
        let faults = FaultRegistry::new();
        faults.inject(Fault::Drop.on_reply(2));
        assert_eq!(faults.take_for_reply(), []);
        faults.inject(Fault::Duplicate.on_reply(1));
        assert!(faults.has_reply_faults());
        assert_eq!(faults.take_for_reply(), [Fault::Drop, Fault::Duplicate]);
        assert!(!faults.has_reply_faults());
        assert_eq!(faults.take_for_reply(), []);
    }

    #[test]
    fn connections_and_replies_are_counted_separately() {
        let faults = FaultRegistry::new();
        faults.inject(Fault::StopReading.on_connection(1));
        assert_eq!(faults.take_for_reply(), []);
        assert_eq!(faults.take_for_connection(), (vec![Fault::StopReading], 0));
        assert_eq!(faults.take_for_connection(), (vec![], 0));
    }

    #[test]
    fn clearing_removes_all_faults_and_notifies() {
        let faults = FaultRegistry::new();
        let mut changes = faults.subscribe();
        changes.mark_unchanged();
        faults.inject(Fault::Drop.on_reply(1));
        faults.inject(Fault::Drop.on_connection(1));
        faults.inject(Fault::ByteByByte.into());
        faults.clear();
        assert!(changes.has_changed().unwrap());
        assert_eq!((faults.take_for_reply(), faults.take_for_connection()), (vec![], (vec![], 1)));
        faults.with_global(|global| assert_eq!((global.faults, global.generation), (&[][..], 1)));
    }

    #[test]
    fn number_zero_means_the_first() {
        let faults = FaultRegistry::new();
        faults.inject(Fault::Drop.on_reply(0));
        assert_eq!(faults.take_for_reply(), [Fault::Drop]);
    }
}
