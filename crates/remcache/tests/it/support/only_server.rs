//! The server of a client that has one.

use remcache::{Client, ServerHandle};

/// The only server of a client.
pub(crate) fn only_server(client: &Client) -> ServerHandle {
    let mut servers = client.servers();
    assert_eq!(servers.len(), 1);
    servers.remove(0)
}
