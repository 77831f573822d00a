//! Tests of code that uses a cache: an embedded server replaces memcached and injects faults on demand.
//!
//! In your own crate each of them would be a `#[tokio::test]`, with `remcache-server` as a dev-dependency.
//!
//! `cargo run -p remcache --example embedded_server` prints:
//!
//! ```text
//! ok: a price is looked up once, and then read from the cache
//! ok: a cached price expires after an hour
//! ok: a connection lost within a reply costs one lookup
//! ok: garbage is not taken for a price
//! ok: a reply to another request is discarded
//! ok: a server that hangs costs one timeout and one lookup
//! ok: an unavailable server costs one lookup
//! ok: a restarted server is used again
//! ```

use std::error::Error;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use remcache::{Client, Config};
use remcache_server::{Close, Fault, ManualClock, Server};

/// The code under test: prices that are expensive to look up, behind a cache.
struct Prices {
    cache: Client,
    lookups: AtomicU32,
}

impl Prices {
    fn new(cache: Client) -> Self {
        Self { cache, lookups: AtomicU32::new(0) }
    }

    /// Returns the price of an article: from the cache if possible, otherwise looked up.
    async fn get(&self, article: &str) -> u32 {
        if let Ok(Some(item)) = self.cache.get(article).await
            && let Some(price) = std::str::from_utf8(&item.value).ok().and_then(|text| text.parse().ok())
        {
            return price;
        }
        let price = self.look_up(article);
        let hour = Duration::from_secs(3600);
        // If it could not be stored, the next call looks it up again.
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

/// Starts a server, and creates prices that are cached on it.
async fn start() -> Result<(Server, Prices), Box<dyn Error>> {
    let server = Server::start().await?;
    let prices = Prices::new(client_of(&server)?);
    Ok((server, prices))
}

/// Creates a client with a short timeout and short delays, which keep the tests fast. With one key per request every
/// reply has an opaque.
fn client_of(server: &Server) -> Result<Client, remcache::Error> {
    let config = Config::new().timeout(Duration::from_millis(200)).max_keys_per_multiget(1);
    let config = config.reconnect_delay(Duration::from_millis(1), Duration::from_millis(10));
    Client::with_config([server.address()], config)
}

async fn caches_prices() -> Result<(), Box<dyn Error>> {
    let (server, prices) = start().await?;
    assert_eq!((prices.get("pear").await, prices.lookups()), (400, 1));
    assert_eq!((prices.get("pear").await, prices.lookups()), (400, 1));
    assert_eq!(server.items(), 1);
    passed("a price is looked up once, and then read from the cache")
}

async fn expires_prices() -> Result<(), Box<dyn Error>> {
    let clock = ManualClock::new();
    let server = Server::builder().clock(&clock).start().await?;
    let prices = Prices::new(client_of(&server)?);
    assert_eq!((prices.get("pear").await, prices.lookups()), (400, 1));
    clock.advance(Duration::from_secs(3601));
    assert_eq!((prices.get("pear").await, prices.lookups()), (400, 2));
    passed("a cached price expires after an hour")
}

/// Injects a fault into the reply with a cached price, and checks that the price is correct nevertheless.
async fn survives(fault: Fault, name: &str) -> Result<(), Box<dyn Error>> {
    let (server, prices) = start().await?;
    assert_eq!((prices.get("pear").await, prices.lookups()), (400, 1));
    server.inject(fault.on_reply(1));
    assert_eq!((prices.get("pear").await, prices.lookups()), (400, 2));
    passed(name)
}

async fn survives_a_restart() -> Result<(), Box<dyn Error>> {
    let (server, prices) = start().await?;
    server.stop().await;
    assert_eq!((prices.get("pear").await, prices.lookups()), (400, 1));
    passed("an unavailable server costs one lookup")?;

    server.restart().await?;
    while !prices.cache.is_usable() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!((prices.get("pear").await, prices.lookups()), (400, 2));
    assert_eq!((prices.get("pear").await, prices.lookups()), (400, 2));
    passed("a restarted server is used again")
}

fn passed(name: &str) -> Result<(), Box<dyn Error>> {
    println!("ok: {name}");
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    caches_prices().await?;
    expires_prices().await?;
    let cut = Fault::Disconnect { after: 20, close: Close::Fin };
    survives(cut, "a connection lost within a reply costs one lookup").await?;
    survives(Fault::Garbage { seed: 7 }, "garbage is not taken for a price").await?;
    survives(Fault::WrongOpaque { xor: 1 }, "a reply to another request is discarded").await?;
    survives(Fault::Delay(Duration::from_secs(60)), "a server that hangs costs one timeout and one lookup").await?;
    survives_a_restart().await
}
