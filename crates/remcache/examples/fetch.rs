//! Stampede protection: of all callers that miss a value, in any number of programs, one loads it.
//!
//! `cargo run -p remcache --example fetch` prints:
//!
//! ```text
//! two programs with 100 concurrent tasks each: 1 load
//! fetched again: version 1, 1 load
//! the value is invalidated: version 1 for all callers, without waiting
//! reloaded by one caller: version 2, 2 loads
//! deleted during a load: version 3 for the caller, and nothing is stored
//! the server is unavailable: version 4, loaded directly
//! ```

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use remcache::Client;
use remcache::recipes::FetchPolicy;
use remcache_server::Server;

/// A slow source: a database, a template, another service.
#[derive(Default)]
struct Source {
    version: AtomicU32,
    loads: AtomicU32,
}

impl Source {
    async fn load(self: Arc<Self>) -> Result<Option<String>, remcache::Error> {
        tokio::time::sleep(Duration::from_millis(100)).await;
        self.loads.fetch_add(1, Ordering::SeqCst);
        Ok(Some(format!("version {}", self.version.load(Ordering::SeqCst))))
    }

    fn change(&self) {
        self.version.fetch_add(1, Ordering::SeqCst);
    }

    fn loads(&self) -> String {
        match self.loads.load(Ordering::SeqCst) {
            1 => "1 load".to_owned(),
            loads => format!("{loads} loads"),
        }
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let server = Server::start().await?;
    let source = Arc::new(Source::default());
    source.change();
    // Two clients share nothing but the server, like two programs.
    let programs = [Client::new([server.address()])?, Client::new([server.address()])?];

    let tasks = (0..200).map(|number| tokio::spawn(page(programs[number % 2].clone(), Arc::clone(&source))));
    for task in tasks.collect::<Vec<_>>() {
        task.await??;
    }
    println!("two programs with 100 concurrent tasks each: {}", source.loads());
    let [one, other] = programs;
    println!("fetched again: {}, {}", page(one.clone(), Arc::clone(&source)).await?, source.loads());

    source.change();
    one.invalidate("page", Duration::from_secs(30)).await?;
    let shown = page(one.clone(), Arc::clone(&source)).await?;
    println!("the value is invalidated: {shown} for all callers, without waiting");
    while page(other.clone(), Arc::clone(&source)).await? == shown {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    println!("reloaded by one caller: {}, {}", page(other.clone(), Arc::clone(&source)).await?, source.loads());

    source.change();
    one.delete("page").await?;
    let fetching = tokio::spawn(page(one.clone(), Arc::clone(&source)));
    while one.get("page").await?.is_none() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    other.delete("page").await?;
    let found = fetching.await??;
    let stored = if other.get("page").await?.is_none() { "nothing" } else { "something" };
    println!("deleted during a load: {found} for the caller, and {stored} is stored");

    source.change();
    server.stop().await;
    println!("the server is unavailable: {}, loaded directly", page(one, source).await?);
    Ok(())
}

/// Fetches the page, which expires after a minute and is reloaded ten seconds before.
async fn page(client: Client, source: Arc<Source>) -> Result<String, remcache::Error> {
    let policy = FetchPolicy::new(Duration::from_secs(60)).refresh_ahead(Duration::from_secs(10));
    let page: Option<Bytes> = client.fetch_optional("page", policy, || source.load()).await?;
    Ok(page.map_or_else(|| "no page".to_owned(), |page| page.escape_ascii().to_string()))
}
