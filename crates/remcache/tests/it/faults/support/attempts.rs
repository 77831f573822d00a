//! A record of who tried to connect, and when.

use std::sync::{Mutex, MutexGuard};

use tokio::time::Instant;

/// The attempts to connect to one server.
#[derive(Debug, Default)]
pub(crate) struct Attempts(Mutex<Record>);

#[derive(Debug, Default)]
struct Record {
    begun: Vec<Instant>,
    at_once: usize,
    most_at_once: usize,
}

impl Attempts {
    /// Counts an attempt, which lasts until the guard is dropped.
    pub(crate) fn begin(&self) -> Attempt<'_> {
        let mut record = self.lock();
        record.begun.push(Instant::now());
        record.at_once += 1;
        record.most_at_once = record.most_at_once.max(record.at_once);
        Attempt(self)
    }

    /// When attempts began.
    pub(crate) fn begun(&self) -> Vec<Instant> {
        self.lock().begun.clone()
    }

    /// How many attempts there were at the same time.
    pub(crate) fn most_at_once(&self) -> usize {
        self.lock().most_at_once
    }

    fn lock(&self) -> MutexGuard<'_, Record> {
        self.0.lock().expect("no attempt panics")
    }
}

/// An attempt that goes on.
#[derive(Debug)]
pub(crate) struct Attempt<'a>(&'a Attempts);

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        self.0.lock().at_once -= 1;
    }
}
