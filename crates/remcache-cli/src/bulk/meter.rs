//! The progress of a run: how far, how fast, how long still, and what was left out.

use super::Ledger;
use crate::output::{Notes, Progress, number};

/// The progress of a run, for whoever looks at it.
#[derive(Debug)]
pub(crate) struct Meter {
    progress: Progress,
    total: Option<u64>,
    is_watched: bool,
}

impl Meter {
    /// Progress towards so many items, if their number is known.
    pub(crate) fn new(notes: Notes, total: Option<u64>) -> Self {
        let progress = match total {
            Some(total) => Progress::new(notes, total.max(1)),
            None => Progress::endless(notes),
        };
        Self { progress, total, is_watched: notes.is_watched() }
    }

    /// Shows how far it is.
    pub(crate) fn show(&self, ledger: &Ledger) {
        if self.is_watched {
            self.progress.set(ledger.seen, message(ledger, self.total));
        }
    }
}

fn message(ledger: &Ledger, total: Option<u64>) -> String {
    let rate = ledger.rate();
    let mut parts = match total {
        Some(total) => vec![
            format!("{}/{}", number::count(ledger.seen), number::count(total.max(ledger.seen))),
            format!("{}/s", number::rate(rate)),
        ],
        None => vec![number::count(ledger.seen), format!("{}/s", number::rate(rate))],
    };
    if let Some(total) = total.filter(|_| rate > 0.0) {
        let left = total.saturating_sub(ledger.seen) as f64 / rate;
        parts.push(format!("ETA {}", number::age(left.ceil() as u64)));
    }
    parts.push(ledger.losses());
    parts.join("  ").trim_end().to_owned()
}
