//! One connection of the proxy: a client, a server, and a pipe for each direction.

use super::pipe::Pipe;
use super::{Close, Direction, Shared};
use socket2::SockRef;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncWriteExt, copy, sink};
use tokio::net::TcpStream;
use tokio::sync::watch;

/// Carries bytes between a client and the server until both have closed, or a rule or an order
/// ends it.
pub(super) async fn carry(mut client: TcpStream, shared: Arc<Shared>, mut orders: watch::Receiver<Close>, number: u64) {
    let Ok(mut server) = connect(&client, &shared.upstream).await else {
        return without_server(client, &shared, &mut orders).await;
    };
    let ended = tokio::select! {
        ended = pass_both_ways(&mut client, &mut server, &shared, number) => ended,
        how = ordered(&mut orders) => Some(how),
    };
    match ended {
        None => {}
        Some(Close::Rst) => {
            reset(client);
            reset(server);
        }
        Some(Close::Fin) => tokio::select! {
            _ = async { tokio::join!(finish(client), finish(server)) } => {}
            _ = ordered(&mut orders) => {}
        },
    }
}

async fn connect(client: &TcpStream, upstream: &str) -> io::Result<TcpStream> {
    let server = TcpStream::connect(upstream).await?;
    // What is passed on in pieces has to travel in pieces.
    server.set_nodelay(true)?;
    client.set_nodelay(true)?;
    Ok(server)
}

/// A client of a server that is not there meets a reset, or silence if that is the rule.
async fn without_server(client: TcpStream, shared: &Shared, orders: &mut watch::Receiver<Close>) {
    if shared.rule(Direction::Replies).black_hole {
        tokio::select! {
            () = swallow(client) => {}
            _ = ordered(orders) => {}
        }
    } else {
        reset(client);
    }
}

async fn pass_both_ways(client: &mut TcpStream, server: &mut TcpStream, shared: &Shared, number: u64) -> Option<Close> {
    let (from_client, to_client) = client.split();
    let (from_server, to_server) = server.split();
    let requests = Pipe::new(shared, Direction::Requests, number).run(from_client, to_server);
    let replies = Pipe::new(shared, Direction::Replies, number).run(from_server, to_client);
    tokio::try_join!(requests, replies).err()
}

async fn ordered(orders: &mut watch::Receiver<Close>) -> Close {
    match orders.changed().await {
        Ok(()) => *orders.borrow_and_update(),
        // The proxy is gone.
        Err(_) => Close::Rst,
    }
}

/// Says that nothing more will come, and reads to the end: closing with unread bytes would be a
/// reset.
async fn finish(mut stream: TcpStream) {
    let _ = stream.shutdown().await;
    swallow(stream).await;
}

async fn swallow(mut stream: TcpStream) {
    let _ = copy(&mut stream, &mut sink()).await;
}

fn reset(stream: TcpStream) {
    let _ = SockRef::from(&stream).set_linger(Some(Duration::ZERO));
    drop(stream);
}
