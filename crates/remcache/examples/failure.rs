//! Handling an unavailable cache: the program continues without it, and knows which requests it may repeat.
//!
//! `cargo run -p remcache --example failure` prints:
//!
//! ```text
//! page: computed and stored
//! page: from the cache
//! the connection is lost during an increment
//! increment: may have been counted (…: disconnected, the request may have taken effect: …)
//! counter: 1, so it was counted
//! the server stops
//! page: computed, without the cache
//! increment: not counted, may be repeated (…: disconnected, the request was not sent: …)
//! the server restarts, empty
//! repeated increment: 1
//! page: computed and stored
//! page: from the cache
//! ```

use std::error::Error;
use std::time::Duration;

use remcache::Client;
use remcache_server::{Close, Fault, Server};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let server = Server::start().await?;
    let client = Client::new([server.address()])?;
    println!("page: {}", page(&client).await);
    println!("page: {}", page(&client).await);

    println!("the connection is lost during an increment");
    server.inject(Fault::Disconnect { after: 0, close: Close::Rst }.on_reply(1));
    println!("increment: {}", count(&client).await);
    wait_until_usable(&client).await;
    let counter = client.get("visits").await?.ok_or("the counter is absent")?;
    println!("counter: {}, so it was counted", counter.value.escape_ascii());

    println!("the server stops");
    server.stop().await;
    println!("page: {}", page(&client).await);
    println!("increment: {}", count(&client).await);

    println!("the server restarts, empty");
    server.restart().await?;
    // A program would simply continue; the example waits, to show what happens next.
    wait_until_usable(&client).await;
    println!("repeated increment: {}", count(&client).await);
    println!("page: {}", page(&client).await);
    println!("page: {}", page(&client).await);
    Ok(())
}

/// Gets a page that is expensive to compute, and returns where it came from.
async fn page(client: &Client) -> &'static str {
    match client.get("page").await {
        Ok(Some(_)) => return "from the cache",
        Ok(None) => {}
        // Not a miss: the server is down, so the page cannot be stored either.
        Err(error) if error.is_unavailable() => return "computed, without the cache",
        Err(error) => panic!("invalid use of the client: {error}"),
    }
    match client.set("page", "<html>…").ttl(Duration::from_secs(60)).await {
        Ok(_) => "computed and stored",
        Err(_) => "computed, not stored",
    }
}

/// Increments a counter. An increment is not idempotent: the error states whether it may be repeated.
async fn count(client: &Client) -> String {
    match client.increment("visits", 1).initial(1).await {
        Ok(counter) => counter.map_or_else(String::new, |counter| counter.value.to_string()),
        Err(error) if error.may_have_executed() => format!("may have been counted ({error})"),
        Err(error) if error.is_disconnected() => format!("not counted, may be repeated ({error})"),
        Err(error) => format!("not counted ({error})"),
    }
}

/// Waits until the client has reconnected, which it does on its own.
async fn wait_until_usable(client: &Client) {
    while !client.is_usable() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
