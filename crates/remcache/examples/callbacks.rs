//! Raw requests: outcomes as data, callbacks, requests without waiting for the reply.
//!
//! `cargo run -p remcache --example callbacks` prints:
//!
//! ```text
//! call: Hello is World, flags 7
//! call: Goodbye, key not found
//! call_with: Hello is World
//! call_with, kept to the end: pid, …
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

    outcomes_as_data(&client).await;
    callbacks(&client)?;
    a_stream(&client).await;

    // Not awaited: the server executes it and its reply is discarded.
    println!("without a reply: {}", if client.send_no_reply(Request::delete("Hello")) { "queued" } else { "refused" });
    client.close().await;
    Ok(())
}

/// `call` cannot fail: whatever happened is a status.
async fn outcomes_as_data(client: &Client) {
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

/// A callback is called at least once, and again while it returns `Proceed`.
fn callbacks(client: &Client) -> Result<(), Box<dyn Error>> {
    let (sender, answered) = channel();
    client.call_with(Request::get("Hello"), move |reply| {
        let _ = sender.send(reply.text().into_owned());
        ControlFlow::Break(())
    });
    println!("call_with: Hello is {}", block_in_place(|| answered.recv())?);

    // Statistics come as many packets; the last has neither name nor value.
    let (sender, names) = channel();
    client.call_with(Request::stat(""), move |reply| send_name(&sender, &reply, ControlFlow::Continue(())));
    let names: Vec<String> = block_in_place(|| names.iter().collect());
    println!("call_with, kept to the end: {}", names.join(", "));

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

/// The same replies as a stream, for code that would rather wait than be called.
async fn a_stream(client: &Client) {
    let mut replies = client.replies(Request::stat(""));
    let mut names = 0;
    while let Some(reply) = replies.next().await {
        names += usize::from(!reply.key.is_empty());
    }
    println!("replies: {names} statistics");
}
