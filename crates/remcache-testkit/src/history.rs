//! What was written, and which values a fetch may therefore give.

use std::collections::{BTreeSet, HashMap};
use std::sync::Mutex;

/// The value that the n-th write of a key has; one of eleven is large.
pub fn value(key: &str, n: u64) -> String {
    let padding = if n % 11 == 10 { 6_000 } else { n % 50 };
    format!("{key}/{n}/{}", ".".repeat(usize::try_from(padding).unwrap_or_default()))
}

/// What became of a write, as far as its caller knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "who checks a history has to know every fate")]
pub enum Fate {
    /// The server said that it was made.
    Made,
    /// It cannot have been made.
    NotSent,
    /// It may be made yet, even after later ones: its connection may be slow to die.
    MaybeSent,
}

/// The writes of every key, each by one writer, one after the other.
#[derive(Debug, Default)]
pub struct History(Mutex<HashMap<String, Writes>>);

#[derive(Clone, Debug, Default)]
struct Writes {
    begun: u64,
    /// The last one that was made, and in which life of its server.
    made: u64,
    life: u64,
    /// Those that may be made yet.
    pending: BTreeSet<u64>,
    not_sent: BTreeSet<u64>,
}

/// What a fetch must find at least.
#[derive(Clone, Copy, Debug)]
pub struct Floor {
    made: u64,
    life: u64,
}

impl History {
    /// Begins the next write of a key.
    pub fn begin(&self, key: &str) -> u64 {
        self.with(key, |writes| {
            writes.begun += 1;
            writes.pending.insert(writes.begun);
            writes.begun
        })
    }

    /// Tells what became of a write that was begun in this life of its server.
    pub fn end(&self, key: &str, n: u64, fate: Fate, life: u64) {
        self.with(key, |writes| {
            if fate != Fate::MaybeSent {
                writes.pending.remove(&n);
            }
            match fate {
                Fate::Made => (writes.made, writes.life) = (n, life),
                Fate::NotSent => drop(writes.not_sent.insert(n)),
                Fate::MaybeSent => {}
            }
        });
    }

    /// What a fetch that begins now must find.
    pub fn floor(&self, key: &str) -> Floor {
        self.with(key, |writes| Floor { made: writes.made, life: writes.life })
    }

    /// Holds a fetched value against what was written.
    ///
    /// # Errors
    /// In which way it is wrong. A server that was started again, as its life tells, may have nothing.
    pub fn check(&self, key: &str, found: Option<&[u8]>, floor: Floor, life: u64) -> Result<(), String> {
        let is_bound = floor.life == life && floor.made > 0;
        let Some(found) = found else {
            return if is_bound { Err(format!("{key}: a false miss of write {}", floor.made)) } else { Ok(()) };
        };
        let text = String::from_utf8_lossy(found);
        let n = text.split('/').nth(1).and_then(|n| n.parse().ok()).filter(|n| text == value(key, *n));
        let excerpt = || text.chars().take(60).collect::<String>();
        let n: u64 = n.ok_or_else(|| format!("{key}: another key's value, or not a whole one: {:?}", excerpt()))?;
        let writes = self.with(key, |writes| writes.clone());
        if n > writes.begun || writes.not_sent.contains(&n) {
            return Err(format!("{key}: write {n} was never sent"));
        }
        if is_bound && n < floor.made && !writes.pending.contains(&n) {
            return Err(format!("{key}: write {n}, although {} was made", floor.made));
        }
        Ok(())
    }

    fn with<T>(&self, key: &str, act: impl FnOnce(&mut Writes) -> T) -> T {
        // What the lock guards is whole between any two statements.
        let mut keys = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        act(keys.entry(key.to_owned()).or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A history with two writes that were made, and a third that may be.
    fn three() -> History {
        let history = History::default();
        for (n, fate) in [(1, Fate::Made), (2, Fate::Made), (3, Fate::MaybeSent)] {
            assert_eq!(history.begin("k"), n);
            history.end("k", n, fate, 7);
        }
        history
    }

    #[test]
    fn what_was_made_or_may_be_is_right() {
        let history = three();
        for n in [2, 3] {
            history.check("k", Some(value("k", n).as_bytes()), history.floor("k"), 7).expect("it may be there");
        }
        history.check("k", None, history.floor("k"), 8).expect("the server was started again");
    }

    #[test]
    fn everything_else_is_wrong() {
        let history = three();
        let floor = history.floor("k");
        for (found, word) in [
            (None, "false miss"),
            (Some(value("k", 1)), "although 2 was made"),
            (Some(value("k", 4)), "never sent"),
            (Some(value("l", 2)), "another key"),
            (Some("k/2/".into()), "not a whole one"),
        ] {
            let problem = history.check("k", found.as_ref().map(|it| it.as_bytes()), floor, 7).unwrap_err();
            assert!(problem.contains(word), "{problem}");
        }
        let n = history.begin("k");
        history.end("k", n, Fate::NotSent, 7);
        history.check("k", Some(value("k", n).as_bytes()), floor, 7).unwrap_err();
    }
}
