//! A slow function whose results all processes share.
//!
//! ```sh
//! cargo run -p remcache-cached --example memoize -- localhost:11211
//! ```

use std::time::{Duration, Instant};

use cached::macros::concurrent_cached;
use remcache::Client;
use remcache::value::Codec;
use remcache_cached::{Error, MemcachedCache};

async fn connect() -> MemcachedCache<u64, u64> {
    let server = std::env::args().nth(1).unwrap_or_else(|| "localhost:11211".to_owned());
    let client = Client::new([server]).expect("a valid address");
    MemcachedCache::new(&client, "squares", Codec::json()).ttl(Duration::from_secs(60))
}

#[concurrent_cached(map_error = r#"|error| error"#, ty = "MemcachedCache<u64, u64>", create = r#"{ connect().await }"#)]
async fn square(number: u64) -> Result<u64, Error> {
    tokio::time::sleep(Duration::from_secs(1)).await;
    Ok(number * number)
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    for _ in 0..2 {
        let started = Instant::now();
        println!("7 * 7 = {}, after {} ms", square(7).await?, started.elapsed().as_millis());
    }
    Ok(())
}
