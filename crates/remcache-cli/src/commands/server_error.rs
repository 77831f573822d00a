//! Errors of single requests, with the name of their server.

use remcache::{Error, Reply};

use crate::exit::{Exit, words};
use crate::outcome_counts::OutcomeCounts;

/// The error of a reply, with the name of its server.
#[derive(Clone, Debug)]
pub(super) struct ServerError {
    pub(super) message: String,
    exit: Exit,
}

impl ServerError {
    /// Describes the error of a reply; the library does not know which server sent it.
    pub(super) fn new(reply: &Reply, server: &str) -> Self {
        let error = Error::from(reply);
        let message = match error.server() {
            Some(_) => words(&error),
            None => format!("{server}: {}", words(&error)),
        };
        Self { message, exit: Exit::of(&error) }
    }

    /// Counts it as the failure of a request for a key.
    pub(super) fn count(&self, key: &[u8], counts: &mut OutcomeCounts) {
        counts.key_failure(key, &self.message, self.exit);
    }
}
