//! A history of writes, and the values that a fetch may return according to it.

use std::collections::{BTreeSet, HashMap};
use std::sync::Mutex;

/// Returns the value of the n-th write of a key. One in eleven is large.
pub fn value(key: &str, n: u64) -> String {
    let padding = if n % 11 == 10 { 6_000 } else { n % 50 };
    format!("{key}/{n}/{}", ".".repeat(usize::try_from(padding).unwrap_or_default()))
}

/// The result of a write as its caller knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "a checker must handle every status")]
pub enum WriteStatus {
    /// It was executed.
    Executed,
    /// It cannot have been executed.
    NotSent,
    /// It may still be executed, even after later writes, because its connection may take a while to fail.
    MaybeSent,
}

/// The writes to all keys. Each key has a single writer, which writes sequentially.
#[derive(Debug, Default)]
pub struct History(Mutex<HashMap<String, Writes>>);

#[derive(Clone, Debug, Default)]
struct Writes {
    started: u64,
    /// The last executed write and the epoch of its server.
    executed: u64,
    epoch: u64,
    /// Writes that may still be executed.
    pending: BTreeSet<u64>,
    not_sent: BTreeSet<u64>,
}

/// The oldest write that a fetch may return.
#[derive(Clone, Copy, Debug)]
pub struct Baseline {
    executed: u64,
    epoch: u64,
}

impl History {
    /// Begins the next write of a key and returns its number.
    pub fn begin(&self, key: &str) -> u64 {
        self.with(key, |writes| {
            writes.started += 1;
            writes.pending.insert(writes.started);
            writes.started
        })
    }

    /// Records the result of a write. The epoch is that of the server when the write began; a restart of the server
    /// starts a new one.
    pub fn end(&self, key: &str, n: u64, status: WriteStatus, epoch: u64) {
        self.with(key, |writes| {
            if status != WriteStatus::MaybeSent {
                writes.pending.remove(&n);
            }
            match status {
                WriteStatus::Executed => (writes.executed, writes.epoch) = (n, epoch),
                WriteStatus::NotSent => drop(writes.not_sent.insert(n)),
                WriteStatus::MaybeSent => {}
            }
        });
    }

    /// Returns the oldest write that a fetch that begins now may return.
    pub fn baseline(&self, key: &str) -> Baseline {
        self.with(key, |writes| Baseline { executed: writes.executed, epoch: writes.epoch })
    }

    /// Checks a fetched value against the writes.
    ///
    /// # Errors
    /// Returns a description of the violation. A miss is correct if the server was restarted, which its epoch shows.
    pub fn check(&self, key: &str, found: Option<&[u8]>, baseline: Baseline, epoch: u64) -> Result<(), String> {
        let has_baseline = baseline.epoch == epoch && baseline.executed > 0;
        let Some(found) = found else {
            return if has_baseline {
                Err(format!("{key}: a miss although write {} was executed", baseline.executed))
            } else {
                Ok(())
            };
        };
        let text = String::from_utf8_lossy(found);
        let n = text.split('/').nth(1).and_then(|n| n.parse().ok()).filter(|n| text == value(key, *n));
        let excerpt = || text.chars().take(60).collect::<String>();
        let n: u64 =
            n.ok_or_else(|| format!("{key}: the value of another key, or an incomplete one: {:?}", excerpt()))?;
        let writes = self.with(key, |writes| writes.clone());
        if n > writes.started || writes.not_sent.contains(&n) {
            return Err(format!("{key}: write {n} was never sent"));
        }
        if has_baseline && n < baseline.executed && !writes.pending.contains(&n) {
            return Err(format!("{key}: write {n}, although {} was executed", baseline.executed));
        }
        Ok(())
    }

    fn with<T>(&self, key: &str, act: impl FnOnce(&mut Writes) -> T) -> T {
        // The map is consistent between any two statements, so a poisoned lock is safe to use.
        let mut keys = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        act(keys.entry(key.to_owned()).or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns a history of two executed writes and a third that may have been executed.
    fn three() -> History {
        let history = History::default();
        for (n, status) in [(1, WriteStatus::Executed), (2, WriteStatus::Executed), (3, WriteStatus::MaybeSent)] {
            assert_eq!(history.begin("k"), n);
            history.end("k", n, status, 7);
        }
        history
    }

    #[test]
    fn executed_and_possible_writes_are_accepted() {
        let history = three();
        for n in [2, 3] {
            history
                .check("k", Some(value("k", n).as_bytes()), history.baseline("k"), 7)
                .expect("the value is possible");
        }
        history.check("k", None, history.baseline("k"), 8).expect("the server was restarted");
    }

    #[test]
    fn other_values_are_rejected() {
        let history = three();
        let baseline = history.baseline("k");
        for (found, word) in [
            (None, "a miss although write 2"),
            (Some(value("k", 1)), "although 2 was executed"),
            (Some(value("k", 4)), "never sent"),
            (Some(value("l", 2)), "another key"),
            (Some("k/2/".into()), "an incomplete one"),
        ] {
            let problem = history.check("k", found.as_ref().map(|it| it.as_bytes()), baseline, 7).unwrap_err();
            assert!(problem.contains(word), "{problem}");
        }
        let n = history.begin("k");
        history.end("k", n, WriteStatus::NotSent, 7);
        history.check("k", Some(value("k", n).as_bytes()), baseline, 7).unwrap_err();
    }
}
