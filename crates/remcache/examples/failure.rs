//! What a program does when the cache is unavailable: it goes on without it, and knows what it may repeat.
//!
//! `cargo run -p remcache --example failure` prints:
//!
//! ```text
//! the page: computed and stored
//! the page: from the cache
//! the connection breaks under an increment
//! the increment: counted or not (…: disconnected, the request may have taken effect: …)
//! a look at the counter: 1, so it was counted
//! the server stops
//! the page: computed, without the cache
//! the increment: not counted, to be repeated (…: disconnected, the request was not sent: …)
//! the server comes back, empty
//! the increment, repeated: 1
//! the page: computed and stored
//! the page: from the cache
//! ```

use std::error::Error;
use std::time::Duration;

use remcache::Client;
use remcache_server::{Close, Fault, Server};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let server = Server::start().await?;
    let client = Client::new([server.address()])?;
    println!("the page: {}", page(&client).await);
    println!("the page: {}", page(&client).await);

    println!("the connection breaks under an increment");
    server.inject(Fault::Disconnect { after: 0, close: Close::Rst }.on_reply(1));
    println!("the increment: {}", count(&client).await);
    until_usable(&client).await;
    let counter = client.get("visits").await?.ok_or("the counter is absent")?;
    println!("a look at the counter: {}, so it was counted", counter.value.escape_ascii());

    println!("the server stops");
    server.stop().await;
    println!("the page: {}", page(&client).await);
    println!("the increment: {}", count(&client).await);

    println!("the server comes back, empty");
    server.restart().await?;
    // A program would just go on; the example waits, to show what happens then.
    until_usable(&client).await;
    println!("the increment, repeated: {}", count(&client).await);
    println!("the page: {}", page(&client).await);
    println!("the page: {}", page(&client).await);
    Ok(())
}

/// A page that is expensive to compute: from the cache if possible, otherwise computed.
async fn page(client: &Client) -> &'static str {
    match client.get("page").await {
        Ok(Some(_)) => return "from the cache",
        Ok(None) => {}
        // The cache could not be asked. It was no miss, so there is nothing to store either.
        Err(error) if error.is_unavailable() => return "computed, without the cache",
        Err(error) => panic!("a mistake of this program: {error}"),
    }
    match client.set("page", "<html>…").ttl(Duration::from_secs(60)).await {
        Ok(_) => "computed and stored",
        Err(_) => "computed, not stored",
    }
}

/// An increment is not idempotent: whether it may be repeated, the error says.
async fn count(client: &Client) -> String {
    match client.increment("visits", 1).initial(1).await {
        Ok(counter) => counter.map_or_else(String::new, |counter| counter.value.to_string()),
        Err(error) if error.may_have_executed() => format!("counted or not ({error})"),
        Err(error) if error.is_disconnected() => format!("not counted, to be repeated ({error})"),
        Err(error) => format!("not counted ({error})"),
    }
}

/// The client connects again by itself.
async fn until_usable(client: &Client) {
    while !client.is_usable() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
