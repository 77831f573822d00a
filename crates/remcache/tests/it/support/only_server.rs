//! The server of a client with a single server.

use remcache::{Client, ServerHandle};

/// Returns the client's only server.
///
/// # Panics
/// If the client has any other number of servers.
pub(crate) fn only_server(client: &Client) -> ServerHandle {
    let mut servers = client.servers();
    assert_eq!(servers.len(), 1);
    servers.remove(0)
}
