//! The progress of a run: position, rate, remaining time, and skipped items.

use super::Summary;
use crate::output::{Notes, Progress, number};

/// The progress of a run, on a terminal.
#[derive(Debug)]
pub(crate) struct BulkProgress {
    progress: Progress,
    total: Option<u64>,
    is_watched: bool,
}

impl BulkProgress {
    /// Progress towards a number of items, if that is known.
    pub(crate) fn new(notes: Notes, total: Option<u64>) -> Self {
        let progress = match total {
            Some(total) => Progress::new(notes, total.max(1)),
            None => Progress::endless(notes),
        };
        Self { progress, total, is_watched: notes.is_watched() }
    }

    /// Shows the progress.
    pub(crate) fn show(&self, summary: &Summary) {
        if self.is_watched {
            self.progress.set(summary.seen, message(summary, self.total));
        }
    }
}

fn message(summary: &Summary, total: Option<u64>) -> String {
    let rate = summary.rate();
    let mut parts = match total {
        Some(total) => vec![
            format!("{}/{}", number::count(summary.seen), number::count(total.max(summary.seen))),
            format!("{}/s", number::rate(rate)),
        ],
        None => vec![number::count(summary.seen), format!("{}/s", number::rate(rate))],
    };
    if let Some(total) = total.filter(|_| rate > 0.0) {
        let remaining = total.saturating_sub(summary.seen) as f64 / rate;
        parts.push(format!("ETA {}", number::age(remaining.ceil() as u64)));
    }
    parts.push(summary.skip_counts());
    parts.join("  ").trim_end().to_owned()
}
