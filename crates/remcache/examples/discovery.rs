//! A fleet that changes while requests flow: the list of servers comes from a file, and every change of it is followed.
//!
//! `cargo run -p remcache --example discovery` prints:
//!
//! ```text
//! the file has 2 servers, the client 2
//! server 3 joins
//! changed: 1 added, 0 removed
//! the file is deleted
//! failed: …servers: No such file…
//! the client keeps 3 servers
//! the file is back, without server 1
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
    let (client, following) = discovery::connect(source, Config::new()).await?;
    println!("the file has {} servers, the client {}", following.state().servers.len(), client.servers().len());
    let mut events = following.events();
    let over = Arc::new(AtomicBool::new(false));
    let requests = tokio::spawn(ask(client.clone(), Arc::clone(&over)));

    println!("server 3 joins");
    write(&path, &servers)?;
    println!("{}", next(&mut events).await);

    println!("the file is deleted");
    fs::remove_file(&path)?;
    println!("{}", next(&mut events).await);
    println!("the client keeps {} servers", client.servers().len());

    println!("the file is back, without server 1");
    write(&path, &servers[1..])?;
    while let Some(event) = events.next().await {
        if let Event::Changed { .. } = event {
            println!("{}", text(&event));
            break;
        }
    }
    println!("the client has {} servers", client.servers().len());

    over.store(true, Ordering::Relaxed);
    let (asked, failed) = requests.await?;
    println!("of {asked} requests {failed} failed");
    Ok(())
}

/// Writes the list to a temporary file and renames it, so that it is never read half-written.
fn write(path: &Path, servers: &[Server]) -> std::io::Result<()> {
    let lines: String = servers.iter().map(|server| server.address() + "\n").collect();
    fs::write(path.with_extension("new"), lines)?;
    fs::rename(path.with_extension("new"), path)
}

/// Asks all the time; how many requests there were, and how many failed.
async fn ask(client: Client, over: Arc<AtomicBool>) -> (u64, u64) {
    let (mut asked, mut failed) = (0, 0);
    while !over.load(Ordering::Relaxed) {
        let key = format!("key{}", asked % 100);
        failed += u64::from(client.set(&key[..], "value").await.is_err());
        asked += 1;
    }
    (asked, failed)
}

async fn next(events: &mut Events) -> String {
    events.next().await.map_or_else(|| "over".to_owned(), |event| text(&event))
}

fn text(event: &Event) -> String {
    match event {
        Event::Changed { added, removed, .. } => format!("changed: {} added, {} removed", added.len(), removed.len()),
        Event::Failed(error) => format!("failed: {error}"),
        _ => "something else".to_owned(),
    }
}
