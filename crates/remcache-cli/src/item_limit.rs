//! Properties of a server's items: their size limit, and whether they have CAS values.

use remcache::{Client, ServerHandle};

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
    require_cas_of(&client.servers(), command, alternative).await
}

/// Fails if the server of a key reports that its items have no CAS values: then a condition would never hold, or with
/// the binary protocol always.
pub(crate) async fn require_cas_for(client: &Client, key: &[u8]) -> Result<(), Failure> {
    require_cas_of(client.locate(key)?.as_slice(), "--cas", "leave it out").await
}

async fn require_cas_of(servers: &[ServerHandle], command: &str, alternative: &str) -> Result<(), Failure> {
    for snapshot in stats::fetch_from(servers, "settings").await {
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
