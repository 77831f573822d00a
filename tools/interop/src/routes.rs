//! Compares placement without servers: a client's routing function, and remcache's.

use anyhow::{Context, Result};
use remcache::distribution::Node;

use crate::{Location, Misses, Program, Setting};

/// Returns the keys that the client routes to another server than remcache does; `None` if the client has no routing
/// function.
///
/// # Errors
/// If the client fails, or remcache refuses the list.
pub(crate) fn compare(program: &mut Program, setting: &Setting<'_>, keys: &[Vec<u8>]) -> Result<Option<Misses>> {
    program.configure(setting)?;
    let Some(routes) = program.route(keys).context("routing by the client")? else { return Ok(None) };
    let nodes: Vec<Node> = setting.servers.iter().map(node).collect();
    let ring = setting.distribution()?.ring(&nodes)?;
    let mut misses = Misses { keys: keys.len(), ..Misses::default() };
    for (key, route) in keys.iter().zip(&routes) {
        let index = ring.locate(key, |_| true).context("every key of a non-empty list has a server")?;
        let own = setting.servers[index].address();
        if own != *route {
            misses.add(|| format!("{}: remcache places it on {own}, the client on {route}", key.escape_ascii()));
        }
    }
    Ok(Some(misses))
}

fn node(location: &Location) -> Node {
    Node::tcp(&location.host, location.port).with_weight(location.weight)
}
