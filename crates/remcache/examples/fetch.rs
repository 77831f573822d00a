//! Stampede protection: however many callers miss a value, in however many programs, one of them loads it.
//!
//! `cargo run -p remcache --example fetch` prints:
//!
//! ```text
//! two programs with 100 tasks each asked at once: 1 load
//! asked again: version 1, 1 load
//! the source changed, and the value is stale: version 1 for all, without waiting
//! reloaded by one: version 2, 2 loads
//! deleted while it was loaded: version 3 for who asked before, and nothing is stored
//! the server is unavailable: version 4, loaded without it
//! ```

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use remcache::Client;
use remcache::recipes::FetchPolicy;
use remcache_server::Server;

/// What is slow: a database, a template, another service.
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
    println!("two programs with 100 tasks each asked at once: {}", source.loads());
    let [one, other] = programs;
    println!("asked again: {}, {}", page(one.clone(), Arc::clone(&source)).await?, source.loads());

    source.change();
    one.invalidate("page", Duration::from_secs(30)).await?;
    let shown = page(one.clone(), Arc::clone(&source)).await?;
    println!("the source changed, and the value is stale: {shown} for all, without waiting");
    while page(other.clone(), Arc::clone(&source)).await? == shown {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    println!("reloaded by one: {}, {}", page(other.clone(), Arc::clone(&source)).await?, source.loads());

    source.change();
    one.delete("page").await?;
    let asked_before = tokio::spawn(page(one.clone(), Arc::clone(&source)));
    while one.get("page").await?.is_none() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    other.delete("page").await?;
    let found = asked_before.await??;
    let stored = if other.get("page").await?.is_none() { "nothing" } else { "something" };
    println!("deleted while it was loaded: {found} for who asked before, and {stored} is stored");

    source.change();
    server.stop().await;
    println!("the server is unavailable: {}, loaded without it", page(one, source).await?);
    Ok(())
}

/// The page: fresh for a minute, and reloaded ten seconds before that ends.
async fn page(client: Client, source: Arc<Source>) -> Result<String, remcache::Error> {
    let freshness = FetchPolicy::new(Duration::from_secs(60)).refresh_ahead(Duration::from_secs(10));
    let page: Option<Bytes> = client.fetch_optional("page", freshness, || source.load()).await?;
    Ok(page.map_or_else(|| "no page".to_owned(), |page| page.escape_ascii().to_string()))
}
