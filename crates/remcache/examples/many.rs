//! Many keys in one call, with one result per key: found, missing, or failed because its server is unavailable.
//!
//! `cargo run -p remcache --example many` prints:
//!
//! ```text
//! stored 3 of 3
//! found user:… on the first server
//! found user:… on the second server
//! found user:… on the third server
//! missing absent:…
//! found 3, missing 1, failed 0
//! the second server stops
//! found user:… on the first server
//! failed user:…: …: disconnected, …
//! found user:… on the third server
//! missing absent:…
//! found 2, missing 1, failed 1
//! deleted 2, failed 1
//! ```

use std::error::Error;

use remcache::{Client, Item, Outcomes};
use remcache_server::Server;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let servers = [Server::start().await?, Server::start().await?, Server::start().await?];
    let client = Client::new(servers.iter().map(Server::address))?;

    // One key per server, to show that a dead server affects only its own keys.
    let mut items = Vec::new();
    for (server, value) in servers.iter().zip(["the first server", "the second server", "the third server"]) {
        items.push((key_on(&client, "user", &server.address())?, value));
    }
    let absent = key_on(&client, "absent", &servers[0].address())?;

    let stored = client.set_many(items.clone()).await;
    println!("stored {} of {}", stored.applied().count(), stored.len());

    let keys: Vec<String> = items.into_iter().map(|(key, _)| key).chain([absent]).collect();
    show(&client.get_many(&keys).await);

    println!("the second server stops");
    servers[1].stop().await;
    show(&client.get_many(&keys).await);

    let deleted = client.delete_many(&keys[..3]).await;
    println!("deleted {}, failed {}", deleted.applied().count(), deleted.failed().count());
    Ok(())
}

fn show(many: &Outcomes<&String, Option<Item>>) {
    for (key, outcome) in many.iter() {
        match outcome {
            Ok(Some(item)) => println!("found {key} on {}", item.value.escape_ascii()),
            Ok(None) => println!("missing {key}"),
            Err(error) => println!("failed {key}: {error}"),
        }
    }
    println!("found {}, missing {}, failed {}", many.found().count(), many.missing().count(), many.failed().count());
}

/// Returns the first of `NAME:1`, `NAME:2`, … that is on this server.
fn key_on(client: &Client, name: &str, server: &str) -> Result<String, remcache::Error> {
    let mut number = 0;
    loop {
        number += 1;
        let key = format!("{name}:{number}");
        if client.locate(&key)?.is_some_and(|located| located.name() == server) {
            return Ok(key);
        }
    }
}
