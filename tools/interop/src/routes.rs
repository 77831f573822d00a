//! Compares placement without servers: a client's routing function, and remcache's.

use anyhow::{Context, Result};
use remcache::distribution::Node;

use crate::{ClientSettings, Misses, Program, ServerSpec};

/// Returns the keys that the client routes to another server than remcache does; `None` if the client has no routing
/// function.
///
/// # Errors
/// If the client fails, or remcache refuses the list.
pub(crate) fn compare(
    program: &mut Program,
    settings: &ClientSettings<'_>,
    keys: &[Vec<u8>],
) -> Result<Option<Misses>> {
    program.configure(settings)?;
    let Some(routes) = program.route(keys).context("routing by the client")? else { return Ok(None) };
    let nodes: Vec<Node> = settings.servers.iter().map(node).collect();
    let ring = settings.distribution()?.ring(&nodes)?;
    let mut misses = Misses { keys: keys.len(), ..Misses::default() };
    for (key, route) in keys.iter().zip(&routes) {
        let index = ring.locate(key, |_| true).context("every key of a non-empty list has a server")?;
        let own = settings.servers[index].address();
        if own != *route {
            misses.add(|| format!("{}: remcache places it on {own}, the client on {route}", key.escape_ascii()));
        }
    }
    Ok(Some(misses))
}

fn node(server: &ServerSpec) -> Node {
    Node::tcp(&server.host, server.port).with_weight(server.weight)
}
