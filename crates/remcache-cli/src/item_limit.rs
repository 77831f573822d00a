//! Properties of a server's items: their size limit, and whether they have CAS values.

use remcache::Client;

use crate::exit::Failure;
use crate::stats;

/// The largest value of any server: memcached accepts at most `-I 1g`.
pub(crate) const MAX_VALUE_SIZE: usize = 1 << 30;

/// The length from which a value is compared with the server's limit before it is sent, because memcached drops the
/// existing item when it refuses a larger one. The smallest limit is 1 KiB, of which key and header can be half.
pub(crate) const SIZE_CHECKED_FROM: usize = 512;

/// Fails if a server reports that its items have no CAS values: then changes by other clients would go unnoticed, and
/// be lost. `alternative` is what to do instead.
pub(crate) async fn require_cas(client: &Client, command: &str, alternative: &str) -> Result<(), Failure> {
    for snapshot in stats::fetch_all(client, "settings").await {
        let lacks_cas = snapshot.stats.is_ok_and(|settings| settings.text("cas_enabled") == Some("no"));
        if lacks_cas {
            return Err(Failure::Unsupported(format!(
                "{}: {command} is not supported: the server runs without CAS values (-C): {alternative}",
                snapshot.server.name(),
            )));
        }
    }
    Ok(())
}
