//! Why an item was left out: each reason with its words, in one table.

use remcache::{Error, ErrorKind};

/// Why an item was left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SkipReason {
    /// Its time was over.
    Expired,
    /// It was deleted or evicted between listing and reading.
    Gone,
    /// It was written again and again while it was being worked on.
    Changed,
    /// The destination has the key, and keeps what it has.
    KeyTracking,
    /// It is marked as stale, or as an empty place that somebody is about to fill.
    Stale,
    /// The server takes no value of that size.
    TooLarge,
    /// No client with this placement would look for it there.
    Misplaced,
    /// The protocol in use cannot say its key.
    InvalidKey,
    /// It could not be asked for.
    Failed,
}

/// A reason in words.
#[derive(Debug)]
pub(crate) struct Row {
    reason: SkipReason,
    /// In records, and in lists of what was left out.
    pub(crate) name: &'static str,
    /// In the progress line and the summary.
    pub(crate) text: &'static str,
    /// Whether the command has not done what it was asked for because of it.
    pub(crate) is_failure: bool,
}

const fn row(reason: SkipReason, name: &'static str, text: &'static str, is_failure: bool) -> Row {
    Row { reason, name, text, is_failure }
}

/// Every reason, in the order in which they are told.
pub(crate) const SKIP_REASONS: [Row; 9] = [
    row(SkipReason::Expired, "expired", "expired", false),
    row(SkipReason::Gone, "gone", "gone", false),
    row(SkipReason::Changed, "changed", "changed meanwhile", true),
    row(SkipReason::KeyTracking, "kept", "newer kept", false),
    row(SkipReason::Stale, "stale", "marked stale", false),
    row(SkipReason::TooLarge, "too_large", "too large", true),
    row(SkipReason::Misplaced, "misplaced", "misplaced", true),
    row(SkipReason::InvalidKey, "invalid_key", "invalid key", true),
    row(SkipReason::Failed, "failed", "failed", true),
];

impl SkipReason {
    /// Its place in the table.
    pub(crate) fn index(self) -> usize {
        SKIP_REASONS.iter().position(|row| row.reason == self).unwrap_or_default()
    }

    pub(crate) fn name(self) -> &'static str {
        SKIP_REASONS[self.index()].name
    }
}

/// Why one item was left out, with what the server or the library said, if anything.
#[derive(Clone, Debug)]
pub(crate) struct Skipped {
    pub(crate) reason: SkipReason,
    pub(crate) error: Option<Error>,
}

impl From<SkipReason> for Skipped {
    fn from(reason: SkipReason) -> Self {
        Self { reason, error: None }
    }
}

impl From<Error> for Skipped {
    fn from(error: Error) -> Self {
        let reason = match error.kind() {
            ErrorKind::ValueTooLarge => SkipReason::TooLarge,
            // A protocol that cannot say the key refuses before anything is sent.
            ErrorKind::InvalidKey | ErrorKind::InvalidArguments => SkipReason::InvalidKey,
            _ => SkipReason::Failed,
        };
        Self { reason, error: Some(error) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn each_reason_has_its_words() {
        let names: HashSet<_> = SKIP_REASONS.iter().map(|row| row.name).collect();
        assert_eq!(names.len(), SKIP_REASONS.len());
        for row in &SKIP_REASONS {
            assert_eq!(row.reason.name(), row.name);
        }
    }
}
