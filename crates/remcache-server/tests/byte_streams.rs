//! Tests of connections over byte streams other than sockets.

use std::io::ErrorKind;
use std::time::Duration;

use remcache_server::{Builder, Close, Fault, Server};
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufStream, DuplexStream, duplex};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

// Reached only if the server misbehaves.
const PATIENCE: Duration = Duration::from_secs(20);

async fn start(builder: Builder) -> Server {
    builder.without_listener().start().await.expect("nothing can fail without a listener")
}

/// Connects a client over a pipe that buffers this number of bytes.
fn connect(server: &Server, buffer: usize) -> (DuplexStream, JoinHandle<std::io::Result<()>>) {
    let (client, stream) = duplex(buffer);
    (client, tokio::spawn(server.serve(stream)))
}

/// Checks that a connection over a pipe is refused.
async fn expect_refused(server: &Server) {
    let (_client, refused) = connect(server, 64);
    let error = refused.await.expect("no panic").expect_err("the server accepts no connections");
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
}

async fn command(client: &mut DuplexStream, command: &str, reply: &str) {
    client.write_all(command.as_bytes()).await.expect("the server reads");
    let mut bytes = vec![0; reply.len()];
    timeout(PATIENCE, client.read_exact(&mut bytes)).await.expect("the server answers").expect("a reply");
    assert_eq!(String::from_utf8_lossy(&bytes), reply, "{command:?}");
}

#[tokio::test]
async fn a_client_is_served_over_a_pipe() {
    let server = start(Server::builder()).await;
    assert_eq!(server.address(), "");
    let (mut client, served) = connect(&server, 64);
    command(&mut client, "set k 0 0 1\r\nv\r\n", "STORED\r\n").await;
    command(&mut client, "stats conns\r\n", "STAT 1:addr stream:\r\nSTAT 1:state conn_parse_cmd\r\nEND\r\n").await;
    assert_eq!((server.items(), server.connections(), server.accepted(), server.requests()), (1, 1, 1, 2));
    drop(client);
    served.await.expect("no panic").expect("a closed connection is not an error");
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn a_listening_server_serves_pipes_too() {
    let server = Server::start().await.expect("a loopback port");
    let (mut client, _served) = connect(&server, 64);
    command(&mut client, "mn\r\n", "MN\r\n").await;
}

#[tokio::test]
async fn replies_are_flushed_through_a_buffering_stream() {
    let server = start(Server::builder()).await;
    let (mut client, stream) = duplex(64);
    tokio::spawn(server.serve(BufStream::new(stream)));
    command(&mut client, "mn\r\n", "MN\r\n").await;
}

#[tokio::test]
async fn a_long_pipeline_passes_through_a_small_pipe() {
    const COUNT: usize = 500;
    let server = start(Server::builder()).await;
    let (mut client, _served) = connect(&server, 16);
    let value = "v".repeat(1000);
    command(&mut client, &format!("set k 0 0 1000\r\n{value}\r\n"), "STORED\r\n").await;
    let (mut reader, mut writer) = tokio::io::split(client);
    let expected = format!("VALUE k 0 1000\r\n{value}\r\nEND\r\n").repeat(COUNT);
    let mut replies = vec![0; expected.len()];
    let write = async { writer.write_all("get k\r\n".repeat(COUNT).as_bytes()).await };
    let (written, read) = tokio::join!(write, reader.read_exact(&mut replies));
    written.expect("the server reads");
    read.expect("the server answers");
    assert!(replies == expected.as_bytes());
}

#[tokio::test]
async fn stopping_the_server_closes_pipes_and_restarting_accepts_new_ones() {
    let server = start(Server::builder()).await;
    let (mut client, served) = connect(&server, 64);
    command(&mut client, "set k 0 0 1\r\nv\r\n", "STORED\r\n").await;
    server.stop().await;
    served.await.expect("no panic").expect("a closed connection is not an error");
    assert_eq!(client.read(&mut [0; 8]).await.expect("the pipe is closed in order"), 0);
    expect_refused(&server).await;
    server.restart_with_items().await.expect("nothing can fail without a listener");
    let (mut client, _served) = connect(&server, 64);
    command(&mut client, "mg k v\r\n", "VA 1\r\nv\r\n").await;
}

#[tokio::test]
async fn dropping_the_server_closes_pipes() {
    let server = start(Server::builder()).await;
    let (mut client, served) = connect(&server, 64);
    command(&mut client, "mn\r\n", "MN\r\n").await;
    drop(server);
    served.await.expect("no panic").expect("a closed connection is not an error");
    assert_eq!(client.read(&mut [0; 8]).await.expect("the pipe is closed in order"), 0);
}

#[tokio::test]
async fn limits_and_faults_apply_to_pipes() {
    let server = start(Server::builder().max_connections(1)).await;
    let (mut first, _served) = connect(&server, 64);
    command(&mut first, "mn\r\n", "MN\r\n").await;
    let (mut second, _rejected) = connect(&server, 64);
    command(&mut second, "", "ERROR Too many open connections\r\n").await;
    server.inject(Fault::Disconnect { after: 1, close: Close::Rst });
    let mut bytes = Vec::new();
    first.write_all(b"mn\r\n").await.expect("the server reads");
    first.read_to_end(&mut bytes).await.expect("pipes have no resets");
    assert_eq!(bytes, b"M");
    server.inject(Fault::RefuseConnections);
    expect_refused(&server).await;
    server.clear_faults().expect("nothing can fail without a listener");
    let (mut client, _served) = connect(&server, 64);
    command(&mut client, "mn\r\n", "MN\r\n").await;
}

#[tokio::test]
async fn dropping_the_future_closes_the_connection() {
    let server = start(Server::builder()).await;
    let (mut client, served) = connect(&server, 64);
    command(&mut client, "mn\r\n", "MN\r\n").await;
    served.abort();
    assert_eq!(client.read(&mut [0; 8]).await.expect("the pipe is closed in order"), 0);
    assert_eq!(server.connections(), 0);
}

/// A simulated network has no I/O driver and virtual time.
#[test]
fn no_io_driver_is_needed() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.expect("a runtime").block_on(async {
        let server = start(Server::builder()).await;
        server.inject(Fault::Delay(Duration::from_secs(10)));
        let (mut client, _served) = connect(&server, 64);
        let begin = Instant::now();
        command(&mut client, "mn\r\n", "MN\r\n").await;
        assert_eq!(begin.elapsed().as_secs(), 10);
    });
}
