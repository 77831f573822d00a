//! The servers of a client: states, versions and statistics, the server of a key, and a change of the server list.
//!
//! `cargo run -p remcache --example servers` prints:
//!
//! ```text
//! before the first request: idle, idle, idle
//! versions: 1.6.18, 1.6.18, 1.6.18
//! after it: connected, connected, connected
//! items: … + … + … = 1000
//! user:42 is on server …
//! server 2 stops
//! no-op: ok, disconnected, ok
//! states: connected, down, connected
//! usable: true
//! the new list is servers 1 and 3
//! states: connected, connected
//! of 1000 keys … moved, all from server 2
//! ```

use std::error::Error;

use remcache::health::ConnectionState;
use remcache::{Client, ErrorKind};
use remcache_server::Server;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let servers = [Server::start().await?, Server::start().await?, Server::start().await?];
    let client = Client::new(servers.iter().map(Server::address))?;
    // A connection is opened by its first request.
    println!("before the first request: {}", states(&client));

    let versions: Result<Vec<_>, _> = client.version().await.into_iter().map(|(_, version)| version).collect();
    println!("versions: {}", versions?.join(", "));
    println!("after it: {}", states(&client));

    let keys: Vec<String> = (0..1000).map(|number| format!("user:{number}")).collect();
    client.set_many(keys.iter().map(|key| (key, "…"))).await.into_result()?;
    println!("items: {} = {}", items(&client).await?.join(" + "), keys.len());
    println!("user:42 is on server {}", server_of(&client, "user:42", &servers)?);

    println!("server 2 stops");
    servers[1].stop().await;
    println!("no-op: {}", ping(&client).await);
    println!("states: {}", states(&client));
    println!("usable: {}", client.is_usable());

    println!("the new list is servers 1 and 3");
    let before: Vec<usize> = servers_of(&client, &keys, &servers)?;
    client.set_servers([servers[0].address(), servers[2].address()])?;
    println!("states: {}", states(&client));
    let after: Vec<usize> = servers_of(&client, &keys, &servers)?;
    let moved: Vec<usize> = before.into_iter().zip(after).filter(|(old, new)| old != new).map(|(old, _)| old).collect();
    let from = if moved.iter().all(|old| *old == 2) { "all from server 2" } else { "also from others" };
    println!("of {} keys {} moved, {from}", keys.len(), moved.len());
    Ok(())
}

/// Returns the state of each server.
fn states(client: &Client) -> String {
    let states = client.servers().into_iter().map(|server| match server.status().state {
        ConnectionState::Idle => "idle",
        ConnectionState::Connecting => "connecting",
        ConnectionState::Connected => "connected",
        ConnectionState::Down(_) => "down",
        _ => "closed",
    });
    states.collect::<Vec<_>>().join(", ")
}

/// Returns the number of items on each server, from its statistics.
async fn items(client: &Client) -> Result<Vec<String>, remcache::Error> {
    let mut counts = Vec::new();
    for server in client.servers() {
        let mut stats = server.stats("");
        while let Some(stat) = stats.next().await {
            let (name, value) = stat?;
            if &name[..] == b"curr_items" {
                counts.push(value.escape_ascii().to_string());
            }
        }
    }
    Ok(counts)
}

/// Sends a no-op to every server; one that is unavailable does not affect the results of the others.
async fn ping(client: &Client) -> String {
    let results = client.noop().await.into_iter().map(|(_, result)| match result.map_err(|error| error.kind()) {
        Ok(()) => "ok",
        Err(ErrorKind::Disconnected(_)) => "disconnected",
        Err(ErrorKind::TimedOut(_)) => "timed out",
        Err(_) => "failed",
    });
    results.collect::<Vec<_>>().join(", ")
}

fn servers_of(client: &Client, keys: &[String], servers: &[Server]) -> Result<Vec<usize>, Box<dyn Error>> {
    keys.iter().map(|key| server_of(client, key, servers)).collect()
}

/// Returns the number of a key's server. It depends only on the server list: no request is sent.
fn server_of(client: &Client, key: &str, servers: &[Server]) -> Result<usize, Box<dyn Error>> {
    let located = client.locate(key)?.ok_or("no server has the key")?;
    let index = servers.iter().position(|server| server.address() == located.name());
    Ok(index.ok_or("the key is on another server")? + 1)
}
