//! Limits of a server's items: how large they may be, and whether they have CAS values.

use remcache::Client;

use crate::exit::Failure;
use crate::stats;

/// The longest value of a server, which takes no more than 1 GiB as its `-I`.
pub(crate) const MAX_VALUE_SIZE: usize = 1 << 30;

/// From this length on a value is compared with the server's limit before it is sent: memcached drops the item
/// that it has when it refuses a larger one. The lowest limit is 1 KiB, and most of a shorter item may be its key
/// and header.
pub(crate) const SIZE_CHECKED_FROM: usize = 512;

/// Fails if a server reports that its items have no CAS values: a change that another client makes in the meantime
/// could not be noticed, and would be lost.
pub(crate) async fn require_cas(client: &Client, command: &str) -> Result<(), Failure> {
    for snapshot in stats::fetch_all(client, "settings").await {
        let lacks_cas = snapshot.stats.is_ok_and(|settings| settings.text("cas_enabled") == Some("no"));
        if lacks_cas {
            return Err(Failure::Unsupported(format!(
                "{}: {command} is not supported: the server has no CAS values: start the server without -C",
                snapshot.server.name(),
            )));
        }
    }
    Ok(())
}
