//! A record of connection attempts.

use std::sync::{Mutex, MutexGuard};

use tokio::time::Instant;

/// Records the attempts to connect to one server.
#[derive(Debug, Default)]
pub(crate) struct ConnectAttempts(Mutex<Record>);

#[derive(Debug, Default)]
struct Record {
    started: Vec<Instant>,
    concurrent: usize,
    max_concurrent: usize,
}

impl ConnectAttempts {
    /// Records an attempt, which lasts until the guard is dropped.
    pub(crate) fn start(&self) -> ConnectAttempt<'_> {
        let mut record = self.lock();
        record.started.push(Instant::now());
        record.concurrent += 1;
        record.max_concurrent = record.max_concurrent.max(record.concurrent);
        ConnectAttempt(self)
    }

    /// Returns when each attempt started.
    pub(crate) fn started(&self) -> Vec<Instant> {
        self.lock().started.clone()
    }

    /// Returns the largest number of concurrent attempts.
    pub(crate) fn max_concurrent(&self) -> usize {
        self.lock().max_concurrent
    }

    fn lock(&self) -> MutexGuard<'_, Record> {
        self.0.lock().expect("no attempt panics")
    }
}

/// An attempt in progress.
#[derive(Debug)]
pub(crate) struct ConnectAttempt<'a>(&'a ConnectAttempts);

impl Drop for ConnectAttempt<'_> {
    fn drop(&mut self) {
        self.0.lock().concurrent -= 1;
    }
}
