//! Whether an item is where clients look for it.

use remcache::Client;
use remcache::ServerHandle;

/// Where the clients of a fleet look for keys.
///
/// A server may hold items that no client asks it for: left behind by a list of servers that changed,
/// or by a failover. Their values are old, and may have a newer one elsewhere.
#[derive(Clone, Debug)]
pub(crate) struct Placement {
    client: Client,
    has_one_server: bool,
}

impl Placement {
    pub(crate) fn of(client: &Client) -> Self {
        Self { client: client.clone(), has_one_server: client.servers().len() == 1 }
    }

    /// Whether clients look for the key at this server.
    pub(crate) fn is_home(&self, name: &[u8], server: &ServerHandle) -> bool {
        self.has_one_server
            || self.client.locate(name).is_ok_and(|home| home.is_some_and(|home| home.name() == server.name()))
    }
}
