//! Tests of each fault on real sockets.

mod support;

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use remcache_proto::Status;
use remcache_server::{Close, Fault, Injection, Server};
use support::{Client, End, get, noop, noop_reply, request, set};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

async fn server_with(fault: impl Into<Injection>) -> Server {
    let server = Server::start().await.expect("a loopback port");
    server.inject(fault);
    server
}

/// No-ops with the opaques 1 to `count` in one write.
fn noops(count: u32) -> Vec<u8> {
    (1..=count).flat_map(noop).collect()
}

/// Sends three no-ops and a quit, and returns all reply bytes.
async fn replies_to_three(server: &Server) -> Vec<u8> {
    let mut client = Client::connect(server).await;
    let quit = request(0x07, 4, &[], "", &[]);
    client.send(&[noops(3), quit].concat()).await;
    let (bytes, end) = client.rest().await;
    assert_eq!(end, End::Fin);
    bytes
}

/// Sends three no-ops and a quit, and returns the opaques of the replies.
async fn opaques_of_three(fault: impl Into<Injection>) -> Vec<u8> {
    let bytes = replies_to_three(&server_with(fault).await).await;
    let opaques: Vec<u8> = bytes.chunks(24).map(|packet| packet[15]).collect();
    assert!(bytes.chunks(24).all(|packet| packet.len() == 24 && packet[0] == 0x81));
    opaques
}

#[tokio::test]
async fn replies_are_dropped_duplicated_and_swapped() {
    assert!(opaques_of_three(Fault::Drop).await.is_empty());
    assert_eq!(opaques_of_three(Fault::Drop.on_reply(2)).await, [1, 3, 4]);
    assert_eq!(opaques_of_three(Fault::Duplicate).await, [1, 1, 2, 2, 3, 3, 4, 4]);
    assert_eq!(opaques_of_three(Fault::Duplicate.on_reply(3)).await, [1, 2, 3, 3, 4]);
    assert_eq!(opaques_of_three(Fault::Swap).await, [2, 1, 4, 3]);
    assert_eq!(opaques_of_three(Fault::Swap.on_reply(2)).await, [1, 3, 2, 4]);
}

#[tokio::test]
async fn fields_of_a_reply_are_changed() {
    let cases: [(Fault, usize, &[u8]); 4] = [
        (Fault::WrongMagic(0x42), 0, &[0x42]),
        (Fault::WrongOpcode(0x0b), 1, &[0x0b]),
        (Fault::HugeLength, 8, &[0xff; 4]),
        (Fault::WrongOpaque { xor: 0x0100_0001 }, 12, &[1, 0, 0, 3]),
    ];
    for (fault, at, field) in cases {
        let server = server_with(fault.clone().on_reply(2)).await;
        let mut expected = [1, 2, 3].map(noop_reply);
        expected[1][at..at + field.len()].copy_from_slice(field);
        let bytes = replies_to_three(&server).await;
        assert_eq!(bytes[..72], expected.concat(), "{fault:?}");
    }
}

#[tokio::test]
async fn garbage_replaces_a_reply() {
    let bytes = replies_to_three(&server_with(Fault::Garbage { seed: 7 }.on_reply(2)).await).await;
    assert_eq!((&bytes[..24], &bytes[48..72]), (&noop_reply(1)[..], &noop_reply(3)[..]));
    assert_ne!(bytes[24], 0x81);
    assert_ne!(bytes[25..48], noop_reply(2)[1..]);
}

#[tokio::test]
async fn a_connection_is_closed_in_order_or_with_a_reset() {
    for (close, end) in [(Close::Fin, End::Fin), (Close::Rst, End::Rst)] {
        let server = server_with(Fault::Disconnect { after: 30, close }).await;
        let mut client = Client::connect(&server).await;
        client.send(&noops(3)).await;
        let mut bytes = [0; 30];
        client.read_exact(&mut bytes).await.expect("the bytes before the close");
        assert_eq!(bytes[..], noops_replies(3)[..30]);
        assert_eq!(client.rest().await, (vec![], end), "{close:?}");
    }
}

#[tokio::test]
async fn a_connection_can_be_closed_before_the_first_byte() {
    let server = server_with(Fault::Disconnect { after: 0, close: Close::Fin }.on_reply(1)).await;
    let mut client = Client::connect(&server).await;
    client.send(&noops(2)).await;
    assert_eq!(client.rest().await, (vec![], End::Fin));
}

fn noops_replies(count: u32) -> Vec<u8> {
    (1..=count).flat_map(noop_reply).collect()
}

#[tokio::test]
async fn all_bytes_arrive_one_by_one_in_pieces_or_throttled() {
    for fault in [Fault::ByteByByte, Fault::Split { seed: 1 }, Fault::Throttle { bytes_per_second: 5_000 }] {
        let server = server_with(fault.clone()).await;
        assert_eq!(replies_to_three(&server).await[..72], noops_replies(3), "{fault:?}");
    }
}

#[tokio::test]
async fn a_throttled_reply_arrives_in_parts() {
    let server = server_with(Fault::Throttle { bytes_per_second: 1 }).await;
    let mut client = Client::connect(&server).await;
    client.send(&noops(1)).await;
    let mut buffer = [0; 24];
    let count = tokio::io::AsyncReadExt::read(&mut client.stream, &mut buffer).await.expect("a byte");
    assert!(count < 24, "a part of the reply comes first");
}

#[tokio::test(start_paused = true)]
async fn a_delayed_reply_does_not_delay_the_request() {
    let server = server_with(Fault::Delay(Duration::from_secs(60)).on_reply(1)).await;
    let mut client = Client::connect(&server).await;
    let before = tokio::time::Instant::now();
    client.send(&[set(1, "k", b"v"), noop(2)].concat()).await;
    // Yielding keeps the runtime busy, so virtual time stands still.
    while server.requests() < 2 {
        tokio::task::yield_now().await;
    }
    assert_eq!(server.items(), 1, "the request has been executed");
    let mut reply = [0; 48];
    tokio::io::AsyncReadExt::read_exact(&mut client.stream, &mut reply).await.expect("both replies");
    assert!(before.elapsed() >= Duration::from_secs(60));
    assert_eq!((reply[15], reply[39]), (1, 2), "in order");
}

#[tokio::test]
async fn refused_connections_are_accepted_after_clearing() {
    let server = Server::start().await.expect("a loopback port");
    let mut client = Client::connect(&server).await;
    client.request(&noop(1)).await;
    server.inject(Fault::RefuseConnections);
    let refused = TcpStream::connect(server.address()).await.expect_err("connections are refused");
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    assert_eq!(client.request(&noop(2)).await.header.opaque, 2, "open connections stay open");
    server.clear_faults().expect("the port is kept");
    assert_eq!(Client::connect(&server).await.request(&noop(3)).await.header.opaque, 3);
}

#[tokio::test]
async fn a_black_hole_discards_requests_until_the_faults_are_cleared() {
    let server = server_with(Fault::BlackHole.on_connection(1)).await;
    let mut client = Client::connect(&server).await;
    client.send(&set(1, "k", b"v")).await;
    assert_eq!(Client::connect(&server).await.request(&noop(2)).await.header.opaque, 2, "the second connection works");
    assert!(client.receives_nothing().await);
    assert_eq!(server.items(), 0, "discarded requests are not executed");
    server.clear_faults().expect("it listens");
    assert_eq!(client.rest().await, (vec![], End::Fin));
}

#[tokio::test]
async fn a_client_blocks_when_the_server_stops_reading() {
    let server = server_with(Fault::StopReading).await;
    let mut client = Client::connect(&server).await;
    let request = set(1, "k", &vec![7; 900_000]);
    let written = async {
        for _ in 0..100 {
            client.stream.write_all(&request).await.expect("the connection is open");
        }
    };
    // The socket buffers hold a few megabytes, not ninety.
    let blocked = tokio::time::timeout(Duration::from_millis(500), written).await.is_err();
    assert!(blocked);
    assert_eq!((server.requests(), server.items()), (0, 0));
}

#[tokio::test]
async fn reading_resumes_when_the_faults_are_cleared() {
    let server = server_with(Fault::StopReading).await;
    let mut client = Client::connect(&server).await;
    client.send(&noop(1)).await;
    assert!(client.receives_nothing().await);
    server.clear_faults().expect("it listens");
    assert_eq!(client.packet().await.header.opaque, 1);
}

#[tokio::test]
async fn canned_responses_are_sent_to_new_connections() {
    let cases: [(Fault, &[u8]); 3] = [
        (Fault::too_many_connections(), b"ERROR Too many open connections\r\n"),
        (Fault::http(), b"HTTP/1.1 400 Bad Request\r\n"),
        (Fault::tls_alert(), &[0x15, 3, 1, 0, 2, 2, 0x46]),
    ];
    for (fault, prefix) in cases {
        let server = Server::start().await.expect("a loopback port");
        let mut before = Client::connect(&server).await;
        before.request(&noop(1)).await;
        server.inject(fault);
        let (response, end) = Client::connect(&server).await.rest().await;
        assert!(response.starts_with(prefix), "{}", response.escape_ascii());
        assert_eq!(end, End::Fin);
        assert_eq!(before.request(&noop(2)).await.header.opaque, 2, "open connections are not affected");
    }
}

#[tokio::test]
async fn a_canned_response_arrives_although_the_client_has_written() {
    let server = server_with(Fault::too_many_connections()).await;
    for _ in 0..20 {
        let mut client = Client::connect(&server).await;
        client.send(&noops(20_000)).await;
        assert_eq!(client.rest().await, (Fault::TOO_MANY_CONNECTIONS.to_vec(), End::Fin));
    }
}

#[tokio::test]
async fn open_connections_notice_faults_and_their_end() {
    let server = Server::start().await.expect("a loopback port");
    let mut client = Client::connect(&server).await;
    client.request(&noop(1)).await;
    server.inject(Fault::WrongOpaque { xor: 0xff });
    assert_eq!(client.request(&noop(2)).await.header.opaque, 0xfd);
    server.clear_faults().expect("it listens");
    assert_eq!(client.request(&noop(3)).await.header.opaque, 3);
}

#[tokio::test]
async fn a_large_value_survives_splits_and_delays() {
    let value: Vec<u8> = (0..300_000_u32).map(|n| n.to_le_bytes()[0]).collect();
    for fault in [Fault::Split { seed: 3 }, Fault::Delay(Duration::from_millis(1))] {
        let server = server_with(fault).await;
        let mut client = Client::connect(&server).await;
        assert_eq!(client.request(&set(1, "k", &value)).await.header.status(), Status::NoError);
        assert_eq!(client.request(&get(2, "k")).await.value, value);
    }
}

#[tokio::test]
async fn throttling_limits_the_rate() {
    let server = server_with(Fault::Throttle { bytes_per_second: 240 }).await;
    let mut client = Client::connect(&server).await;
    let before = Instant::now();
    client.request(&noop(1)).await;
    // 24 bytes, two at a time, the first two without a pause.
    assert!(before.elapsed() >= Duration::from_millis(85));
}
