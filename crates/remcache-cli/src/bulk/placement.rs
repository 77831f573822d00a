//! Finds items that are on the wrong server.

use remcache::Client;
use remcache::ServerHandle;

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

    /// Whether this is the server where clients look for the key.
    pub(crate) fn is_placed_on(&self, name: &[u8], server: &ServerHandle) -> bool {
        self.has_one_server
            || self.client.locate(name).is_ok_and(|home| home.is_some_and(|home| home.name() == server.name()))
    }
}
