//! Why an item was left out: each reason with its words, in one table.

use remcache::{Error, ErrorKind};

/// Why an item was left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Loss {
    /// Its time was over.
    Expired,
    /// It was deleted or evicted between listing and reading.
    Gone,
    /// It was written again and again while it was being worked on.
    Changed,
    /// The destination has the key, and keeps what it has.
    Kept,
    /// It is marked as stale, or as an empty place that somebody is about to fill.
    Stale,
    /// The server takes no value of that size.
    TooLarge,
    /// No client with this placement would look for it there.
    Misplaced,
    /// The wire in use cannot say its key.
    InvalidKey,
    /// It could not be asked for.
    Failed,
}

/// A reason in words.
#[derive(Debug)]
pub(crate) struct Words {
    loss: Loss,
    /// In records, and in lists of what was left out.
    pub(crate) name: &'static str,
    /// In the progress line and the summary.
    pub(crate) text: &'static str,
    /// Whether the command has not done what it was asked for because of it.
    pub(crate) is_no: bool,
}

const fn words(loss: Loss, name: &'static str, text: &'static str, is_no: bool) -> Words {
    Words { loss, name, text, is_no }
}

/// Every reason, in the order in which they are told.
pub(crate) const LOSSES: [Words; 9] = [
    words(Loss::Expired, "expired", "expired", false),
    words(Loss::Gone, "gone", "gone", false),
    words(Loss::Changed, "changed", "changed meanwhile", true),
    words(Loss::Kept, "kept", "newer kept", false),
    words(Loss::Stale, "stale", "marked stale", false),
    words(Loss::TooLarge, "too_large", "too large", true),
    words(Loss::Misplaced, "misplaced", "misplaced", true),
    words(Loss::InvalidKey, "invalid_key", "invalid key", true),
    words(Loss::Failed, "failed", "failed", true),
];

impl Loss {
    /// Its place in the table.
    pub(crate) fn place(self) -> usize {
        LOSSES.iter().position(|words| words.loss == self).unwrap_or_default()
    }

    pub(crate) fn name(self) -> &'static str {
        LOSSES[self.place()].name
    }
}

/// Why one item was left out, with what the server or the library said, if anything.
#[derive(Clone, Debug)]
pub(crate) struct Lost {
    pub(crate) loss: Loss,
    pub(crate) error: Option<Error>,
}

impl From<Loss> for Lost {
    fn from(loss: Loss) -> Self {
        Self { loss, error: None }
    }
}

impl From<Error> for Lost {
    fn from(error: Error) -> Self {
        let loss = match error.kind() {
            ErrorKind::ValueTooLarge => Loss::TooLarge,
            // A wire that cannot say the key refuses before anything is sent.
            ErrorKind::InvalidKey | ErrorKind::InvalidArguments => Loss::InvalidKey,
            _ => Loss::Failed,
        };
        Self { loss, error: Some(error) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn each_reason_has_its_words() {
        let names: HashSet<_> = LOSSES.iter().map(|words| words.name).collect();
        assert_eq!(names.len(), LOSSES.len());
        for words in &LOSSES {
            assert_eq!(words.loss.name(), words.name);
        }
    }
}
