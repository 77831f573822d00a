//! Low-level requests: results as values, callbacks, and requests without waiting for the reply.
//!
//! `cargo run -p remcache --example callbacks` prints:
//!
//! ```text
//! call: Hello is World, flags 7
//! call: Goodbye, key not found
//! call_with: Hello is World
//! call_with, continued: pid, …
//! call_with, stopped: pid
//! replies: …
//! without a reply: queued
//! ```

use std::error::Error;
use std::ops::ControlFlow;
use std::sync::mpsc::{Sender, channel};

use remcache::{Client, Reply, Request, Status};
use remcache_server::Server;
use tokio::task::block_in_place;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let server = Server::start().await?;
    let client = Client::new([server.address()])?;
    client.set("Hello", "World").flags(7).await?;

    results_as_values(&client).await;
    callbacks(&client)?;
    replies_as_a_stream(&client).await;

    // Not awaited: the server executes it and its reply is discarded.
    println!("without a reply: {}", if client.send_no_reply(Request::delete("Hello")) { "queued" } else { "refused" });
    client.close().await;
    Ok(())
}

/// Sends requests by `call`, which cannot fail: every result is a status.
async fn results_as_values(client: &Client) {
    for key in ["Hello", "Goodbye"] {
        let reply = client.call(Request::get(key)).await;
        match reply.status {
            Status::NoError => println!("call: {key} is {}, flags {}", reply.text(), reply.flags),
            Status::KeyNotFound => println!("call: {key}, {}", reply.status),
            Status::Disconnected(delivery) => println!("call: {key}, the server is unavailable, {delivery}"),
            other => println!("call: {key}, {other}"),
        }
    }
}

/// Sends requests by `call_with`, which calls a callback for each reply until it returns `Break`.
fn callbacks(client: &Client) -> Result<(), Box<dyn Error>> {
    let (sender, value) = channel();
    client.call_with(Request::get("Hello"), move |reply| {
        let _ = sender.send(reply.text().into_owned());
        ControlFlow::Break(())
    });
    println!("call_with: Hello is {}", block_in_place(|| value.recv())?);

    // Statistics come as many packets; the last has neither name nor value.
    let (sender, names) = channel();
    client.call_with(Request::stat(""), move |reply| send_name(&sender, &reply, ControlFlow::Continue(())));
    let names: Vec<String> = block_in_place(|| names.iter().collect());
    println!("call_with, continued: {}", names.join(", "));

    let (sender, names) = channel();
    client.call_with(Request::stat(""), move |reply| send_name(&sender, &reply, ControlFlow::Break(())));
    let names: Vec<String> = block_in_place(|| names.iter().collect());
    println!("call_with, stopped: {}", names.join(", "));
    Ok(())
}

fn send_name(sender: &Sender<String>, reply: &Reply, flow: ControlFlow<()>) -> ControlFlow<()> {
    if reply.key.is_empty() {
        return ControlFlow::Break(());
    }
    let _ = sender.send(reply.key.escape_ascii().to_string());
    flow
}

/// Receives the same replies as a stream.
async fn replies_as_a_stream(client: &Client) {
    let mut replies = client.replies(Request::stat(""));
    let mut names = 0;
    while let Some(reply) = replies.next().await {
        names += usize::from(!reply.key.is_empty());
    }
    println!("replies: {names} statistics");
}
