//! A program without an async runtime: threads share one connection, with the methods of the async client.
//!
//! `cargo run -p remcache --features blocking --example blocking` prints:
//!
//! ```text
//! Hello = World
//! 8 threads counted to 800
//! 2 found, 1 missing
//! ```

use std::error::Error;
use std::thread;
use std::time::Duration;

use remcache::blocking::Client;
use remcache_server::Server;

fn main() -> Result<(), Box<dyn Error>> {
    // Only the embedded server of this example needs a runtime.
    let runtime = tokio::runtime::Runtime::new()?;
    let server = runtime.block_on(Server::start())?;

    let client = Client::new([server.address()])?;
    client.set("Hello", "World").ttl(Duration::from_secs(600)).wait()?;
    if let Some(item) = client.get("Hello").wait()? {
        println!("Hello = {}", item.value.escape_ascii());
    }

    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| count(&client));
        }
    });
    let sum = client.get("visits").wait()?.ok_or("the counter is gone")?;
    println!("{THREADS} threads counted to {}", sum.value.escape_ascii());

    let many = client.get_many(["Hello", "visits", "absent"]).wait();
    println!("{} found, {} missing", many.found().count(), many.missing().count());
    Ok(())
}

fn count(client: &Client) {
    for _ in 0..100 {
        if let Err(error) = client.increment("visits", 1).initial(1).wait() {
            eprintln!("not counted: {error}");
        }
    }
}

const THREADS: usize = 8;
