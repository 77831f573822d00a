//! Finds items that are on the wrong server.

use remcache::Client;
use remcache::ServerHandle;
use remcache::proto::text::MetadumpItem;

use super::KeyScope;
use crate::output::number;

/// The distribution of keys over the servers of a cluster.
///
/// A server may hold items that no client asks it for, since the list of servers changed, or after a failover.
/// Their values are old, and another server may have newer ones.
#[derive(Clone, Debug)]
pub(crate) struct Placement {
    client: Client,
    has_one_server: bool,
}

impl Placement {
    pub(crate) fn of(client: &Client) -> Self {
        Self { client: client.clone(), has_one_server: client.servers().len() == 1 }
    }

    /// Returns whether clients look for an item of this server on another server.
    pub(crate) fn is_misplaced(&self, scope: &KeyScope, item: &MetadumpItem, server: &ServerHandle) -> bool {
        let is_placed_here =
            || self.server_of(scope.name_of(item)).is_some_and(|placed| placed.name() == server.name());
        !self.has_one_server && !is_placed_here()
    }

    /// Returns the server on which clients look for a key.
    pub(crate) fn server_of(&self, name: &[u8]) -> Option<ServerHandle> {
        self.client.locate(name).ok()?
    }
}

/// Returns a warning if so many items are misplaced that a wrong list of servers or a wrong distribution is likely.
pub(crate) fn placement_warning(misplaced: u64, items: u64) -> Option<String> {
    // One more server than two misplaces a third of the items, a wrong list of two servers a half.
    let is_suspicious = misplaced.saturating_mul(5) > items.saturating_mul(2);
    is_suspicious.then(|| {
        format!(
            "{} of {} items are misplaced: if that is unexpected, compare the server list and --distribution with those \
             of the clients (remcache locate --ask KEY shows where an item is)",
            number::exact(misplaced),
            number::exact(items)
        )
    })
}
