//! One connection of the proxy: a client, a server and a pipe for each direction.

use super::pipe::Pipe;
use super::{Close, Direction, Shared};
use socket2::SockRef;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncWriteExt, copy, sink};
use tokio::net::TcpStream;
use tokio::sync::watch;

/// Forwards bytes between a client and the server until both have closed the connection, a rule ends it, or the test
/// closes all connections.
pub(super) async fn forward(
    mut client: TcpStream,
    shared: Arc<Shared>,
    mut close_all: watch::Receiver<Close>,
    number: u64,
) {
    let Ok(mut server) = connect(&client, &shared.upstream).await else {
        return without_server(client, &shared, &mut close_all).await;
    };
    let close = tokio::select! {
        close = forward_both_ways(&mut client, &mut server, &shared, number) => close,
        close = close_request(&mut close_all) => Some(close),
    };
    match close {
        None => {}
        Some(Close::Rst) => {
            reset(client);
            reset(server);
        }
        Some(Close::Fin) => tokio::select! {
            _ = async { tokio::join!(finish(client), finish(server)) } => {}
            _ = close_request(&mut close_all) => {}
        },
    }
}

async fn connect(client: &TcpStream, upstream: &str) -> io::Result<TcpStream> {
    let server = TcpStream::connect(upstream).await?;
    // Pieces must not be merged again.
    server.set_nodelay(true)?;
    client.set_nodelay(true)?;
    Ok(server)
}

/// Handles a client whose server cannot be reached: resets the connection, or discards its input if replies go into a
/// black hole.
async fn without_server(client: TcpStream, shared: &Shared, close_all: &mut watch::Receiver<Close>) {
    if shared.rule(Direction::Replies).black_hole {
        tokio::select! {
            () = discard_input(client) => {}
            _ = close_request(close_all) => {}
        }
    } else {
        reset(client);
    }
}

async fn forward_both_ways(
    client: &mut TcpStream,
    server: &mut TcpStream,
    shared: &Shared,
    number: u64,
) -> Option<Close> {
    let (from_client, to_client) = client.split();
    let (from_server, to_server) = server.split();
    let requests = Pipe::new(shared, Direction::Requests, number).run(from_client, to_server);
    let replies = Pipe::new(shared, Direction::Replies, number).run(from_server, to_client);
    tokio::try_join!(requests, replies).err()
}

/// Waits until the test closes all connections.
async fn close_request(close_all: &mut watch::Receiver<Close>) -> Close {
    match close_all.changed().await {
        Ok(()) => *close_all.borrow_and_update(),
        // The proxy was dropped.
        Err(_) => Close::Rst,
    }
}

/// Closes the sending side and reads to the end, because closing a socket with unread data resets the connection.
async fn finish(mut stream: TcpStream) {
    let _ = stream.shutdown().await;
    discard_input(stream).await;
}

async fn discard_input(mut stream: TcpStream) {
    let _ = copy(&mut stream, &mut sink()).await;
}

fn reset(stream: TcpStream) {
    let _ = SockRef::from(&stream).set_linger(Some(Duration::ZERO));
    drop(stream);
}
