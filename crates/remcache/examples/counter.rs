//! A counter that many tasks change by compare-and-swap: fetch, compute, store conditionally, repeat after a conflict.
//!
//! memcached's own `increment` needs no such loop; this is for changes that the server cannot compute.
//!
//! `cargo run -p remcache --example counter` prints:
//!
//! ```text
//! 10 tasks incremented the counter 100 times each: 1000
//! … conflicts, and no increment was lost
//! ```

use std::error::Error;

use remcache::{Client, WriteOutcome};
use remcache_server::Server;

const TASKS: u32 = 10;
const ROUNDS: u32 = 100;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let server = Server::start().await?;
    let client = Client::new([server.address()])?;
    client.set("counter", "0").await?;

    let tasks: Vec<_> = (0..TASKS).map(|_| tokio::spawn(increment_repeatedly(client.clone()))).collect();
    let mut conflicts = 0;
    for task in tasks {
        conflicts += task.await??;
    }

    let counter = client.get("counter").await?.ok_or("the counter is gone")?;
    let sum = counter.value.escape_ascii();
    println!("{TASKS} tasks incremented the counter {ROUNDS} times each: {sum}");
    println!("{conflicts} conflicts, and no increment was lost");
    Ok(())
}

/// Increments the counter repeatedly, and returns the number of conflicts.
async fn increment_repeatedly(client: Client) -> Result<u32, remcache::Error> {
    let mut conflicts = 0;
    for _ in 0..ROUNDS {
        while !try_increment(&client, "counter").await? {
            conflicts += 1;
        }
    }
    Ok(conflicts)
}

/// Attempts to increment the counter once; returns `false` if the item was changed or deleted in the meantime.
async fn try_increment(client: &Client, key: &str) -> Result<bool, remcache::Error> {
    let Some(item) = client.get(key).await? else { return Ok(false) };
    let number: u64 = std::str::from_utf8(&item.value).ok().and_then(|text| text.trim_end().parse().ok()).unwrap_or(0);
    match client.set(key, (number + 1).to_string()).cas(item.cas).await? {
        WriteOutcome::Applied(_) => Ok(true),
        // Exists: the CAS value has changed. NotFound: the item is gone.
        _ => Ok(false),
    }
}
