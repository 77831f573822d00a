//! Whether a server takes an item of some size: one that refuses a set drops the item that was there.

use remcache::Client;
use remcache::ServerHandle;

use crate::exit::Failure;
use crate::output::number;
use crate::stats;

/// The longest value of a server, which takes no more than 1 GiB as its `-I`.
pub(crate) const MAX_VALUE_SIZE: usize = 1 << 30;

/// How much an item takes, at least, by what memcached adds to its key and value.
pub(crate) fn min_item_size(namespace: &[u8], key: &[u8], value: &[u8]) -> u64 {
    (ITEM_HEADER_SIZE + namespace.len() + key.len() + value.len()) as u64
}

const ITEM_HEADER_SIZE: usize = 51;

/// What a server takes at most; `None` if it does not tell.
pub(crate) async fn max_item_size(server: &ServerHandle) -> Option<u64> {
    stats::fetch(server, "settings").await.ok()?.number("item_size_max")
}

/// Refuses a value that the server of its key would not take.
pub(crate) async fn check(client: &Client, key: &[u8], value: &[u8]) -> Result<(), Failure> {
    if value.len() < CHECKED_FROM {
        return Ok(());
    }
    let Some(server) = client.locate(key)? else { return Ok(()) };
    let size = min_item_size(client.namespace(), key, value);
    match max_item_size(&server).await {
        Some(limit) if size > limit => Err(Failure::TooLarge(format!(
            "{}: value too large: the item takes {} and the server takes {} at most: start it with a larger -I",
            server.name(),
            number::bytes(size),
            number::bytes(limit),
        ))),
        _ => Ok(()),
    }
}

/// For smaller values a question to the server would take longer than the store. The least limit is 1 KiB,
/// but nobody sets one below this.
const CHECKED_FROM: usize = 64 << 10;
