//! Tests of the lifecycle, addresses, counters and limits of the server.

mod support;

use std::io::ErrorKind;
use std::net::Ipv6Addr;
use std::time::Duration;

use remcache_proto::Status;
use remcache_server::{ManualClock, Server};
use support::{Client, End, get, noop, request, set, set_until};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

async fn start() -> Server {
    Server::start().await.expect("a loopback port")
}

#[tokio::test]
async fn a_stopped_server_refuses_connections_and_restarts_empty_at_its_address() {
    let server = start().await;
    let address = server.address();
    let mut client = Client::connect(&server).await;
    client.request(&set(1, "k", b"v")).await;
    assert_eq!((server.items(), server.connections(), server.requests()), (1, 1, 1));
    server.stop().await;
    assert_eq!(server.connections(), 0);
    let refused = TcpStream::connect(&address).await.expect_err("connections are refused");
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    client.rest().await;
    server.restart().await.expect("the port is kept");
    assert_eq!(server.address(), address);
    assert_eq!((server.items(), server.requests()), (0, 0));
    let mut client = Client::connect(&server).await;
    assert_eq!(client.request(&set(1, "k", b"v")).await.header.cas, 1, "CAS values start again");
}

#[tokio::test]
async fn a_server_can_restart_with_its_items() {
    let server = start().await;
    Client::connect(&server).await.request(&set(1, "k", b"v")).await;
    server.restart_with_items().await.expect("the port is kept");
    assert_eq!(Client::connect(&server).await.request(&get(2, "k")).await.value, "v");
}

#[tokio::test]
async fn restarting_a_running_server_closes_its_connections() {
    let server = start().await;
    let mut client = Client::connect(&server).await;
    client.request(&noop(1)).await;
    server.restart().await.expect("the port is kept");
    client.rest().await;
    Client::connect(&server).await.request(&noop(2)).await;
    assert_eq!((server.connections(), server.accepted()), (1, 1));
}

#[tokio::test]
async fn a_dropped_server_stops_listening() {
    let server = start().await;
    let address = server.address();
    let mut client = Client::connect(&server).await;
    client.request(&noop(1)).await;
    drop(server);
    assert!(TcpStream::connect(address).await.is_err());
    client.rest().await;
}

#[test]
fn a_server_can_be_dropped_outside_its_runtime() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let server = runtime.block_on(Server::start()).expect("a loopback port");
    let address = server.address();
    drop(server);
    assert!(std::net::TcpStream::connect(address).is_err());
}

/// Without the reservation, the system could assign the port to the client's own socket when it reconnects: it would
/// connect to itself, or keep the server from listening.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn the_port_of_a_stopped_server_stays_reserved() {
    let server = start().await;
    server.stop().await;
    let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
    let address = server.address().parse().expect("an address");
    let error = socket.bind(address).expect_err("it is reserved");
    assert_eq!(error.kind(), ErrorKind::AddrInUse);
    server.restart().await.expect("the port is kept");
    Client::connect(&server).await.request(&noop(1)).await;
}

#[tokio::test]
async fn an_error_names_the_port_that_is_in_use() {
    let first = start().await;
    let error = Server::builder().port(first.port()).start().await.expect_err("it is taken");
    assert_eq!(error.kind(), ErrorKind::AddrInUse);
    assert!(error.to_string().contains(&first.address()), "{error}");
}

#[tokio::test]
async fn an_error_names_an_invalid_item_size() {
    let error = Server::builder().item_size_max(10).start().await.expect_err("it is too small");
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(error.to_string().contains("10 bytes"), "{error}");
}

#[tokio::test]
async fn a_server_listens_on_ipv6() {
    let server = Server::builder().ip(Ipv6Addr::LOCALHOST).start().await.expect("IPv6 on the loopback interface");
    assert_eq!(server.address(), format!("[::1]:{}", server.port()));
    Client::connect(&server).await.request(&noop(1)).await;
}

#[cfg(unix)]
#[tokio::test]
async fn a_unix_socket_is_created_replaced_and_removed() {
    let directory = remcache_testkit::scratch();
    let path = directory.path().join("socket");
    // A socket left by an earlier server.
    drop(std::os::unix::net::UnixListener::bind(&path).expect("a fresh path"));
    let server = Server::builder().unix_path(&path).start().await.expect("a path");
    assert_eq!(server.address(), path.display().to_string());
    let mut stream = tokio::net::UnixStream::connect(&path).await.expect("the server listens");
    stream.write_all(&noop(7)).await.expect("the server reads");
    let mut reply = [0; 24];
    stream.read_exact(&mut reply).await.expect("the server answers");
    assert_eq!(reply[15], 7);
    server.inject(remcache_server::Fault::RefuseConnections);
    let refused = tokio::net::UnixStream::connect(&path).await.expect_err("connections are refused");
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    server.clear_faults().expect("the path is kept");
    tokio::net::UnixStream::connect(&path).await.expect("the server listens");
    server.stop().await;
    assert!(!path.exists());
    server.restart().await.expect("the path is free");
    assert!(path.exists());
    drop(server);
    assert!(!path.exists());
}

#[cfg(unix)]
#[tokio::test]
async fn a_file_that_is_not_a_socket_is_kept() {
    let directory = remcache_testkit::scratch();
    let path = directory.path().join("file");
    std::fs::write(&path, "mine").expect("a fresh path");
    assert!(Server::builder().unix_path(&path).start().await.is_err());
    assert_eq!(std::fs::read_to_string(&path).expect("the file exists"), "mine");
}

#[tokio::test]
async fn items_expire_by_the_manual_clock() {
    let clock = ManualClock::new();
    let server = Server::builder().clock(&clock).start().await.expect("a loopback port");
    let mut client = Client::connect(&server).await;
    client.request(&set_until(1, "k", 3600)).await;
    clock.advance(Duration::from_secs(3599));
    assert_eq!(client.request(&get(2, "k")).await.header.status(), Status::NoError);
    clock.advance(Duration::from_secs(1));
    assert_eq!(client.request(&get(3, "k")).await.header.status(), Status::KeyNotFound);
}

#[tokio::test]
async fn connections_beyond_the_limit_get_an_error_and_are_closed() {
    let server = Server::builder().max_connections(1).start().await.expect("a loopback port");
    let mut first = Client::connect(&server).await;
    first.request(&noop(1)).await;
    let (line, end) = Client::connect(&server).await.rest().await;
    assert_eq!((&line[..], end), (&b"ERROR Too many open connections\r\n"[..], End::Fin));
    first.send(&request(0x17, 2, &[], "", &[])).await;
    first.rest().await;
    while server.connections() > 0 {
        tokio::task::yield_now().await;
    }
    Client::connect(&server).await.request(&noop(3)).await;
}

/// The client writes all its requests before it reads: 200 MB of replies to 2.6 MB of requests. The server must neither
/// stall nor hold all replies in memory.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_pipeline_of_large_replies_arrives_in_order() {
    let server = start().await;
    let mut client = Client::connect(&server).await;
    let value = vec![7; 20_000];
    client.request(&set(0, "k", &value)).await;
    let count = 10_000_u32;
    let (mut reader, mut writer) = client.stream.into_split();
    let requests: Vec<u8> = (1..=count).flat_map(|opaque| get(opaque, "k")).collect();
    let writing = tokio::spawn(async move { writer.write_all(&requests).await.map(|()| writer) });
    let mut packet = vec![0; 24 + 4 + 20_000];
    for opaque in 1..=count {
        reader.read_exact(&mut packet).await.expect("a reply");
        assert_eq!(packet[12..16], opaque.to_be_bytes());
        assert_eq!(packet[28..], value);
    }
    writing.await.expect("no panic").expect("the server reads");
}

#[tokio::test]
async fn the_server_stops_reading_from_a_client_that_never_reads() {
    let server = start().await;
    let mut client = Client::connect(&server).await;
    client.request(&set(0, "k", &vec![7; 500_000])).await;
    let requests: Vec<u8> = (0..200_000).flat_map(|opaque| get(opaque, "k")).collect();
    // The socket buffers hold a few megabytes, which is some of the replies.
    let all = tokio::time::timeout(Duration::from_millis(500), client.stream.write_all(&requests)).await;
    assert!(server.requests() < 100, "{} requests were executed", server.requests());
    drop(all);
}

#[tokio::test]
async fn all_requests_are_answered_after_the_client_shuts_down_its_sending_side() {
    let server = start().await;
    let mut client = Client::connect(&server).await;
    let requests: Vec<u8> = (0..20_000).flat_map(noop).collect();
    let (mut reader, mut writer) = client.stream.split();
    let write = async {
        writer.write_all(&requests).await.expect("the server reads");
        writer.shutdown().await.expect("the connection is open");
    };
    let mut replies = Vec::new();
    let (_, read) = tokio::join!(write, reader.read_to_end(&mut replies));
    assert_eq!(read.expect("the connection is closed in order"), 20_000 * 24);
}

#[tokio::test]
async fn statistics_count_operations() {
    let server = Server::builder().version("1.6.99-test").start().await.expect("a loopback port");
    let mut client = Client::connect(&server).await;
    client.request(&set(1, "k", b"v")).await;
    client.request(&get(2, "k")).await;
    client.request(&get(3, "missing")).await;
    client.send(&request(0x10, 4, &[], "", &[])).await;
    let mut statistics = std::collections::HashMap::new();
    loop {
        let packet = client.packet().await;
        if packet.key.is_empty() {
            break;
        }
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("text");
        statistics.insert(text(&packet.key), text(&packet.value));
    }
    let expected = [
        ("version", "1.6.99-test"),
        ("curr_items", "1"),
        ("cmd_get", "2"),
        ("get_hits", "1"),
        ("get_misses", "1"),
        ("cmd_set", "1"),
        ("bytes", "61"),
        ("curr_connections", "1"),
        ("limit_maxbytes", "67108864"),
    ];
    for (name, value) in expected {
        assert_eq!(statistics.get(name).map(String::as_str), Some(value), "{name}");
    }
}
