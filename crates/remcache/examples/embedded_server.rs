//! Tests of a program that uses a cache: an embedded server replaces memcached and injects faults on demand.
//!
//! In your own crate each of these would be a `#[tokio::test]`, with `remcache-server` among the dev-dependencies.
//!
//! `cargo run -p remcache --example embedded_server` prints:
//!
//! ```text
//! ok: a price is looked up once, then it comes from the cache
//! ok: a price is forgotten after an hour
//! ok: a connection that breaks within a reply costs a lookup, no more
//! ok: garbage is no price
//! ok: a reply to another request is not delivered
//! ok: a server that hangs costs the timeout, no more
//! ok: a server that is unavailable costs a lookup, no more
//! ok: a server that is back is used again
//! ```

use std::error::Error;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use remcache::{Client, Config};
use remcache_server::{Close, Fault, ManualClock, Server};

/// What is to be tested: prices that are dear to look up, with a cache before them.
struct Prices {
    cache: Client,
    lookups: AtomicU32,
}

impl Prices {
    fn new(cache: Client) -> Self {
        Self { cache, lookups: AtomicU32::new(0) }
    }

    /// The price of an article: right in any case, soon if the cache has it.
    async fn of(&self, article: &str) -> u32 {
        if let Ok(Some(item)) = self.cache.get(article).await
            && let Some(price) = std::str::from_utf8(&item.value).ok().and_then(|text| text.parse().ok())
        {
            return price;
        }
        let price = self.look_up(article);
        let hour = Duration::from_secs(3600);
        // If the cache does not take it, the next one looks it up again.
        let _ = self.cache.set(article, price.to_string()).ttl(hour).await;
        price
    }

    fn look_up(&self, article: &str) -> u32 {
        self.lookups.fetch_add(1, Ordering::Relaxed);
        article.len() as u32 * 100
    }

    fn lookups(&self) -> u32 {
        self.lookups.load(Ordering::Relaxed)
    }
}

/// A server, and prices that use it.
async fn stage() -> Result<(Server, Prices), Box<dyn Error>> {
    let server = Server::start().await?;
    let prices = Prices::new(client_of(&server)?);
    Ok((server, prices))
}

/// A short timeout and short waits keep tests short; with a get in each command all replies have opaques.
fn client_of(server: &Server) -> Result<Client, remcache::Error> {
    let config = Config::new().timeout(Duration::from_millis(200)).max_keys_per_multiget(1);
    let config = config.reconnect_delay(Duration::from_millis(1), Duration::from_millis(10));
    Client::with_config([server.address()], config)
}

async fn cached() -> Result<(), Box<dyn Error>> {
    let (server, prices) = stage().await?;
    assert_eq!((prices.of("pear").await, prices.lookups()), (400, 1));
    assert_eq!((prices.of("pear").await, prices.lookups()), (400, 1));
    assert_eq!(server.items(), 1);
    passed("a price is looked up once, then it comes from the cache")
}

async fn forgotten() -> Result<(), Box<dyn Error>> {
    let clock = ManualClock::new();
    let server = Server::builder().clock(&clock).start().await?;
    let prices = Prices::new(client_of(&server)?);
    assert_eq!((prices.of("pear").await, prices.lookups()), (400, 1));
    clock.advance(Duration::from_secs(3601));
    assert_eq!((prices.of("pear").await, prices.lookups()), (400, 2));
    passed("a price is forgotten after an hour")
}

/// A price is cached, then the next reply has this fault: the price is right all the same.
async fn right_in_spite_of(fault: Fault, name: &str) -> Result<(), Box<dyn Error>> {
    let (server, prices) = stage().await?;
    assert_eq!((prices.of("pear").await, prices.lookups()), (400, 1));
    server.inject(fault.on_reply(1));
    assert_eq!((prices.of("pear").await, prices.lookups()), (400, 2));
    passed(name)
}

async fn away_and_back() -> Result<(), Box<dyn Error>> {
    let (server, prices) = stage().await?;
    server.stop().await;
    assert_eq!((prices.of("pear").await, prices.lookups()), (400, 1));
    passed("a server that is unavailable costs a lookup, no more")?;

    server.restart().await?;
    while !prices.cache.is_usable() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!((prices.of("pear").await, prices.lookups()), (400, 2));
    assert_eq!((prices.of("pear").await, prices.lookups()), (400, 2));
    passed("a server that is back is used again")
}

fn passed(name: &str) -> Result<(), Box<dyn Error>> {
    println!("ok: {name}");
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    cached().await?;
    forgotten().await?;
    let cut = Fault::Disconnect { after: 20, close: Close::Fin };
    right_in_spite_of(cut, "a connection that breaks within a reply costs a lookup, no more").await?;
    right_in_spite_of(Fault::Garbage { seed: 7 }, "garbage is no price").await?;
    right_in_spite_of(Fault::WrongOpaque { xor: 1 }, "a reply to another request is not delivered").await?;
    right_in_spite_of(Fault::Delay(Duration::from_secs(60)), "a server that hangs costs the timeout, no more").await?;
    away_and_back().await
}
