//! Who is told of what happens: the streams of `watch`, line by line, as memcached writes them.

use std::fmt::Write;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use remcache_proto::Status;
use tokio::sync::mpsc;

use crate::store::{End, Item, Mode};

/// Streams of lines, as bits.
pub(crate) const FETCHES: u8 = 1;
pub(crate) const CHANGES: u8 = 2;
pub(crate) const EVICTIONS: u8 = 4;
/// What memcached offers beside, of which nothing is told here.
pub(crate) const OTHER: u8 = 8;

/// How many connections may watch at a time.
const MOST: usize = 20;
/// How many lines wait for a connection that does not read; what comes then is left out.
const WAITING: usize = 1024;

/// Who is told of what happens.
#[derive(Debug, Default)]
pub(crate) struct Watchers {
    /// All streams that somebody wants: looked at before anything is told.
    wanted: AtomicU8,
    /// The number of the connection that is served.
    speaker: AtomicU64,
    watching: Mutex<Watching>,
}

#[derive(Debug, Default)]
struct Watching {
    watchers: Vec<Watcher>,
    /// The number of the last line.
    lines: u64,
}

#[derive(Debug)]
struct Watcher {
    streams: u8,
    lines: mpsc::Sender<Bytes>,
    /// How many lines were left out since the last one that was not.
    skipped: u64,
}

/// What a fetch found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    Yes,
    No,
    Expired,
}

/// How something was stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Set,
    Add,
    Replace,
    Append,
    Prepend,
    Cas,
}

impl From<Mode> for Change {
    fn from(mode: Mode) -> Self {
        match mode {
            Mode::Set => Self::Set,
            Mode::Add => Self::Add,
            Mode::Replace => Self::Replace,
            Mode::Cas | Mode::CasOrStale => Self::Cas,
        }
    }
}

impl From<End> for Change {
    fn from(end: End) -> Self {
        match end {
            End::Front => Self::Prepend,
            End::Back => Self::Append,
        }
    }
}

impl Change {
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
    /// The lines of these streams from now on; `None` if there are too many who watch.
    pub(crate) fn watch(&self, streams: u8) -> Option<mpsc::Receiver<Bytes>> {
        let mut watching = self.watching();
        watching.watchers.retain(|watcher| !watcher.lines.is_closed());
        if watching.watchers.len() >= MOST {
            return None;
        }
        let (lines, received) = mpsc::channel(WAITING);
        watching.watchers.push(Watcher { streams, lines, skipped: 0 });
        self.wanted.store(watching.wanted(), Ordering::Relaxed);
        Some(received)
    }

    /// Says whose requests are served from now on.
    #[inline]
    pub(crate) fn set_speaker(&self, connection: u64) {
        if self.wanted.load(Ordering::Relaxed) != 0 {
            self.speaker.store(connection, Ordering::Relaxed);
        }
    }

    #[inline]
    pub(crate) fn want_fetches(&self) -> bool {
        self.wanted.load(Ordering::Relaxed) & FETCHES != 0
    }

    #[inline]
    pub(crate) fn want_changes(&self) -> bool {
        self.wanted.load(Ordering::Relaxed) & CHANGES != 0
    }

    #[inline]
    pub(crate) fn want_evictions(&self) -> bool {
        self.wanted.load(Ordering::Relaxed) & EVICTIONS != 0
    }

    #[cold]
    pub(crate) fn tell_fetch(&self, key: &[u8], found: Found, class: u8, length: usize) {
        let status = match found {
            Found::Yes => "found",
            Found::No => "not_found",
            Found::Expired => "expired",
        };
        let connection = self.speaker.load(Ordering::Relaxed);
        let key = escaped(key);
        self.tell(
            FETCHES,
            format_args!("type=item_get key={key} status={status} clsid={class} cfd={connection} size={length}"),
        );
    }

    #[cold]
    pub(crate) fn tell_change(&self, key: &[u8], status: Status, change: Change, ttl: u32, class: u8, length: usize) {
        let status = match (status, change) {
            (Status::NoError, _) => "stored",
            (Status::ValueTooLarge, _) => "too_large",
            (Status::OutOfMemory, _) => "no_memory",
            (Status::KeyExists, Change::Cas | Change::Append | Change::Prepend) => "exists",
            (Status::KeyNotFound, Change::Cas) => "not_found",
            _ => "not_stored",
        };
        let (key, name) = (escaped(key), change.name());
        let connection = self.speaker.load(Ordering::Relaxed);
        self.tell(
            CHANGES,
            format_args!(
                "type=item_store key={key} status={status} cmd={name} ttl={ttl} clsid={class} cfd={connection} size={length}"
            ),
        );
    }

    #[cold]
    pub(crate) fn tell_eviction(&self, key: &[u8], item: &Item, class: u8, now: u64) {
        let key = escaped(key);
        let fetched = if item.marks.fetched { "yes" } else { "no" };
        let ttl = item.expiry.at().map_or(-1, |_| i64::from(item.expiry.left(now)));
        let (unused, length) = (now.saturating_sub(item.used_at), item.value.len());
        self.tell(
            EVICTIONS,
            format_args!("type=eviction key={key} fetch={fetched} ttl={ttl} la={unused} clsid={class} size={length}"),
        );
    }

    fn tell(&self, stream: u8, event: std::fmt::Arguments<'_>) {
        let mut watching = self.watching();
        watching.lines += 1;
        let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let (seconds, micros, number) = (time.as_secs(), time.subsec_micros(), watching.lines);
        let line = Bytes::from(format!("ts={seconds}.{micros} gid={number} {event}\n"));
        watching.watchers.retain_mut(|watcher| watcher.streams & stream == 0 || watcher.tell(&line));
        self.wanted.store(watching.wanted(), Ordering::Relaxed);
    }

    fn watching(&self) -> MutexGuard<'_, Watching> {
        // What the lock guards is consistent between any two statements.
        self.watching.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watching {
    fn wanted(&self) -> u8 {
        self.watchers.iter().fold(0, |wanted, watcher| wanted | watcher.streams)
    }
}

impl Watcher {
    /// Tells a line, if there is room for it; whether somebody is there still.
    fn tell(&mut self, line: &Bytes) -> bool {
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

/// A key as it is written in lines: bytes that a URI must not have are escaped.
pub(crate) fn escaped(key: &[u8]) -> String {
    let mut text = String::with_capacity(key.len());
    for byte in key {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => text.push(char::from(*byte)),
            // Writing to a string does not fail.
            _ => drop(write!(text, "%{byte:02X}")),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_escaped_as_in_a_uri() {
        assert_eq!(escaped(b"a-Z_9.~ %\xff"), "a-Z_9.~%20%25%FF");
    }

    #[test]
    fn lines_go_to_who_wants_them_and_are_left_out_when_nobody_reads() {
        let watchers = Watchers::default();
        assert!(!watchers.want_fetches());
        let mut fetches = watchers.watch(FETCHES).expect("room");
        let _changes = watchers.watch(CHANGES).expect("room");
        assert!(watchers.want_fetches() && watchers.want_changes() && !watchers.want_evictions());
        for _ in 0..WAITING + 3 {
            watchers.tell_fetch(b"k", Found::Yes, 1, 3);
        }
        let first = fetches.try_recv().expect("a line");
        assert!(first.ends_with(b" gid=1 type=item_get key=k status=found clsid=1 cfd=0 size=3\n"));
        for _ in 1..WAITING {
            fetches.try_recv().expect("a line");
        }
        watchers.tell_fetch(b"k", Found::No, 0, 0);
        assert_eq!(fetches.try_recv().expect("a note"), "skipped=3\n");
        drop(fetches);
        watchers.tell_fetch(b"k", Found::No, 0, 0);
        assert!(!watchers.want_fetches(), "nobody is told who is gone");
    }

    #[test]
    fn so_many_may_watch() {
        let watchers = Watchers::default();
        let watching: Vec<_> = (0..MOST).map(|_| watchers.watch(OTHER).expect("room")).collect();
        assert!(watchers.watch(OTHER).is_none());
        drop(watching);
        assert!(watchers.watch(OTHER).is_some());
    }
}
