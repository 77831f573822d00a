//! Stores an item and fetches it; another key is a miss.
//!
//! `cargo run -p remcache --example hello` prints:
//!
//! ```text
//! stored
//! Hello = World
//! Goodbye is a miss
//! ```

use std::error::Error;
use std::time::Duration;

use remcache::Client;
use remcache_server::Server;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    // Stands in for memcached; a program would call `Client::new(["cache1", "cache2:11212"])`.
    let server = Server::start().await?;
    let client = Client::new([server.address()])?;

    let change = client.set("Hello", "World").ttl(Duration::from_secs(600)).await?;
    println!("{}", if change.is_applied() { "stored" } else { "refused" });

    for key in ["Hello", "Goodbye"] {
        match client.get(key).await? {
            Some(item) => println!("{key} = {}", item.value.escape_ascii()),
            None => println!("{key} is a miss"),
        }
    }
    Ok(())
}
