//! An axum server with one rate limit for all its processes together.
//!
//! Start it several times, each with the memcached servers as argument:
//!
//! ```sh
//! cargo run -p remcache-tower --example rate_limit -- localhost:11211
//! ```
//!
//! It prints the address that it listens on. All processes together answer 100 requests with `Hello`, until a window of
//! a year ends.

use std::time::Duration;

use axum::{Router, routing::get};
use remcache::{
    Client,
    recipes::{FixedWindow, Limiter},
};
use remcache_tower::RateLimitLayer;
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let client = Client::new(std::env::args().skip(1))?;
    let limiter = Limiter::new(&client, "hello", FixedWindow::new(100, YEAR))?;
    // One count for all requests; an API would return its user here.
    let layer = RateLimitLayer::new(limiter, |_| Some("everyone".to_owned())).budget(Duration::from_secs(30));
    let app = Router::new().route("/", get(|| async { "Hello" })).layer(layer);
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?);
    axum::serve(listener, app).await?;
    Ok(())
}

/// Windows begin at multiples of their length since 1970.
const YEAR: Duration = Duration::from_secs(365 * 86_400);
