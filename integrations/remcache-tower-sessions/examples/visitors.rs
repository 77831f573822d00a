//! An axum server that counts the visits of each visitor.
//!
//! ```sh
//! cargo run -p remcache-tower-sessions --example visitors -- localhost:11211
//! ```
//!
//! It prints the address that it listens on. The count survives a restart of this program.

use axum::{Router, http::StatusCode, routing::get};
use remcache::Client;
use remcache_tower_sessions::MemcachedStore;
use tokio::net::TcpListener;
use tower_sessions::{Session, SessionManagerLayer};

async fn count(session: Session) -> Result<String, StatusCode> {
    let failed = |_| StatusCode::INTERNAL_SERVER_ERROR;
    let visits = session.get::<u64>("visits").await.map_err(failed)?.unwrap_or(0) + 1;
    session.insert("visits", visits).await.map_err(failed)?;
    Ok(format!("{visits} visits"))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let client = Client::new(std::env::args().skip(1))?;
    // Without TLS, browsers do not send secure cookies.
    let sessions = SessionManagerLayer::new(MemcachedStore::new(&client)).with_secure(false);
    let app = Router::new().route("/", get(count)).layer(sessions);
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?);
    axum::serve(listener, app).await?;
    Ok(())
}
