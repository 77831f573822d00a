//! Without servers: a client that tells its route of a key, and remcache's.

use anyhow::{Context, Result};
use remcache::distribution::Node;

use crate::{Location, Misses, Program, Setting};

/// The keys that the client sends elsewhere than remcache; `None` if the client tells no routes.
///
/// # Errors
/// When the client fails, or remcache refuses the list.
pub(crate) fn compare(program: &mut Program, setting: &Setting<'_>, keys: &[Vec<u8>]) -> Result<Option<Misses>> {
    program.configure(setting)?;
    let Some(routes) = program.route(keys).context("routes of the client")? else { return Ok(None) };
    let nodes: Vec<Node> = setting.servers.iter().map(node).collect();
    let ring = setting.distribution()?.ring(&nodes)?;
    let mut misses = Misses { keys: keys.len(), ..Misses::default() };
    for (key, route) in keys.iter().zip(&routes) {
        let place = ring.locate(key, |_| true).context("a list that is not empty has a place for every key")?;
        let place = setting.servers[place].address();
        if place != *route {
            misses.add(|| format!("{}: remcache places it on {place}, the client on {route}", key.escape_ascii()));
        }
    }
    Ok(Some(misses))
}

fn node(location: &Location) -> Node {
    Node::tcp(&location.host, location.port).with_weight(location.weight)
}
