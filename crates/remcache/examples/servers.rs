//! The servers of a client: their states, versions and statistics, the place of a key, a list that changes while
//! running.
//!
//! `cargo run -p remcache --example servers` prints:
//!
//! ```text
//! at first: idle, idle, idle
//! versions: 1.6.18, 1.6.18, 1.6.18
//! asked: connected, connected, connected
//! items: … + … + … = 1000
//! user:42 lives on server …
//! server 2 stops
//! answers: yes, no (disconnected), yes
//! now: connected, down, connected
//! usable: true
//! the list becomes servers 1 and 3
//! now: connected, connected
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
    // Nothing connects before it is needed.
    println!("at first: {}", conditions(&client));

    let versions: Result<Vec<_>, _> = client.version().await.into_iter().map(|(_, version)| version).collect();
    println!("versions: {}", versions?.join(", "));
    println!("asked: {}", conditions(&client));

    let keys: Vec<String> = (0..1000).map(|number| format!("user:{number}")).collect();
    client.set_many(keys.iter().map(|key| (key, "…"))).await.into_result()?;
    println!("items: {} = {}", items(&client).await?.join(" + "), keys.len());
    println!("user:42 lives on server {}", place(&client, "user:42", &servers)?);

    println!("server 2 stops");
    servers[1].stop().await;
    println!("answers: {}", answers(&client).await);
    println!("now: {}", conditions(&client));
    println!("usable: {}", client.is_usable());

    println!("the list becomes servers 1 and 3");
    let before: Vec<usize> = places(&client, &keys, &servers)?;
    client.set_servers([servers[0].address(), servers[2].address()])?;
    println!("now: {}", conditions(&client));
    let after: Vec<usize> = places(&client, &keys, &servers)?;
    let moved: Vec<usize> = before.into_iter().zip(after).filter(|(old, new)| old != new).map(|(old, _)| old).collect();
    let from = if moved.iter().all(|old| *old == 2) { "all from server 2" } else { "also from others" };
    println!("of {} keys {} moved, {from}", keys.len(), moved.len());
    Ok(())
}

/// What each server is to the client now.
fn conditions(client: &Client) -> String {
    let conditions = client.servers().into_iter().map(|server| match server.status().state {
        ConnectionState::Idle => "idle",
        ConnectionState::Connecting => "connecting",
        ConnectionState::Connected => "connected",
        ConnectionState::Down(_) => "down",
        _ => "closed",
    });
    conditions.collect::<Vec<_>>().join(", ")
}

/// How many items each server has, by its own statistics.
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

/// Asks every server for a sign of life; one that is unavailable spoils only its own answer.
async fn answers(client: &Client) -> String {
    let answers = client.noop().await.into_iter().map(|(_, answer)| match answer.map_err(|error| error.kind()) {
        Ok(()) => "yes",
        Err(ErrorKind::Disconnected(_)) => "no (disconnected)",
        Err(ErrorKind::TimedOut(_)) => "no (timed out)",
        Err(_) => "no",
    });
    answers.collect::<Vec<_>>().join(", ")
}

fn places(client: &Client, keys: &[String], servers: &[Server]) -> Result<Vec<usize>, Box<dyn Error>> {
    keys.iter().map(|key| place(client, key, servers)).collect()
}

/// The number of the server that a key belongs to; a pure function of the list, nothing is asked.
fn place(client: &Client, key: &str, servers: &[Server]) -> Result<usize, Box<dyn Error>> {
    let home = client.locate(key)?.ok_or("no server has the key")?;
    let place = servers.iter().position(|server| server.address() == home.name());
    Ok(place.ok_or("the key lives elsewhere")? + 1)
}
