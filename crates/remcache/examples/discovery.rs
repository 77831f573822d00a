//! Service discovery: the server list comes from a file, and the client follows its changes while requests are sent.
//!
//! `cargo run -p remcache --example discovery` prints:
//!
//! ```text
//! the file has 2 servers, the client 2
//! server 3 is added
//! changed: 1 added, 0 removed
//! the file is deleted
//! failed: …servers: No such file…
//! the client keeps 3 servers
//! the file is written again, without server 1
//! changed: 0 added, 1 removed
//! the client has 2 servers
//! of … requests 0 failed
//! ```

use std::error::Error;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use remcache::discovery::{Event, Events, WatchedFile};
use remcache::{Client, Config, discovery};
use remcache_server::Server;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let servers = [Server::start().await?, Server::start().await?, Server::start().await?];
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("servers");
    write(&path, &servers[..2])?;

    let source = WatchedFile::new(&path).interval(Duration::from_millis(50));
    let (client, subscription) = discovery::connect(source, Config::new()).await?;
    println!("the file has {} servers, the client {}", subscription.state().servers.len(), client.servers().len());
    let mut events = subscription.events();
    let stopped = Arc::new(AtomicBool::new(false));
    let requests = tokio::spawn(send_requests(client.clone(), Arc::clone(&stopped)));

    println!("server 3 is added");
    write(&path, &servers)?;
    println!("{}", next(&mut events).await);

    println!("the file is deleted");
    fs::remove_file(&path)?;
    println!("{}", next(&mut events).await);
    println!("the client keeps {} servers", client.servers().len());

    println!("the file is written again, without server 1");
    write(&path, &servers[1..])?;
    while let Some(event) = events.next().await {
        if let Event::Changed { .. } = event {
            println!("{}", text(&event));
            break;
        }
    }
    println!("the client has {} servers", client.servers().len());

    stopped.store(true, Ordering::Relaxed);
    let (sent, failed) = requests.await?;
    println!("of {sent} requests {failed} failed");
    Ok(())
}

/// Writes the list to a temporary file and renames it, so that it is never read half-written.
fn write(path: &Path, servers: &[Server]) -> std::io::Result<()> {
    let lines: String = servers.iter().map(|server| server.address() + "\n").collect();
    fs::write(path.with_extension("new"), lines)?;
    fs::rename(path.with_extension("new"), path)
}

/// Sends requests until it is stopped; returns the number of requests, and of those that failed.
async fn send_requests(client: Client, stopped: Arc<AtomicBool>) -> (u64, u64) {
    let (mut sent, mut failed) = (0, 0);
    while !stopped.load(Ordering::Relaxed) {
        let key = format!("key{}", sent % 100);
        failed += u64::from(client.set(&key[..], "value").await.is_err());
        sent += 1;
    }
    (sent, failed)
}

async fn next(events: &mut Events) -> String {
    events.next().await.map_or_else(|| "no further events".to_owned(), |event| text(&event))
}

fn text(event: &Event) -> String {
    match event {
        Event::Changed { added, removed, .. } => format!("changed: {} added, {} removed", added.len(), removed.len()),
        Event::Failed(error) => format!("failed: {error}"),
        _ => "an unknown event".to_owned(),
    }
}
