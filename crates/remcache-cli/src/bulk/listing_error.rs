//! Errors of a server that cannot list its keys.

use remcache::Error;

use crate::exit::{Exit, words};
use crate::tally::Tally;

/// Counts the error of a server whose list failed.
pub(crate) fn count_listing_error(error: &Error, tally: &mut Tally) {
    match Exit::of(error) {
        // The request has no arguments of the user, so it is the server that cannot follow it.
        Exit::Usage => tally.failures(&explained(error), Exit::Server, 1),
        _ => tally.error(error),
    }
}

/// Returns the error of a server that refuses to list its keys, with what to do if its LRU crawler is disabled.
fn explained(error: &Error) -> String {
    let text = words(error);
    match (text.contains("lru crawler disabled"), error.server()) {
        (true, Some(server)) => format!(
            "{server}: the LRU crawler, which lists the keys, is disabled: start the server without -o no_lru_crawler, or \
             send it `lru_crawler enable` in remcache shell"
        ),
        _ => text,
    }
}
