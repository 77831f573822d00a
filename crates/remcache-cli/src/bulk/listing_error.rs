//! Errors of a server that cannot list its keys.

use remcache::Error;

use crate::exit::{Exit, words};
use crate::outcome_counts::OutcomeCounts;

/// Counts the error of a server whose list failed.
pub(crate) fn count_listing_error(error: &Error, counts: &mut OutcomeCounts) {
    match Exit::of(error) {
        // The request has no arguments of the user, so it is the server that cannot follow it.
        Exit::Usage | Exit::Server => counts.failures(&explained(error), Exit::Server, 1),
        _ => counts.error(error),
    }
}

/// Returns the error of a server that refuses to list its keys, with what to do if its settings are the reason.
fn explained(error: &Error) -> String {
    let text = words(error);
    let Some(server) = error.server() else { return text };
    match REFUSALS.iter().find(|(reply, _)| text.contains(reply)) {
        Some((_, explanation)) => format!("{server}: {explanation}"),
        None => text,
    }
}

/// Replies of servers that are configured not to list their keys, and their explanations.
const REFUSALS: &[(&str, &str)] = &[
    (
        "lru crawler disabled",
        "the LRU crawler, which lists the keys, is disabled: start the server without -o no_lru_crawler, or send it \
         `lru_crawler enable` in remcache shell",
    ),
    ("metadump not allowed", "listing keys is disabled on this server: start it without -X"),
];
