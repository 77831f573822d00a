//! The reasons why items are skipped, in one table.

use remcache::{Error, ErrorKind};

use crate::exit::Exit;

/// Why an item was skipped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SkipReason {
    /// It expired before it was fetched.
    Expired,
    /// It was deleted or evicted between listing and fetching.
    Gone,
    /// It changed each time while it was processed.
    Changed,
    /// The destination has the same item.
    Identical,
    /// The destination has another item under this key, and keeps it.
    Kept,
    /// It is marked as stale, or a placeholder for a value that a client is about to store.
    Stale,
    /// It exceeds the item size limit of its server.
    TooLarge,
    /// No client with this distribution would look for it on its server.
    Misplaced,
    /// The protocol in use cannot express its key.
    InvalidKey,
    /// The input does not describe an item.
    InvalidItem,
    /// A request for it failed.
    Failed,
}

/// A row of the table.
#[derive(Debug)]
pub(crate) struct Row {
    reason: SkipReason,
    /// The name in records, and in the list of skipped items.
    pub(crate) name: &'static str,
    /// The text in the progress line and the summary.
    pub(crate) text: &'static str,
    /// Whether the command did not do what it was asked for.
    pub(crate) is_failure: bool,
}

const fn row(reason: SkipReason, name: &'static str, text: &'static str, is_failure: bool) -> Row {
    Row { reason, name, text, is_failure }
}

/// All reasons, in the order of the summary.
pub(crate) const SKIP_REASONS: [Row; 11] = [
    row(SkipReason::Expired, "expired", "expired", false),
    row(SkipReason::Gone, "gone", "gone", false),
    row(SkipReason::Changed, "changed", "changed", true),
    row(SkipReason::Identical, "identical", "identical", false),
    row(SkipReason::Kept, "kept", "existing kept", false),
    row(SkipReason::Stale, "stale", "marked stale", false),
    row(SkipReason::TooLarge, "too_large", "too large", true),
    row(SkipReason::Misplaced, "misplaced", "misplaced", true),
    row(SkipReason::InvalidKey, "invalid_key", "invalid key", true),
    row(SkipReason::InvalidItem, "invalid_item", "invalid item", true),
    row(SkipReason::Failed, "failed", "failed", true),
];

impl SkipReason {
    /// Returns the index of its row in the table.
    pub(crate) fn index(self) -> usize {
        SKIP_REASONS.iter().position(|row| row.reason == self).unwrap_or_default()
    }

    pub(crate) fn name(self) -> &'static str {
        SKIP_REASONS[self.index()].name
    }
}

/// Why one item was skipped, with the error if there was one.
#[derive(Clone, Debug)]
pub(crate) struct Skipped {
    pub(crate) reason: SkipReason,
    pub(crate) error: Option<Error>,
    /// The server that refused it, or did not answer, if this is not the one that it comes from.
    pub(crate) server: Option<String>,
}

impl Skipped {
    /// Returns the same with the server that refused the item, or did not answer.
    pub(crate) fn at(self, server: Option<String>) -> Self {
        Self { server, ..self }
    }

    /// Returns whether a server did not answer.
    pub(crate) fn is_unanswered(&self) -> bool {
        self.error.as_ref().is_some_and(|error| Exit::of(error) == Exit::Unreachable)
    }
}

impl From<SkipReason> for Skipped {
    fn from(reason: SkipReason) -> Self {
        Self { reason, error: None, server: None }
    }
}

impl From<Error> for Skipped {
    fn from(error: Error) -> Self {
        let reason = match error.kind() {
            ErrorKind::ValueTooLarge => SkipReason::TooLarge,
            // A key that the protocol cannot express is refused before it is sent.
            ErrorKind::InvalidKey | ErrorKind::InvalidArguments => SkipReason::InvalidKey,
            _ => SkipReason::Failed,
        };
        Self { reason, error: Some(error), server: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn each_reason_has_its_own_name() {
        let names: HashSet<_> = SKIP_REASONS.iter().map(|row| row.name).collect();
        assert_eq!(names.len(), SKIP_REASONS.len());
        for row in &SKIP_REASONS {
            assert_eq!(row.reason.name(), row.name);
        }
    }
}
