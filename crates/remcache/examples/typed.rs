//! A typed cache: values of one Rust type, compressed if they are large, and the values of another client.
//!
//! `cargo run -p remcache --features json,zstd --example typed` prints:
//!
//! ```text
//! Ada has 1000 friends
//! … bytes on the server instead of …
//! pylibmc's 42 is 42
//! the value at user:broken cannot be read: the stored value cannot be decoded: key user:broken, flags 0x00000001: the flags 0x00000001 are not remcache's: another client wrote the item; read it in its client format
//! ```

use std::error::Error;
use std::time::Duration;

use remcache::value::{ClientFormat, Codec, Compression, Value};
use remcache::{Cache, Client};
use remcache_server::Server;
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
struct User {
    name: String,
    friends: Vec<u32>,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let server = Server::start().await?;
    let client = Client::new([server.address()])?;

    let codec = Codec::json().compress(Compression::Zstd, 1024);
    let users = Cache::<User>::new(&client, "user", codec).ttl(Duration::from_secs(600));
    let ada = User { name: "Ada".to_owned(), friends: (0..1000).collect() };
    users.set("42", &ada).await?;
    if let Some(user) = users.get("42").await? {
        println!("{} has {} friends", user.name, user.friends.len());
    }
    let stored = client.get(users.key("42")).await?.ok_or("the item is gone")?;
    println!("{} bytes on the server instead of {}", stored.value.len(), serde_json::to_vec(&ada)?.len());

    // As pylibmc stores the number 42.
    client.set("visits", "42").flags(4).await?;
    let pylibmc = Cache::new(&client, "", Codec::client_format(ClientFormat::Pylibmc));
    if let Some(Value::Integer(number)) = pylibmc.get("visits").await? {
        println!("pylibmc's 42 is {number}");
    }

    client.set("user:broken", "pickled").flags(1).await?;
    if let Err(error) = users.get("broken").await {
        println!(
            "the value at user:broken cannot be read: {}",
            error.to_string().trim_start_matches("the value does not fit its codec: ")
        );
    }
    Ok(())
}
