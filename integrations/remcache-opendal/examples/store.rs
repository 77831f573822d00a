//! Stores an object, reads a part of it, and deletes it.
//!
//! ```sh
//! cargo run -p remcache-opendal --example store -- localhost:11211
//! ```

use opendal_core::Operator;
use remcache_opendal::Memcached;

#[tokio::main]
async fn main() -> opendal_core::Result<()> {
    let endpoint = std::env::args().nth(1).unwrap_or_else(|| "localhost:11211".to_owned());
    let operator = Operator::new(Memcached::new().endpoint(endpoint).root("/example"))?;

    let content = "a content longer than an item of memcached; ".repeat(50_000);
    operator.write("long text", content).await?;
    println!("{} bytes are stored", operator.stat("long text").await?.content_length());
    let part = operator.read_with("long text").range(2..9).await?;
    println!("bytes 2 to 9: {}", part.to_vec().escape_ascii());
    operator.delete("long text").await?;
    println!("it exists: {}", operator.exists("long text").await?);
    Ok(())
}
