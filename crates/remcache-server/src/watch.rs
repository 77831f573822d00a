//! Clients that watch the log: the streams of the `watch` command, in memcached's format.

use std::fmt;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use remcache_proto::Status;
use tokio::sync::mpsc;

use crate::uri_escape::uri_escape;

/// The log lines for a connection that watches.
pub(crate) type WatchStream = mpsc::Receiver<Bytes>;

/// Log streams, as bits.
pub(crate) const FETCHERS: u8 = 1;
pub(crate) const MUTATIONS: u8 = 2;
pub(crate) const EVICTIONS: u8 = 4;
/// The other streams of memcached. They can be watched, but nothing is written to them.
pub(crate) const OTHER: u8 = 8;

/// memcached's limit on watching connections.
const MAX_WATCHERS: usize = 20;
/// The number of lines that are queued for a connection that does not read. Further lines are skipped.
const QUEUE_LEN: usize = 1024;

/// The connections that watch the log.
#[derive(Debug, Default)]
pub(crate) struct Watchers {
    /// The union of all watched streams, so that unwatched events cost one atomic load.
    watched: AtomicU8,
    /// The number of the connection whose requests are being processed.
    current_connection: AtomicU64,
    log: Mutex<Log>,
}

#[derive(Debug, Default)]
struct Log {
    watchers: Vec<Watcher>,
    /// The number of the last line.
    last_line: u64,
}

#[derive(Debug)]
struct Watcher {
    streams: u8,
    lines: mpsc::Sender<Bytes>,
    /// The number of lines that were skipped since the last one that was queued.
    skipped: u64,
}

/// The result of a fetch, as it is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FetchResult {
    Found,
    NotFound,
    Expired,
}

/// A command that stores, as it is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StoreCommand {
    Set,
    Add,
    Replace,
    Append,
    Prepend,
    Cas,
}

/// A mutation, as it is logged.
#[derive(Debug)]
pub(crate) struct Mutation {
    pub(crate) command: StoreCommand,
    pub(crate) status: Status,
    pub(crate) ttl: u32,
    pub(crate) class: u8,
    pub(crate) length: usize,
}

/// An eviction, as it is logged.
#[derive(Debug)]
pub(crate) struct Eviction {
    pub(crate) fetched: bool,
    /// The remaining seconds; `None` if the item never expires.
    pub(crate) ttl: Option<u32>,
    /// The seconds since the item was last used.
    pub(crate) idle: u64,
    pub(crate) class: u8,
    pub(crate) length: usize,
}

impl StoreCommand {
    fn name(self) -> &'static str {
        match self {
            Self::Set => "set",
            Self::Add => "add",
            Self::Replace => "replace",
            Self::Append => "append",
            Self::Prepend => "prepend",
            Self::Cas => "cas",
        }
    }
}

impl Watchers {
    /// Subscribes to streams. Returns `None` if too many connections watch already.
    pub(crate) fn watch(&self, streams: u8) -> Option<WatchStream> {
        let mut log = self.log();
        log.watchers.retain(|watcher| !watcher.lines.is_closed());
        if log.watchers.len() >= MAX_WATCHERS {
            return None;
        }
        let (lines, receiver) = mpsc::channel(QUEUE_LEN);
        log.watchers.push(Watcher { streams, lines, skipped: 0 });
        self.watched.store(log.watched_streams(), Ordering::Relaxed);
        Some(receiver)
    }

    /// Sets the connection that following events are attributed to.
    #[inline]
    pub(crate) fn set_connection(&self, connection: u64) {
        if self.watched.load(Ordering::Relaxed) != 0 {
            self.current_connection.store(connection, Ordering::Relaxed);
        }
    }

    #[inline]
    pub(crate) fn has_fetchers(&self) -> bool {
        self.watched.load(Ordering::Relaxed) & FETCHERS != 0
    }

    #[inline]
    pub(crate) fn has_mutations(&self) -> bool {
        self.watched.load(Ordering::Relaxed) & MUTATIONS != 0
    }

    #[inline]
    pub(crate) fn has_evictions(&self) -> bool {
        self.watched.load(Ordering::Relaxed) & EVICTIONS != 0
    }

    #[cold]
    pub(crate) fn log_fetch(&self, key: &[u8], result: FetchResult, class: u8, length: usize) {
        let status = match result {
            FetchResult::Found => "found",
            FetchResult::NotFound => "not_found",
            FetchResult::Expired => "expired",
        };
        let connection = self.current_connection.load(Ordering::Relaxed);
        let key = uri_escape(key);
        self.write(
            FETCHERS,
            format_args!("type=item_get key={key} status={status} clsid={class} cfd={connection} size={length}"),
        );
    }

    #[cold]
    pub(crate) fn log_mutation(&self, key: &[u8], mutation: &Mutation) {
        use StoreCommand::{Append, Cas, Prepend};
        let Mutation { command, status, ttl, class, length } = mutation;
        let status = match (status, command) {
            (Status::NoError, _) => "stored",
            (Status::ValueTooLarge, _) => "too_large",
            (Status::OutOfMemory, _) => "no_memory",
            (Status::KeyExists, Cas | Append | Prepend) => "exists",
            (Status::KeyNotFound, Cas) => "not_found",
            _ => "not_stored",
        };
        let (key, name) = (uri_escape(key), command.name());
        let connection = self.current_connection.load(Ordering::Relaxed);
        self.write(
            MUTATIONS,
            format_args!(
                "type=item_store key={key} status={status} cmd={name} ttl={ttl} clsid={class} cfd={connection} size={length}"
            ),
        );
    }

    #[cold]
    pub(crate) fn log_eviction(&self, key: &[u8], eviction: &Eviction) {
        let &Eviction { fetched, ttl, idle, class, length } = eviction;
        let key = uri_escape(key);
        let fetched = if fetched { "yes" } else { "no" };
        let ttl = ttl.map_or(-1, i64::from);
        self.write(
            EVICTIONS,
            format_args!("type=eviction key={key} fetch={fetched} ttl={ttl} la={idle} clsid={class} size={length}"),
        );
    }

    fn write(&self, stream: u8, event: fmt::Arguments<'_>) {
        let mut log = self.log();
        log.last_line += 1;
        let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let (seconds, micros, number) = (time.as_secs(), time.subsec_micros(), log.last_line);
        let line = Bytes::from(format!("ts={seconds}.{micros} gid={number} {event}\n"));
        log.watchers.retain_mut(|watcher| watcher.streams & stream == 0 || watcher.send(&line));
        self.watched.store(log.watched_streams(), Ordering::Relaxed);
    }

    fn log(&self) -> MutexGuard<'_, Log> {
        // Its fields are consistent between any two statements, so a poisoned lock is safe to use.
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Log {
    fn watched_streams(&self) -> u8 {
        self.watchers.iter().fold(0, |streams, watcher| streams | watcher.streams)
    }
}

impl Watcher {
    /// Queues a line if there is room. Returns false if the connection is closed.
    fn send(&mut self, line: &Bytes) -> bool {
        if self.skipped > 0 {
            let note = Bytes::from(format!("skipped={}\n", self.skipped));
            if self.lines.try_send(note).is_ok() {
                self.skipped = 0;
            }
        }
        match self.lines.try_send(line.clone()) {
            Ok(()) => true,
            Err(mpsc::error::TrySendError::Full(_)) => {
                self.skipped += 1;
                true
            }
            Err(mpsc::error::TrySendError::Closed(_)) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn watchers_get_lines_of_their_streams_and_a_note_about_skipped_ones() {
        let watchers = Watchers::default();
        assert!(!watchers.has_fetchers());
        let mut fetches = watchers.watch(FETCHERS).expect("room");
        let _mutations = watchers.watch(MUTATIONS).expect("room");
        assert!(watchers.has_fetchers() && watchers.has_mutations() && !watchers.has_evictions());
        for _ in 0..QUEUE_LEN + 3 {
            watchers.log_fetch(b"k", FetchResult::Found, 1, 3);
        }
        let first = fetches.try_recv().expect("a line");
        assert!(first.ends_with(b" gid=1 type=item_get key=k status=found clsid=1 cfd=0 size=3\n"));
        for _ in 1..QUEUE_LEN {
            fetches.try_recv().expect("a line");
        }
        watchers.log_fetch(b"k", FetchResult::NotFound, 0, 0);
        assert_eq!(fetches.try_recv().expect("a note"), "skipped=3\n");
        drop(fetches);
        watchers.log_fetch(b"k", FetchResult::NotFound, 0, 0);
        assert!(!watchers.has_fetchers(), "a closed connection no longer watches");
    }

    #[test]
    fn the_number_of_watchers_is_limited() {
        let watchers = Watchers::default();
        let watching: Vec<_> = (0..MAX_WATCHERS).map(|_| watchers.watch(OTHER).expect("room")).collect();
        assert!(watchers.watch(OTHER).is_none());
        drop(watching);
        assert!(watchers.watch(OTHER).is_some());
    }
}
