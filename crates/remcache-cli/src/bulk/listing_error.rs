//! Errors of a server that cannot list its keys.

use remcache::Error;

use crate::exit::Exit;
use crate::tally::Tally;

/// Counts the error of a server whose list failed.
///
/// A server without its LRU crawler answers with an error of the client, which would look like an invalid
/// command line.
pub(crate) fn count_listing_error(error: &Error, tally: &mut Tally) {
    if !error.to_string().contains("crawler disabled") {
        return tally.error(error);
    }
    let server = error.server().unwrap_or("a server");
    let message = format!(
        "{server}: the LRU crawler is disabled: start it without -o no_lru_crawler, or send it \
         `lru_crawler enable` in remcache shell"
    );
    tally.failures(&message, Exit::Server, 1);
}
