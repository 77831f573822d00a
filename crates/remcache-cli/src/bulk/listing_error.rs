//! Errors of a server that cannot list its keys.

use remcache::Error;

use crate::exit::{Exit, words};
use crate::tally::Tally;

/// Counts the error of a server whose list failed.
pub(crate) fn count_listing_error(error: &Error, tally: &mut Tally) {
    match Exit::of(error) {
        // The request has no arguments of the user, so it is the server that cannot follow it.
        Exit::Usage => {
            let hint = "is the LRU crawler disabled? Start the server without -o no_lru_crawler, or send it \
                        `lru_crawler enable` in remcache shell";
            tally.failures(&format!("{}: {hint}", words(error)), Exit::Server, 1);
        }
        _ => tally.error(error),
    }
}
