//! What was written, and which values a fetch may therefore give.

use std::collections::{BTreeSet, HashMap};
use std::sync::Mutex;

use remcache::{Delivery, Error, ErrorKind};

/// What became of a change, as the caller knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Executed,
    NotSent,
    MaybeSent,
}

impl Fate {
    pub(crate) fn of<T>(outcome: &Result<T, Error>) -> Self {
        match outcome {
            Ok(_) => Self::Executed,
            Err(error) => match error.kind() {
                ErrorKind::Disconnected(Delivery::MaybeSent) | ErrorKind::TimedOut(Delivery::MaybeSent) => {
                    Self::MaybeSent
                }
                ErrorKind::Disconnected(_) | ErrorKind::TimedOut(_) | ErrorKind::Overloaded => Self::NotSent,
                _ => panic!("an error of another kind: {error:?}"),
            },
        }
    }
}

/// The value that the n-th write of a key has; one of eleven is large.
pub(crate) fn value(key: &str, n: u64) -> String {
    let padding = if n % 11 == 10 { 6_000 } else { n % 50 };
    let padding = ".".repeat(usize::try_from(padding).expect("a short value"));
    format!("{key}/{n}/{padding}")
}

/// The writes of every key, each by one writer, one after the other.
#[derive(Debug, Default)]
pub(crate) struct History(Mutex<HashMap<String, Writes>>);

#[derive(Clone, Debug, Default)]
struct Writes {
    /// How many were begun.
    begun: u64,
    /// The last of which the server said that it was made.
    made: u64,
    /// Those that may be made yet, even after later ones: their connection may be slow to die.
    pending: BTreeSet<u64>,
    /// Those that cannot have been made.
    not_sent: BTreeSet<u64>,
}

impl History {
    /// Begins the next write of a key.
    pub(crate) fn begin(&self, key: &str) -> u64 {
        self.with(key, |writes| {
            writes.begun += 1;
            writes.pending.insert(writes.begun);
            writes.begun
        })
    }

    /// Tells what became of a write. One that nobody waits for any more stays pending.
    pub(crate) fn end(&self, key: &str, n: u64, fate: Fate) {
        self.with(key, |writes| match fate {
            Fate::MaybeSent => {}
            Fate::NotSent => {
                writes.pending.remove(&n);
                writes.not_sent.insert(n);
            }
            Fate::Executed => {
                writes.pending.remove(&n);
                writes.made = n;
            }
        });
    }

    /// The last write that was made for certain: a fetch that begins now must not miss it.
    pub(crate) fn made(&self, key: &str) -> u64 {
        self.with(key, |writes| writes.made)
    }

    /// Holds a fetched value against what was written; `made` is from when the fetch began.
    pub(crate) fn check(&self, key: &str, found: Option<&[u8]>, made: u64) {
        let writes = self.with(key, |writes| writes.clone());
        let Some(found) = found else {
            assert_eq!(made, 0, "{key}: a false miss, write {made} was made");
            return;
        };
        let text = std::str::from_utf8(found).expect("every value is text");
        let n = text.split('/').nth(1).and_then(|n| n.parse().ok()).expect("every value has a number");
        assert_eq!(text, value(key, n), "{key}: another key's value, or not a whole one");
        assert!(!writes.not_sent.contains(&n), "{key}: write {n} was made although it was not sent");
        let is_due = n >= made && n <= writes.begun;
        assert!(is_due || writes.pending.contains(&n), "{key}: write {n} after {made} was made: {writes:?}");
    }

    fn with<T>(&self, key: &str, act: impl FnOnce(&mut Writes) -> T) -> T {
        let mut keys = self.0.lock().expect("the history is whole");
        act(keys.entry(key.to_owned()).or_default())
    }
}
